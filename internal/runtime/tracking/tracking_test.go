package tracking_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"fairlead.dev/fairlead/internal/runtime/tracking"
)

const azureml = "azureml://fl.test/mlflow/v1.0/subscriptions/s/workspaces/w"

// pod is a server as a pod has it, before a control plane that says what it got.
type pod struct {
	control *httptest.Server
	token   atomic.Value
	env     map[string]string
}

func newPod(t *testing.T) *pod {
	t.Helper()
	p := &pod{}
	p.token.Store("first")
	p.control = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Authorization")+" "+r.Header.Get("X-Forwarded-For")+string(b))
	}))
	t.Cleanup(p.control.Close)
	ws, err := tracking.Workspace(azureml, p.control.URL)
	if err != nil {
		t.Fatal(err)
	}
	s := tracking.New(tracking.Config{Workspace: ws, First: "first", Token: func() (string, error) { return p.token.Load().(string), nil }, Transport: p.control.Client().Transport})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Serve(l))
	p.env = s.Environ(l.Addr().String())
	return p
}

func (p *pod) ask(t *testing.T, path string, change func(*http.Request)) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.env["MLFLOW_TRACKING_URI"]+path, strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+p.env["MLFLOW_TRACKING_TOKEN"])
	change(r)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func asIs(*http.Request) {}

// TestPassesOn: the client's token never changes, the one that the control plane gets does.
func TestPassesOn(t *testing.T) {
	p := newPod(t)
	for _, token := range []string{"first", "renewed"} {
		p.token.Store(token)
		status, got := p.ask(t, "/api/2.0/mlflow/runs/search?a=b%2Fc", asIs)
		want := "POST /mlflow/v1.0/subscriptions/s/workspaces/w/api/2.0/mlflow/runs/search?a=b%2Fc Bearer " + token + " body"
		if status != http.StatusTeapot || got != want {
			t.Errorf("got %d %q, want %q", status, got, want)
		}
	}
}

func TestRefuses(t *testing.T) {
	p := newPod(t)
	for name, c := range map[string]struct {
		path   string
		change func(*http.Request)
		status int
	}{
		"another token": {"/api", func(r *http.Request) { r.Header.Set("Authorization", "Bearer other") }, http.StatusUnauthorized},
		"no token":      {"/api", func(r *http.Request) { r.Header.Del("Authorization") }, http.StatusUnauthorized},
		"another host":  {"/api", func(r *http.Request) { r.Host = "rebound.example.com" }, http.StatusForbidden},
		"forwarded":     {"/api", func(r *http.Request) { r.Header.Set("X-Forwarded-For", "10.0.0.1") }, http.StatusForbidden},
		"elsewhere":     {"/api", func(r *http.Request) { r.URL.Path = "/subscriptions/s" }, http.StatusNotFound},
		"upwards":       {"/api", func(r *http.Request) { r.URL.Path += "/../../x" }, http.StatusNotFound},
		"a neighbour":   {"x/api", asIs, http.StatusNotFound},
	} {
		if status, body := p.ask(t, c.path, c.change); status != c.status || !strings.Contains(body, "error_code") {
			t.Errorf("%s: got %d %s, want %d", name, status, body, c.status)
		}
	}
}

func TestControlPlaneAway(t *testing.T) {
	p := newPod(t)
	p.control.Close()
	if status, body := p.ask(t, "/api", asIs); status != http.StatusServiceUnavailable || !strings.Contains(body, "TEMPORARILY_UNAVAILABLE") {
		t.Errorf("got %d %s", status, body)
	}
}

func TestOtherAddresses(t *testing.T) {
	if u, err := tracking.Workspace("https://mlflow.example.com", "https://fl.test"); u != nil || err != nil {
		t.Errorf("got %v, %v; a user's own server is left alone", u, err)
	}
}
