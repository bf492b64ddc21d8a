package identity

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
)

// Tokens decides who gets tokens of identities and how long they are good for. It is the issuer's issuer.Identities.
type Tokens struct{ Store store.Store }

var _ issuer.Identities = Tokens{}

func refuse(format string, args ...any) error {
	return &issuer.NoIdentity{Reason: fmt.Sprintf(format, args...)}
}

// Claims is the identity that a run was submitted with, as long as the job goes on and its compute has the identity.
func (t Tokens) Claims(ctx context.Context, run resource.Principal, clientID string) (issuer.Claims, error) {
	job, err := t.Store.Get(ctx, run.Scope)
	if errors.Is(err, store.ErrNotFound) {
		return issuer.Claims{}, refuse("the job does not exist any more")
	}
	if err != nil {
		return issuer.Claims{}, fmt.Errorf("reading job %s: %w", run.Scope, err)
	}
	st, err := runstate.Decode(job)
	if err != nil {
		return issuer.Claims{}, err
	}
	view, err := runstate.Read(job)
	if err != nil {
		return issuer.Claims{}, err
	}
	switch {
	case run.ID != runstate.PrincipalID(job.Key, st.JobID):
		return issuer.Claims{}, refuse("the token is of another run that had the name %s and was deleted", job.Name)
	case runstate.Terminal(view.Status):
		return issuer.Claims{}, refuse("job %s is %s", job.Name, view.Status)
	case st.Identity == "":
		return issuer.Claims{}, refuse("job %s has no managed identity", job.Name)
	}
	return t.ofCompute(ctx, st, job.Name, clientID)
}

func (t Tokens) ofCompute(ctx context.Context, st runstate.State, job, clientID string) (issuer.Claims, error) {
	compute, list, err := t.carrier(ctx, st.Compute)
	if err != nil {
		return issuer.Claims{}, err
	}
	id, has := Find(list, st.Identity)
	switch {
	case compute.Seq == 0:
		return issuer.Claims{}, refuse("the compute of job %s was detached", job)
	case compute.Seq != st.ComputeSeq:
		return issuer.Claims{}, refuse("the compute of job %s was detached; the one that has its name now is another", job)
	case !has:
		return issuer.Claims{}, refuse("the managed identity that job %s was submitted with was deleted, or taken away from compute %s", job, compute.Name)
	case !strings.EqualFold(clientID, id.ClientID):
		return issuer.Claims{}, refuse("the managed identity of job %s has client id %s, not %s", job, id.ClientID, clientID)
	}
	return issuer.Claims{Subject: id.PrincipalID, ClientID: id.ClientID, Name: id.Name, Kind: issuer.KindManagedIdentity, Scope: compute.Key, ScopeSeq: compute.Seq}, nil
}

// carrier reads a resource and its identities; of one that is gone it returns nothing.
func (t Tokens) carrier(ctx context.Context, key string) (store.Record, []Identity, error) {
	rec, err := t.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return store.Record{}, nil, nil
	}
	if err != nil {
		return rec, nil, fmt.Errorf("reading %s: %w", key, err)
	}
	list, err := Of(ctx, t.Store, rec)
	return rec, list, err
}

// Held reports whether the resource that a token of an identity was issued for is still there and has the identity.
func (t Tokens) Held(ctx context.Context, p resource.Principal) (bool, error) {
	rec, list, err := t.carrier(ctx, p.Scope)
	if err != nil {
		return false, err
	}
	_, has := Find(list, p.ID)
	return has && rec.Seq == p.ScopeSeq, nil
}
