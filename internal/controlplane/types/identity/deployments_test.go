package identity_test

import (
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/types/identity/identitytest"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
)

const (
	system  = `{"type":"SystemAssigned"}`
	nobody  = `{"type":"None"}`
	userZoe = `{"type":"UserAssigned","userAssignedIdentities":{"` + identitytest.Zoe + `":{}}}`
)

// TestADeploymentSpeaksAs the first of its own identities, its endpoint's or its compute's, whichever says anything.
func TestADeploymentSpeaksAs(t *testing.T) {
	for name, c := range map[string]struct {
		compute, endpoint, own string
		// as is the carrier of the identity, "" for nobody.
		as, called string
	}{
		"nobody's":            {"", "", "", "", ""},
		"its own":             {userZoe, system, system, typestest.Blue, "lab/onlineEndpoints/digits/deployments/blue"},
		"its endpoint's":      {system, system, "", typestest.Endpoint, "lab/onlineEndpoints/digits"},
		"a user-assigned one": {system, userZoe, "", typestest.Endpoint, "zoe"},
		"its compute's":       {system, "", "", typestest.Compute, "lab/computes/k8s"},
		"none, by its word":   {system, system, nobody, "", ""},
		"none, by another's":  {system, nobody, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := identitytest.New(t)
			l.Assign()
			l.Attach(c.compute)
			l.Serve(c.endpoint)
			st, pods := l.Deploy(c.own)
			if c.as == "" {
				if _, problem := ask(t, l, "x", pods, nil); st.Spec.Identity != nil || !strings.Contains(problem, "deployment blue has no managed identity") {
					t.Errorf("speaks as %+v: %s", st.Spec.Identity, problem)
				}
				return
			}
			token, problem := ask(t, l, st.Spec.Identity.ClientID, pods, nil)
			who, err := l.Issuer.Verify(t.Context(), token)
			if err != nil || who.Kind != issuer.KindManagedIdentity || who.Name != c.called || who.Scope != strings.ToLower(c.as) || who.ID != st.Spec.Identity.PrincipalID {
				t.Errorf("speaks as %+v, %v; %s", who, err, problem)
			}
			if _, problem := ask(t, l, "22222222-0000-0000-0000-000000000099", pods, nil); !strings.Contains(problem, "unauthorized_client AADSTS70021") {
				t.Errorf("another client id: %s", problem)
			}
		})
	}
}

// TestIdentitiesOfDeploymentsEnd as those of jobs do, and no deployment gets another's.
func TestIdentitiesOfDeploymentsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		change func(l *identitytest.Lab)
		says   string
		good   bool // tokens that were given stay good
	}{
		"nothing":                   {func(*identitytest.Lab) {}, "", true},
		"the endpoint is updated":   {func(l *identitytest.Lab) { l.Serve(userZoe) }, "", true},
		"the deployment is updated": {func(l *identitytest.Lab) { l.Deploy("") }, "", true},
		"it says none":              {func(l *identitytest.Lab) { l.Deploy(nobody) }, "has no managed identity", true},
		"identity goes":             {func(l *identitytest.Lab) { must(l, l.TryDelete(identitytest.Zoe, false)) }, "was deleted, or taken away from endpoint digits", false},
		"taken away":                {func(l *identitytest.Lab) { l.Serve(nobody) }, "was deleted, or taken away from endpoint digits", false},
		"another instead":           {func(l *identitytest.Lab) { l.Serve(system) }, "was deleted, or taken away from endpoint digits", false},
		"the deployment goes":       {func(l *identitytest.Lab) { must(l, l.TryDelete(typestest.Blue, true)) }, "the deployment does not exist any more", true},
		"the deployment is another": {func(l *identitytest.Lab) { must(l, l.TryDelete(typestest.Blue, true)); l.Deploy("") }, "another deployment that had the name blue", true},
		"the compute is not asked":  {func(l *identitytest.Lab) { l.Attach("") }, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			l := identitytest.New(t)
			l.Assign()
			l.Serve(userZoe)
			st, pods := l.Deploy("")
			before, problem := ask(t, l, st.Spec.Identity.ClientID, pods, nil)
			if before == "" {
				t.Fatal(problem)
			}
			c.change(l)
			token, problem := ask(t, l, st.Spec.Identity.ClientID, pods, nil)
			if (token != "") != (c.says == "") || !strings.Contains(problem, c.says) {
				t.Errorf("asked again: %q %s; want %q", token, problem, c.says)
			}
			if _, err := l.Issuer.Verify(t.Context(), before); (err == nil) != c.good {
				t.Errorf("the token given before: %v", err)
			}
		})
	}
}
