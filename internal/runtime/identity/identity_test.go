package identity_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/types/identity/identitytest"
	"fairlead.dev/fairlead/internal/runtime/identity"
)

// pod is a server as a pod of a run has it, with a real control plane behind.
type pod struct {
	*identitytest.Lab
	identity  commonruntime.Identity
	principal string
	env       map[string]string
	log       *bytes.Buffer
}

func newPod(t *testing.T) *pod {
	t.Helper()
	p := &pod{Lab: identitytest.New(t), log: &bytes.Buffer{}}
	p.Attach(`{"type":"SystemAssigned"}`)
	st, token := p.Run("job", "")
	p.identity, p.principal = *st.Spec.Identity, st.Identity
	srv := identity.New(identity.Config{Identity: p.identity, Assertion: func() (string, error) { return token, nil }, HTTP: p.Server.Client(), Log: slog.New(slog.NewTextHandler(p.log, nil))})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Serve(l))
	p.env = srv.Environ(l.Addr().String())
	return p
}

// is requires a token of the pod's identity.
func (p *pod) is(t *testing.T, token string) {
	t.Helper()
	who, err := p.Issuer.Verify(t.Context(), token)
	if err != nil || who.ID != p.principal || who.Kind != issuer.KindManagedIdentity {
		t.Errorf("the token speaks for %+v, %v", who, err)
	}
}

func (p *pod) ask(t *testing.T, query string, change func(*http.Request)) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.env["MSI_ENDPOINT"]+"?"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("secret", p.env["MSI_SECRET"])
	change(r)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatalf("%d %s: %v", resp.StatusCode, raw, err)
	}
	return resp.StatusCode, m
}

const management = "api-version=2017-09-01&resource=https://management.azure.com/"

func TestAnswers(t *testing.T) {
	p := newPod(t)
	for name, c := range map[string]struct {
		query  string
		change func(*http.Request)
	}{
		"azure ml":           {management, func(*http.Request) {}},
		"azure ml by client": {management + "&clientid=" + p.identity.ClientID, func(*http.Request) {}},
		"app service": {"api-version=2019-08-01&resource=https://ml.azure.com&client_id=" + strings.ToUpper(p.identity.ClientID), func(r *http.Request) {
			r.Header.Del("secret")
			r.Header.Set("X-IDENTITY-HEADER", p.env["IDENTITY_HEADER"])
		}},
		"by principal": {management + "&principal_id=" + p.identity.PrincipalID, func(*http.Request) {}},
		"a scope":      {"api-version=2017-09-01&resource=https://storage.azure.com/.default", func(*http.Request) {}},
	} {
		status, m := p.ask(t, c.query, c.change)
		token, _ := m["access_token"].(string)
		if status != http.StatusOK || m["token_type"] != "Bearer" || m["client_id"] != p.identity.ClientID || !strings.Contains(c.query, "resource="+fmt.Sprint(m["resource"])) {
			t.Fatalf("%s: %d %v", name, status, m)
		}
		p.is(t, token)
		on, err := strconv.ParseInt(fmt.Sprint(m["expires_on"]), 10, 64)
		if left := time.Until(time.Unix(on, 0)); err != nil || left > issuer.IdentityTTL || left < issuer.IdentityTTL/2 {
			t.Errorf("%s: expires_on %v", name, m["expires_on"])
		}
		if strings.Contains(p.log.String(), token) {
			t.Errorf("%s: the log has the token", name)
		}
	}
}

func TestRefuses(t *testing.T) {
	p := newPod(t)
	for name, c := range map[string]struct {
		query  string
		change func(*http.Request)
		status int
		says   string
	}{
		"no secret":    {management, func(r *http.Request) { r.Header.Del("secret") }, 401, "MSI_SECRET"},
		"wrong secret": {management, func(r *http.Request) { r.Header.Set("secret", "guess") }, 401, "MSI_SECRET"},
		"one of two is wrong": {management, func(r *http.Request) {
			r.Header.Set("secret", "guess")
			r.Header.Set("X-IDENTITY-HEADER", p.env["IDENTITY_HEADER"])
		}, 401, "MSI_SECRET"},
		"metadata header":     {management, func(r *http.Request) { r.Header.Del("secret"); r.Header.Set("Metadata", "true") }, 401, "MSI_SECRET"},
		"secret in the query": {management + "&secret=" + p.env["MSI_SECRET"], func(r *http.Request) { r.Header.Del("secret") }, 401, "MSI_SECRET"},
		"rebound name":        {management, func(r *http.Request) { r.Host = "evil.example:12342" }, 403, "evil.example"},
		"forwarded":           {management, func(r *http.Request) { r.Header.Set("X-Forwarded-For", "203.0.113.1") }, 403, "forwarded"},
		"post":                {management, func(r *http.Request) { r.Method = http.MethodPost }, 405, "send GET"},
		"another path":        {management, func(r *http.Request) { r.URL.Path = "/metadata/identity/oauth2/token" }, 404, "tokens are at /token"},
		"no version":          {"resource=https://ml.azure.com", func(*http.Request) {}, 400, "api-version"},
		"no resource":         {"api-version=2017-09-01", func(*http.Request) {}, 400, "resource is missing"},
		"unknown resource":    {"api-version=2017-09-01&resource=https://elsewhere.example", func(*http.Request) {}, 400, "was not found in the tenant"},
		"unknown client":      {management + "&clientid=5f1e0000-0000-0000-0000-000000000000", func(*http.Request) {}, 400, "No User Assigned or Delegated Managed Identity found"},
		"unknown resource id": {management + "&mi_res_id=/subscriptions/x", func(*http.Request) {}, 400, "No User Assigned or Delegated Managed Identity found"},
	} {
		t.Run(name, func(t *testing.T) {
			status, m := p.ask(t, c.query, c.change)
			if status != c.status || m["access_token"] != nil || m["error"] == nil || m["statusCode"] != float64(status) || m["message"] != m["error_description"] || !strings.Contains(fmt.Sprint(m["message"]), c.says) {
				t.Errorf("%d %v; want %d and %q", status, m, c.status, c.says)
			}
		})
	}
	if strings.Contains(p.log.String(), p.env["MSI_SECRET"]) {
		t.Error("the log has the secret")
	}
}

// TestSecretsDiffer: what one pod knows opens no other's.
func TestSecretsDiffer(t *testing.T) {
	a, b := identity.New(identity.Config{}), identity.New(identity.Config{})
	if s := a.Environ("x")["MSI_SECRET"]; len(s) < 26 || s == b.Environ("x")["MSI_SECRET"] {
		t.Errorf("secret %q", s)
	}
}

// TestRenews: one request for many who ask, another one when half of the life is over, and the old token while the control plane is away.
func TestRenews(t *testing.T) {
	var asked, away atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // for its faults
		n := asked.Add(1)
		if status := int(away.Load()); status != 0 {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(`{"error":"e","error_description":"AADSTS70021: job is Completed"}`))
			return
		}
		fmt.Fprintf(w, `{"access_token":"t%d","expires_in":3600}`, n)
	}))
	defer front.Close()
	var now atomic.Int64
	srv := identity.New(identity.Config{Identity: commonruntime.Identity{TokenURL: front.URL}, HTTP: front.Client(), Now: func() time.Time { return time.Unix(now.Load(), 0) },
		Assertion: func() (string, error) { return "run", nil }})
	get := func(resource string) (int, string) {
		r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:12342/token?api-version=2017-09-01&resource="+resource, nil)
		r.Header.Set("secret", srv.Environ("")["MSI_SECRET"])
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, r)
		var m struct {
			Token string `json:"access_token"`
			Text  string `json:"message"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
			t.Error(err)
		}
		return w.Code, m.Token + m.Text
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, token := get("a"); token != "t1" {
				t.Errorf("token %q", token)
			}
		})
	}
	wg.Wait()
	for _, step := range []struct {
		at       int64
		away     int64
		resource string
		status   int
		want     string
	}{
		{1799, 0, "a", 200, "t1"}, {1799, 0, "b", 200, "t2"}, {1800, 0, "a", 200, "t3"},
		{3700, 503, "a", 200, "t3"}, {3700, 429, "a", 200, "t3"}, // the control plane is away
		{1800 + 3600 - 60, 503, "a", 503, "The control plane gave no token"}, // too late for the old one
		{1800 + 3600, 0, "a", 200, "t7"},
		{1800 + 3600 + 1800, 400, "a", 400, "job is Completed"}, // a refusal ends the old one, too
		{1800 + 3600 + 1800, 401, "a", 400, "job is Completed"},
	} {
		now.Store(step.at)
		away.Store(step.away)
		if status, got := get(step.resource); status != step.status || !strings.Contains(got, step.want) {
			t.Errorf("at %d with %d: %d %q, want %d %q", step.at, step.away, status, got, step.status, step.want)
		}
	}
}
