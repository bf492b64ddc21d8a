// Package identitytest is a control plane with a compute and an endpoint that have identities, and a real issuer over TLS, for the tests of
// those who give and take tokens of identities.
package identitytest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/reconcile/job"
	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/identity"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/controlplane/types/serving"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
)

// Ids of user-assigned identities that Assign gives to the compute.
const (
	Zoe = typestest.Group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/zoe"
	Abe = typestest.Group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/abe"
)

// Lab is the control plane.
type Lab struct {
	*typestest.Env
	Issuer *issuer.Issuer
	Server *httptest.Server
}

// New makes one; its compute and its endpoint have no identity yet.
func New(t *testing.T) *Lab {
	t.Helper()
	l := &Lab{Env: typestest.New(t)}
	l.Serving()
	mux := http.NewServeMux()
	l.Server = httptest.NewTLSServer(mux)
	t.Cleanup(l.Server.Close)
	box, err := seal.New(seal.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	l.Issuer, err = issuer.New(t.Context(), issuer.Config{Keys: issuer.KeyStore{Store: l.Store, Box: box}, PublicURL: l.Server.URL, TenantID: l.Deps.TenantID, Store: l.Store,
		Agents:     func(context.Context, string) (issuer.Agent, error) { return issuer.Agent{}, store.ErrNotFound },
		Identities: identity.Tokens{Store: l.Store}})
	if err != nil {
		t.Fatal(err)
	}
	l.Issuer.Register(mux)
	return l
}

// Attach gives the compute an identity: the body's JSON, "" for none.
func (l *Lab) Attach(body string) {
	l.T.Helper()
	l.Put(typestest.Compute, with(body, typestest.ComputeBody))
	l.Set(typestest.Compute, map[string]any{"provisioningState": "Succeeded"})
}

// Serve gives the endpoint an identity: the body's JSON, "" for none.
func (l *Lab) Serve(body string) {
	l.T.Helper()
	l.Put(typestest.Endpoint, with(body, typestest.EndpointBody))
	l.Set(typestest.Endpoint, map[string]any{"provisioningState": "Succeeded"})
}

// Deploy makes deployment Blue, or writes it again, with an identity (JSON, "" for none), and returns its state and its pods' token.
func (l *Lab) Deploy(body string) (serving.Deployment, string) {
	l.T.Helper()
	l.Put(typestest.Blue, with(body, typestest.BlueBody))
	l.Set(typestest.Blue, map[string]any{"provisioningState": "Succeeded"})
	rec := l.Record(typestest.Blue)
	st, err := serving.DecodeDeployment(rec)
	if err != nil {
		l.T.Fatal(err)
	}
	token, err := l.Issuer.Issue(l.Ctx, issuer.Claims{Subject: st.ID, ClientID: st.ID, Kind: issuer.KindDeployment, Scope: rec.Key}, time.Hour)
	if err != nil {
		l.T.Fatal(err)
	}
	if st.Spec.Identity != nil {
		st.Spec.Identity.TokenURL = l.Issuer.TokenURL()
	}
	return st, token
}

// with adds an identity to a resource's body.
func with(identity, body string) string {
	if identity == "" {
		return body
	}
	return strings.Replace(body, "{", `{"identity":`+identity+`,`, 1)
}

// Assign makes Zoe and Abe and gives both to the compute, Zoe first.
func (l *Lab) Assign() {
	l.T.Helper()
	l.Put(Zoe, `{"location":"lab"}`)
	l.Put(Abe, `{"location":"lab"}`)
	l.Attach(`{"type":"UserAssigned","userAssignedIdentities":{"` + Zoe + `":{},"` + Abe + `":{}}}`)
}

// Run submits a job with an identity section (JSON, "" for none), tells the cluster of it, and returns its state and its token.
func (l *Lab) Run(name, section string) (runstate.State, string) {
	l.T.Helper()
	id := typestest.Workspace + "/jobs/" + name
	body := typestest.JobBody
	if section != "" {
		body = strings.Replace(body, `{"jobType"`, `{"identity":`+section+`,"jobType"`, 1)
	}
	l.Put(id, body)
	l.Step(job.New(l.Deps, nil), id)
	rec := l.Record(id)
	st, err := runstate.Decode(rec)
	if err != nil {
		l.T.Fatal(err)
	}
	token, err := l.Issuer.Issue(l.Ctx, issuer.Claims{Subject: runstate.PrincipalID(rec.Key, st.JobID), ClientID: st.JobID, Kind: issuer.KindRun, Scope: rec.Key}, time.Hour)
	if err != nil {
		l.T.Fatal(err)
	}
	if st.Spec.Identity != nil {
		st.Spec.Identity.TokenURL = l.Issuer.TokenURL()
	}
	return st, token
}
