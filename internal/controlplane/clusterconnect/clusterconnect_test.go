package clusterconnect

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/relay"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/link"
)

const (
	cluster = "/subscriptions/s/resourceGroups/G/providers/Microsoft.Kubernetes/connectedClusters/East"
	alice   = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
)

// world is a Handler with one cluster, whose API server is a handler at the end of real HTTP connections.
type world struct {
	*httptest.Server
	roles map[string]bool // actions that alice may do
	mu    sync.Mutex
	open  atomic.Value // error of opening
	// targets are those that were opened.
	targets []link.Target
}

func (w *world) may(action string, yes bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.roles[strings.ToLower(action)] = yes
}

func newWorld(t *testing.T, api http.HandlerFunc) *world {
	t.Helper()
	w := &world{roles: map[string]bool{}}
	for _, a := range []string{"listClusterUserCredential/action", "read", "write"} {
		w.may("Microsoft.Kubernetes/connectedClusters/"+a, true)
	}
	backend := httptest.NewServer(api)
	t.Cleanup(backend.Close)
	h := New(Config{
		Authenticate: func(r *http.Request) (resource.Principal, error) {
			kind, id, ok := strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), " ")
			if !ok {
				return resource.Principal{}, arm.Errorf(401, "ExpiredAuthenticationToken", "The access token has expired. Log in again.")
			}
			return resource.Principal{ID: id, Kind: kind}, nil
		},
		Authorize: func(_ context.Context, p resource.Principal, action, scope string) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.roles[strings.ToLower(action)] && scope == strings.ToLower(scope) {
				return nil
			}
			return arm.Errorf(403, "AuthorizationFailed", "%s may not %s", p.ID, action)
		},
		Exists: func(_ context.Context, key string) error {
			if key != strings.ToLower(cluster) {
				return store.ErrNotFound
			}
			return nil
		},
		Open: func(_ context.Context, _ string, target link.Target) (net.Conn, error) {
			if err, _ := w.open.Load().(error); err != nil {
				return nil, err
			}
			w.mu.Lock()
			w.targets = append(w.targets, target)
			w.mu.Unlock()
			return net.Dial("tcp", backend.Listener.Addr().String())
		},
		Recheck: 10 * time.Millisecond,
	})
	mux := http.NewServeMux()
	mux.Handle(PathPrefix, h)
	w.Server = httptest.NewServer(mux)
	t.Cleanup(w.Server.Close)
	return w
}

func (w *world) do(t *testing.T, path, token string, header http.Header) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", w.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := w.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(body)
}

func TestPassesOn(t *testing.T) {
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s auth=%q cookie=%q", r.Method, r.RequestURI, r.Header.Get("Authorization"), r.Header.Get("Cookie"))
	})
	for path, want := range map[string]string{
		"/api/v1/pods?watch=1": "GET /api/v1/pods?watch=1 auth=\"\" cookie=\"\"",
		"":                     "GET / auth=\"\" cookie=\"\"",
		"/api/v1/namespaces/a/services/x:y/proxy/p%2Fq": "GET /api/v1/namespaces/a/services/x:y/proxy/p%2Fq auth=\"\" cookie=\"\"",
	} {
		if res, body := w.do(t, "/kube/v1"+cluster+path, "User "+alice, http.Header{"Cookie": {"a=b"}}); res.StatusCode != 200 || body != want {
			t.Errorf("%s: %d %s", path, res.StatusCode, body)
		}
	}
	got := w.targets[0]
	if got.User != alice || got.UserKind != "User" || fmt.Sprint(got.Groups) != "[fairlead:contributors fairlead:readers]" {
		t.Errorf("target %+v", got)
	}
	w.may("Microsoft.Authorization/roleAssignments/write", true)
	w.do(t, "/kube/v1"+cluster+"/api", "ServicePrincipal "+strings.ToUpper(alice), nil)
	if got := w.targets[len(w.targets)-1]; got.User != alice || got.Groups[0] != link.GroupOwners || got.UserKind != "ServicePrincipal" {
		t.Errorf("target of an owner %+v", got)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, func(http.ResponseWriter, *http.Request) { t.Error("reached the API server") })
	pods := "/kube/v1" + cluster + "/api/v1/pods"
	cases := map[string]struct {
		path, token string
		header      http.Header
		prepare     func()
		code        int
		text        string
	}{
		"expired token":      {pods, "", nil, nil, 401, "Log in again"},
		"impersonation":      {pods, "User " + alice, http.Header{"Impersonate-User": {"root"}}, nil, 403, "Impersonate-User is not allowed"},
		"impersonated extra": {pods, "User " + alice, http.Header{"impersonate-Extra-x": {"root"}}, nil, 403, "is not allowed"},
		"agent":              {pods, "Agent " + alice, nil, nil, 403, "kind Agent"},
		"odd name":           {pods, "User system:admin", nil, nil, 403, "cannot use"},
		"no such cluster":    {strings.Replace(pods, "East", "West", 1), "User " + alice, nil, nil, 404, "no such connected cluster"},
		"not a cluster":      {"/kube/v1/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/disks/d/api", "User " + alice, nil, nil, 404, "not the id of a connected or managed cluster"},
		"managed cluster": {"/kube/v1/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/m/api", "User " + alice, nil, nil, 403,
			"may not Microsoft.ContainerService/managedClusters/listClusterUserCredential/action"},
		"short":           {"/kube/v1/subscriptions/s", "User " + alice, nil, nil, 404, "the address must be"},
		"slash in a name": {strings.Replace(pods, "East", "a%2Fb", 1), "User " + alice, nil, nil, 404, ""},
		"offline": {pods, "User " + alice, nil, func() { w.open.Store(fmt.Errorf("%w: gone", relay.ErrNotConnected)) }, 503,
			"cluster East is not connected"},
		"no role": {pods, "User " + alice, nil, func() { w.may("Microsoft.Kubernetes/connectedClusters/listClusterUserCredential/action", false) }, 403, "listClusterUserCredential"},
	}
	for _, name := range []string{"expired token", "impersonation", "impersonated extra", "agent", "odd name", "no such cluster", "not a cluster", "managed cluster", "short", "slash in a name", "offline", "no role"} {
		c := cases[name]
		t.Run(name, func(t *testing.T) {
			if c.prepare != nil {
				c.prepare()
			}
			res, body := w.do(t, c.path, c.token, c.header)
			var s status
			if err := json.Unmarshal([]byte(body), &s); err != nil {
				t.Fatalf("%d %s: %v", res.StatusCode, body, err)
			}
			if res.StatusCode != c.code || s.Code != c.code || s.Kind != "Status" || s.Status != "Failure" || !strings.Contains(s.Message, c.text) {
				t.Errorf("%d %s", res.StatusCode, body)
			}
		})
	}
}

// TestStreams: bytes arrive as they are sent, an upgraded connection carries both ways, and both end when the right is withdrawn.
func TestStreams(t *testing.T) {
	w := newWorld(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			fmt.Fprintln(w, "first line")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "SPDY/3.1")
		w.WriteHeader(http.StatusSwitchingProtocols)
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, rw)
	})
	req, _ := http.NewRequestWithContext(t.Context(), "GET", w.URL+"/kube/v1"+cluster+"/log", nil)
	req.Header.Set("Authorization", "Bearer User "+alice)
	res, err := w.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	log := bufio.NewReader(res.Body)
	if line, err := log.ReadString('\n'); line != "first line\n" {
		t.Fatalf("%q, %v", line, err)
	}
	conn, err := net.Dial("tcp", w.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(conn, "POST /kube/v1%s/exec HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer User %s\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n", cluster, alice)
	r := bufio.NewReader(conn)
	up, err := http.ReadResponse(r, nil)
	if err != nil || up.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%+v, %v", up, err)
	}
	fmt.Fprintln(conn, "hello")
	if line, err := r.ReadString('\n'); line != "hello\n" {
		t.Fatalf("%q, %v", line, err)
	}
	w.may("Microsoft.Kubernetes/connectedClusters/write", false)
	if _, err := r.ReadByte(); err == nil {
		t.Error("the upgraded connection outlives the right")
	}
	if _, err := log.ReadByte(); err == nil {
		t.Error("the stream outlives the right")
	}
}

// TestUnanswered: a request that is ended before there is an answer breaks off, and looks to nobody as if it had been done.
func TestUnanswered(t *testing.T) {
	var w *world
	w = newWorld(t, func(_ http.ResponseWriter, r *http.Request) {
		w.may("Microsoft.Authorization/roleAssignments/write", true) // one more right does not make up for the lost one
		w.may("Microsoft.Kubernetes/connectedClusters/write", false)
		<-r.Context().Done()
	})
	req, err := http.NewRequestWithContext(t.Context(), "DELETE", w.URL+"/kube/v1"+cluster+"/api/v1/namespaces/a", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer User "+alice)
	res, err := w.Client().Do(req)
	if err == nil {
		res.Body.Close()
		t.Errorf("answered %s", res.Status)
	}
}
