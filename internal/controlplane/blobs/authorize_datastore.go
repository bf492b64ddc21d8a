package blobs

import (
	"context"

	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/types/dataaddress"
)

// AuthorizeDatastore decides over datastores whose bytes lie elsewhere, in stores that hold more than the workspace's own data: a run
// reads no more of them than its inputs and outputs, and writes its outputs and inputs of ReadWriteMount. Others are as with blobs.
func (a *Authorizer) AuthorizeDatastore(ctx context.Context, p resource.Principal, at dataaddress.Address, write bool) error {
	if p.Kind == "Deployment" {
		return a.deploymentReads(ctx, p, at, write)
	}
	if p.Kind != "Run" {
		return a.authorizeOthers(ctx, p, at.Account, write)
	}
	name, state, err := a.run(ctx, p)
	if err != nil {
		return err
	}
	if own := accountOf(state); own == "" || own != at.Account {
		return Refusef("run %s reads datastores of account %s only, not of %s", name, own, at.Account)
	}
	for _, url := range writable(state) {
		if out, ok := dataaddress.Split(url); ok && out.Path != "" && out.Holds(at) {
			if write {
				return a.stillWrites(name, state)
			}
			return nil
		}
	}
	if write {
		return Refusef("run %s writes only to its declared outputs and inputs of ReadWriteMount, not to %q of datastore %s", name, at.Path, at.Datastore)
	}
	for _, i := range state.Spec.Inputs {
		if in, ok := dataaddress.Split(i.URL); ok && in.Holds(at) {
			return nil
		}
	}
	return Refusef("run %s reads only its declared inputs and outputs, not %q of datastore %s", name, at.Path, at.Datastore)
}

// deploymentReads lets the pods of an online deployment read its model and its code.
func (a *Authorizer) deploymentReads(ctx context.Context, p resource.Principal, at dataaddress.Address, write bool) error {
	name, state, err := a.deployment(ctx, p, at.Account, write)
	if err != nil {
		return err
	}
	var urls []string
	if m := state.Spec.Model; m != nil {
		urls = append(urls, m.URL)
	}
	if c := state.Spec.Code; c != nil {
		urls = append(urls, c.URL)
	}
	for _, u := range urls {
		if own, ok := dataaddress.Split(u); ok && own.Holds(at) {
			return nil
		}
	}
	return Refusef("deployment %s reads only its model and its code, not %q of datastore %s", name, at.Path, at.Datastore)
}
