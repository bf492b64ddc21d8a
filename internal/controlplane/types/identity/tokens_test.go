package identity_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/types/identity/identitytest"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
)

// ask exchanges a run's token for one of an identity and returns the token, or what the issuer says.
func ask(t *testing.T, l *identitytest.Lab, clientID, assertion string, more url.Values) (token, problem string) {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {clientID}, "client_assertion": {assertion}, "client_assertion_type": {issuer.AssertionType}}
	for k, v := range more {
		form[k] = v
	}
	resp, err := l.Server.Client().PostForm(l.Issuer.TokenURL(), form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var m struct {
		Token   string `json:"access_token"`
		Expires int64  `json:"expires_in"`
		Error   string `json:"error"`
		Text    string `json:"error_description"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&m); err != nil {
		t.Fatal(err)
	}
	if (resp.StatusCode == http.StatusOK) != (m.Error == "") || m.Token != "" && m.Expires != int64(issuer.IdentityTTL/time.Second) {
		t.Errorf("%d %+v", resp.StatusCode, m)
	}
	return m.Token, m.Error + " " + m.Text
}

func client(l *identitytest.Lab, id string) string { s, _ := l.Prop(id, "clientId").(string); return s }

func TestARunGetsTokensOfItsIdentity(t *testing.T) {
	l := identitytest.New(t)
	l.Attach(`{"type":"SystemAssigned"}`)
	shown, _ := l.Show(typestest.Compute)["identity"].(map[string]any)
	st, run := l.Run("mine", "")
	if st.Identity == "" || st.Identity != shown["principalId"] || st.Spec.Identity.ClientID != shown["clientId"] {
		t.Fatalf("the job speaks as %q %+v, the compute has %v", st.Identity, st.Spec.Identity, shown)
	}
	token, problem := ask(t, l, st.Spec.Identity.ClientID, run, url.Values{"scope": {"https://management.azure.com/.default"}})
	p, err := l.Issuer.Verify(t.Context(), token)
	if err != nil {
		t.Fatalf("%v; %s", err, problem)
	}
	if p.ID != st.Identity || p.Kind != issuer.KindManagedIdentity || p.Name != "lab/computes/k8s" {
		t.Errorf("principal %+v", p)
	}
	if _, problem := ask(t, l, st.Spec.Identity.ClientID, run, url.Values{"scope": {"https://elsewhere.example/.default"}}); !strings.Contains(problem, "invalid_resource") {
		t.Errorf("for another's audience: %s", problem)
	}
	if _, problem := ask(t, l, st.Spec.Identity.ClientID, token, nil); !strings.Contains(problem, "a token of a ManagedIdentity gives no other token") {
		t.Errorf("an identity's token as a proof: %s", problem)
	}
	if _, problem := ask(t, l, "22222222-0000-0000-0000-000000000099", run, nil); !strings.Contains(problem, "unauthorized_client AADSTS70021") || !strings.Contains(problem, "not 22222222-0000-0000-0000-000000000099") {
		t.Errorf("another client id: %s", problem)
	}
	if _, problem := ask(t, l, st.Spec.Identity.ClientID, run[:len(run)-6]+"AAAAAA", nil); !strings.Contains(problem, "invalid_client") {
		t.Errorf("a forged token: %s", problem)
	}
}

// TestTheFirstOfTheList: not the first by name.
func TestTheFirstOfTheList(t *testing.T) {
	l := identitytest.New(t)
	l.Assign()
	st, run := l.Run("first", "")
	if st.Spec.Identity.ResourceID != identitytest.Zoe {
		t.Errorf("the job speaks as %+v", st.Spec.Identity)
	}
	if _, problem := ask(t, l, client(l, identitytest.Abe), run, nil); !strings.Contains(problem, "unauthorized_client") {
		t.Errorf("the second of the list: %s", problem)
	}
	for name, section := range map[string]string{"client": `{"identityType":"Managed","clientId":"` + client(l, identitytest.Abe) + `"}`, "resource": `{"identityType":"managed","resourceId":"` + strings.ToUpper(identitytest.Abe) + `"}`} {
		if st, run := l.Run(name, section); st.Spec.Identity.ResourceID != identitytest.Abe {
			t.Errorf("%s: the job speaks as %+v", name, st.Spec.Identity)
		} else if token, problem := ask(t, l, st.Spec.Identity.ClientID, run, nil); token == "" {
			t.Errorf("%s: %s", name, problem)
		}
	}
	raw, err := json.Marshal(l.Show(typestest.Compute)["identity"])
	if err != nil {
		t.Fatal(err)
	}
	body, err := l.Engine.Show(t.Context(), l.Store, l.Record(typestest.Compute))
	if err != nil {
		t.Fatal(err)
	}
	if raw, err = json.Marshal(body["identity"]); err != nil || strings.Index(string(raw), "/zoe") > strings.Index(string(raw), "/abe") {
		t.Errorf("shown as %s, %v", raw, err)
	}
	l.Attach(string(raw)) // as who reads, changes something else and writes
	if st, _ := l.Run("again", ""); st.Spec.Identity.ResourceID != identitytest.Zoe {
		t.Errorf("after a write of what was read the job speaks as %+v", st.Spec.Identity)
	}
	if err := l.TryPatch(typestest.Compute, `{"identity":{"userAssignedIdentities":{"`+identitytest.Abe+`":{}}}}`); err != nil {
		t.Fatal(err)
	}
	l.Set(typestest.Compute, map[string]any{"provisioningState": "Succeeded"})
	if st, _ := l.Run("patched", ""); st.Spec.Identity.ResourceID != identitytest.Abe {
		t.Errorf("after a patch that names the other the job speaks as %+v", st.Spec.Identity)
	}
}

// TestIdentitiesEnd: a token is good, and a run gets one, only while the run goes on and its compute has the identity.
func TestIdentitiesEnd(t *testing.T) {
	end := func(l *identitytest.Lab) { // detached, and attached again with the same identities
		if err := l.TryDelete(typestest.Compute, true); err != nil {
			l.T.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		change func(l *identitytest.Lab)
		says   string
		good   bool // tokens that were given stay good
	}{
		"nothing":        {func(*identitytest.Lab) {}, "", true},
		"the other goes": {func(l *identitytest.Lab) { must(l, l.TryDelete(identitytest.Abe, false)) }, "", true},
		"identity goes":  {func(l *identitytest.Lab) { must(l, l.TryDelete(identitytest.Zoe, false)) }, "was deleted, or taken away", false},
		"made again": {func(l *identitytest.Lab) {
			must(l, l.TryDelete(identitytest.Zoe, false))
			l.Put(identitytest.Zoe, `{"location":"lab"}`)
		}, "was deleted, or taken away", false},
		"taken away":      {func(l *identitytest.Lab) { l.Attach("") }, "was deleted, or taken away", false},
		"another instead": {func(l *identitytest.Lab) { l.Attach(`{"type":"SystemAssigned"}`) }, "was deleted, or taken away", false},
		"detached":        {end, "was detached", false},
		"attached again": {func(l *identitytest.Lab) {
			end(l)
			l.Attach(`{"type":"UserAssigned","userAssignedIdentities":{"` + identitytest.Zoe + `":{}}}`)
		}, "is another", false},
		"job ended":   {func(l *identitytest.Lab) { l.Set(typestest.Workspace+"/jobs/j", map[string]any{"status": "Completed"}) }, "is Completed", true},
		"job deleted": {func(l *identitytest.Lab) { must(l, l.TryDelete(typestest.Workspace+"/jobs/j", true)) }, "does not exist any more", true},
		"job made again": {func(l *identitytest.Lab) {
			must(l, l.TryDelete(typestest.Workspace+"/jobs/j", true))
			l.Run("j", "")
		}, "another run that had the name", true},
	} {
		t.Run(name, func(t *testing.T) {
			l := identitytest.New(t)
			l.Assign()
			st, run := l.Run("j", "")
			before, problem := ask(t, l, st.Spec.Identity.ClientID, run, nil)
			if before == "" {
				t.Fatal(problem)
			}
			c.change(l)
			token, problem := ask(t, l, st.Spec.Identity.ClientID, run, nil)
			if (token != "") != (c.says == "") || !strings.Contains(problem, c.says) {
				t.Errorf("asked again: %q %s; want %q", token, problem, c.says)
			}
			if _, err := l.Issuer.Verify(t.Context(), before); (err == nil) != c.good {
				t.Errorf("the token given before: %v", err)
			}
		})
	}
}

func must(l *identitytest.Lab, err error) {
	l.T.Helper()
	if err != nil {
		l.T.Fatal(err)
	}
}

// TestRunsWithoutIdentity get none.
func TestRunsWithoutIdentity(t *testing.T) {
	l := identitytest.New(t)
	if st, run := l.Run("plain", ""); st.Spec.Identity != nil || st.Identity != "" {
		t.Errorf("a compute without identity gave %+v", st.Spec.Identity)
	} else if _, problem := ask(t, l, "x", run, nil); !strings.Contains(problem, "job plain has no managed identity") {
		t.Error(problem)
	}
	l.Attach(`{"type":"SystemAssigned"}`)
	if st, _ := l.Run("token", `{"identityType":"AMLToken"}`); st.Spec.Identity != nil || st.Identity != "" {
		t.Errorf("a job that asks for its own token only got %+v", st.Spec.Identity)
	}
}
