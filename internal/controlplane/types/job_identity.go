package types

import (
	"context"
	"fmt"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/identity"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
)

// resolveIdentity chooses the one identity of a compute that a job speaks as. A job that says nothing gets the compute's first, if it has
// any; one that asks for AMLToken gets none.
func (d Deps) resolveIdentity(ctx context.Context, r store.Reader, compute store.Record, asked *machinelearning.JobIdentity, st *runstate.State) error {
	if asked != nil && asked.IdentityType == machinelearning.IdentityAMLToken {
		return nil
	}
	list, err := identity.Of(ctx, r, compute)
	if err != nil {
		return err
	}
	is, err := chooseIdentity(list, asked, compute.Name)
	if err != nil || is == nil {
		return err
	}
	st.Identity, st.ComputeSeq = is.PrincipalID, compute.Seq
	st.Spec.Identity = &commonruntime.Identity{ClientID: is.ClientID, PrincipalID: is.PrincipalID, ResourceID: is.ResourceID, TokenURL: d.tokenURL()}
	return nil
}

// chooseIdentity finds what a job asks for among the identities of its compute; nil is none.
func chooseIdentity(list []identity.Identity, asked *machinelearning.JobIdentity, compute string) (*identity.Identity, error) {
	if len(list) == 0 {
		if asked == nil {
			return nil, nil
		}
		return nil, arm.Invalid("properties.identity.identityType",
			"properties.identity.identityType is %s, but compute %s has no managed identity; give it one with 'ml compute update --name %s --identity-type SystemAssigned', or leave identity out.",
			asked.IdentityType, compute, compute)
	}
	if asked == nil {
		return &list[0], nil
	}
	var known []string
	for i, id := range list {
		if fits(asked.ClientID, id.ClientID) && fits(asked.ObjectID, id.PrincipalID) && fits(asked.ResourceID, id.ResourceID) {
			return &list[i], nil
		}
		known = append(known, fmt.Sprintf("%s (client id %s)", id.Name, id.ClientID))
	}
	for _, f := range []struct{ name, value string }{{"clientId", asked.ClientID}, {"objectId", asked.ObjectID}, {"resourceId", asked.ResourceID}} {
		if f.value != "" {
			at := "properties.identity." + f.name
			return nil, arm.Invalid(at, "%s is %q, which is no managed identity of compute %s; it has: %s.", at, f.value, compute, oneOf(known))
		}
	}
	return nil, nil // not reached: who names nothing gets the first
}

func fits(asked, has string) bool { return asked == "" || strings.EqualFold(asked, has) }
