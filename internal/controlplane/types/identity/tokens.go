package identity

import (
	"context"
	"encoding/json"
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

// workload is what a token's bearer was given to speak as.
type workload struct {
	// name is how it is told of, such as "job train".
	name string
	Grant
}

// Claims is the identity that a run or a deployment was given, as long as it goes on and what the identity was had from has it.
func (t Tokens) Claims(ctx context.Context, who resource.Principal, clientID string) (issuer.Claims, error) {
	read, noun := ofRun, "job"
	if who.Kind == issuer.KindDeployment {
		read, noun = ofDeployment, "deployment"
	}
	rec, err := t.Store.Get(ctx, who.Scope)
	if errors.Is(err, store.ErrNotFound) {
		return issuer.Claims{}, refuse("the %s does not exist any more", noun)
	}
	if err != nil {
		return issuer.Claims{}, fmt.Errorf("reading %s %s: %w", noun, who.Scope, err)
	}
	w := workload{name: noun + " " + rec.Name}
	if w.Grant, err = read(rec, who); err != nil {
		return issuer.Claims{}, err
	}
	if w.Principal == "" {
		return issuer.Claims{}, refuse("%s has no managed identity", w.name)
	}
	return t.given(ctx, w, clientID)
}

func ofRun(job store.Record, run resource.Principal) (Grant, error) {
	st, err := runstate.Decode(job)
	if err != nil {
		return Grant{}, err
	}
	view, err := runstate.Read(job)
	switch {
	case err != nil:
		return Grant{}, err
	case run.ID != runstate.PrincipalID(job.Key, st.JobID):
		return Grant{}, refuse("the token is of another run that had the name %s and was deleted", job.Name)
	case runstate.Terminal(view.Status):
		return Grant{}, refuse("job %s is %s", job.Name, view.Status)
	}
	return Grant{Principal: st.Identity, Carrier: st.Compute, CarrierSeq: st.ComputeSeq}, nil
}

func ofDeployment(rec store.Record, pods resource.Principal) (Grant, error) {
	var st struct {
		ID       string `json:"id"`
		SpeaksAs Grant  `json:"speaksAs"`
	}
	if err := json.Unmarshal(rec.Internal, &st); err != nil {
		return Grant{}, fmt.Errorf("decoding state of %s: %w", rec.Key, err)
	}
	if pods.ID != st.ID {
		return Grant{}, refuse("the token is of another deployment that had the name %s and was deleted", rec.Name)
	}
	return st.SpeaksAs, nil
}

// given looks whether the carrier of a workload's identity has it still.
func (t Tokens) given(ctx context.Context, w workload, clientID string) (issuer.Claims, error) {
	carrier, list, err := t.carrier(ctx, w.Carrier)
	if err != nil {
		return issuer.Claims{}, err
	}
	id, has := Find(list, w.Principal)
	noun := w.carrierNoun()
	switch {
	case carrier.Seq == 0:
		return issuer.Claims{}, refuse("the %s of %s was detached or deleted", noun, w.name)
	case w.CarrierSeq != 0 && carrier.Seq != w.CarrierSeq:
		return issuer.Claims{}, refuse("the %s of %s was detached or deleted; the one that has its name now is another", noun, w.name)
	case !has:
		return issuer.Claims{}, refuse("the managed identity that %s was made with was deleted, or taken away from %s %s", w.name, noun, carrier.Name)
	case !strings.EqualFold(clientID, id.ClientID):
		return issuer.Claims{}, refuse("the managed identity of %s has client id %s, not %s", w.name, id.ClientID, clientID)
	}
	return Claims(id, carrier), nil
}

// Claims are those of a token of an identity that a resource carries.
func Claims(id Identity, carrier store.Record) issuer.Claims {
	return issuer.Claims{Subject: id.PrincipalID, ClientID: id.ClientID, Name: id.Name, Kind: issuer.KindManagedIdentity, Scope: carrier.Key, ScopeSeq: carrier.Seq}
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
