package blobs

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	accounts "fairlead.dev/fairlead/internal/controlplane/types/account"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/controlplane/types/serving"
)

// writesAfterEnd is how long after its end a run may still write: what a pod has left to upload.
const writesAfterEnd = time.Hour

// Split takes an address of the blob front apart; ok is false for other addresses.
func Split(address string) (account, container, name string, ok bool) {
	u, err := url.Parse(address)
	if err != nil {
		return "", "", "", false
	}
	n, err := parsePath(strings.TrimSuffix(u.EscapedPath(), "/"))
	return n.account, n.container, n.name, err == nil
}

// Authorizer decides over the resources of a store: a run reads its workspace's account and writes its own artifacts and
// declared outputs until an hour after its end; a deployment reads its workspace's account; anyone else needs "read" or "write" on the workspace that the account belongs to.
type Authorizer struct {
	store store.Reader
	allow func(ctx context.Context, p resource.Principal, permission, scopeKey string) error
	clock func() time.Time
}

// NewAuthorizer makes an Authorizer; allow is the role check on a scope's Key. A nil clock is time.Now.
func NewAuthorizer(s store.Reader, allow func(ctx context.Context, p resource.Principal, permission, scopeKey string) error,
	clock func() time.Time) *Authorizer {
	if clock == nil {
		clock = time.Now
	}
	return &Authorizer{store: s, allow: allow, clock: clock}
}

// Authorize is an AuthorizeFunc.
func (a *Authorizer) Authorize(ctx context.Context, p resource.Principal, account, container, name string, write bool) error {
	if p.Kind == "Run" {
		return a.authorizeRun(ctx, p, blobName{account, container, name}, write)
	}
	if p.Kind == "Deployment" {
		return a.authorizeDeployment(ctx, p, account, write)
	}
	return a.authorizeOthers(ctx, p, account, write)
}

// authorizeOthers asks for a role on the workspace that an account belongs to.
func (a *Authorizer) authorizeOthers(ctx context.Context, p resource.Principal, account string, write bool) error {
	if p.Kind == "Agent" || p.Kind == "Extension" {
		return Refusef("a token of kind %s does not reach blobs", p.Kind)
	}
	workspace, err := accounts.Workspace(ctx, a.store, account)
	if errors.Is(err, store.ErrNotFound) {
		return Refusef("no workspace has the storage account %q", account)
	}
	if err != nil {
		return err
	}
	permission := "read"
	if write {
		permission = "write"
	}
	return a.allow(ctx, p, permission, workspace)
}

func (a *Authorizer) authorizeRun(ctx context.Context, p resource.Principal, n blobName, write bool) error {
	name, state, err := a.run(ctx, p)
	if err != nil {
		return err
	}
	if own := accountOf(state); own == "" || own != n.account {
		return Refusef("run %s reads account %s only, not %s", name, own, n.account)
	}
	if !write {
		return nil
	}
	if err := a.stillWrites(name, state); err != nil {
		return err
	}
	for _, folder := range append(writable(state), state.Spec.Artifacts) {
		if within(folder, n) {
			return nil
		}
	}
	return Refusef("run %s writes only below its artifacts, its declared outputs and inputs of ReadWriteMount, not to %s", name, n)
}

// RunOf is the run that a token is of, and its folder of artifacts; to write it must not have ended long ago.
func (a *Authorizer) RunOf(ctx context.Context, p resource.Principal, write bool) (name, account, folder string, err error) {
	name, state, err := a.run(ctx, p)
	if err == nil && write {
		err = a.stillWrites(name, state)
	}
	account, _, folder, _ = Split(state.Spec.Artifacts)
	return name, account, folder, err
}

// run is the run that a token is of.
func (a *Authorizer) run(ctx context.Context, p resource.Principal) (name string, state runstate.State, err error) {
	rec, err := a.store.Get(ctx, p.Scope)
	if errors.Is(err, store.ErrNotFound) {
		return "", state, Refusef("run %s does not exist any more", p.Scope)
	}
	if err != nil {
		return "", state, fmt.Errorf("reading run %s: %w", p.Scope, err)
	}
	if state, err = runstate.Decode(rec); err != nil {
		return "", state, err
	}
	if state.JobID == "" || p.ID != runstate.PrincipalID(rec.Key, state.JobID) {
		return "", state, Refusef("the token is of another run that had the name %s and was deleted", rec.Name)
	}
	return rec.Name, state, nil
}

// writable are the addresses that a run's job declared to write to.
func writable(state runstate.State) (urls []string) {
	for _, o := range state.Spec.Outputs {
		urls = append(urls, o.URL)
	}
	for _, i := range state.Spec.Inputs {
		if i.Write {
			urls = append(urls, i.URL)
		}
	}
	return urls
}

// accountOf is the account of a run's workspace; "" if its state does not say.
func accountOf(state runstate.State) string {
	account, _, _, _ := Split(state.Spec.Artifacts)
	return account
}

// stillWrites refuses a run that ended some time ago.
func (a *Authorizer) stillWrites(name string, state runstate.State) error {
	if end := state.RecordedAt; !end.IsZero() && a.clock().Sub(end) >= writesAfterEnd {
		return Refusef("run %s ended at %s; it can write until %s after that", name, end.Format(time.RFC3339), writesAfterEnd)
	}
	return nil
}

// authorizeDeployment lets the pods of an online deployment read what the workspace has: older pods of one that was updated, which may
// start again, need the model that they began with.
func (a *Authorizer) authorizeDeployment(ctx context.Context, p resource.Principal, account string, write bool) error {
	_, _, err := a.deployment(ctx, p, account, write)
	return err
}

// deployment is the deployment that a token is of, which may read what its workspace has.
func (a *Authorizer) deployment(ctx context.Context, p resource.Principal, account string, write bool) (name string, state serving.Deployment, err error) {
	rec, err := a.store.Get(ctx, p.Scope)
	if errors.Is(err, store.ErrNotFound) {
		return "", state, Refusef("deployment %s does not exist any more", p.Scope)
	}
	if err != nil {
		return "", state, fmt.Errorf("reading deployment %s: %w", p.Scope, err)
	}
	state, err = serving.DecodeDeployment(rec)
	switch {
	case err != nil:
		return "", state, err
	case state.ID == "" || p.ID != state.ID:
		return "", state, Refusef("the token is of another deployment that had the name %s and was deleted", rec.Name)
	case write:
		return "", state, Refusef("deployment %s reads only", rec.Name)
	}
	workspace, err := accounts.Workspace(ctx, a.store, account)
	if errors.Is(err, store.ErrNotFound) || err == nil && !strings.HasPrefix(rec.Key, workspace+"/") {
		return "", state, Refusef("deployment %s reads the storage of its own workspace only, not account %q", rec.Name, account)
	}
	return rec.Name, state, err
}

// within reports whether n is the blob at an address or one below it; never a whole container.
func within(address string, n blobName) bool {
	account, container, name, ok := Split(address)
	return ok && name != "" && account == n.account && container == n.container && (n.name == name || strings.HasPrefix(n.name, name+"/"))
}
