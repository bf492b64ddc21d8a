package relay

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/link/linktest"
)

var target = link.Target{Kind: link.KindRun, Namespace: "jobs", JobID: "0123456789abcdef0123456789abcdef"}

// one is the incarnation of every cluster but /gone.
func one(_ context.Context, cluster string) (int64, error) {
	if cluster == "/gone" {
		return 0, store.ErrNotFound
	}
	return 1, nil
}

func newHub(t *testing.T) (*Hub, *httptest.Server) {
	t.Helper()
	h := New(Config{Authenticate: func(r *http.Request) (resource.Principal, error) {
		kind, scope, ok := strings.Cut(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), " ")
		if !ok {
			return resource.Principal{}, errors.New("the token is not known")
		}
		p := resource.Principal{Kind: kind, Scope: scope, ScopeSeq: 1}
		if scope == "/old" {
			p.ScopeSeq = 7
		}
		if scope == "/short" {
			p.Expires = time.Now().Add(time.Second)
		}
		return p, nil
	}, Incarnation: one})
	srv := httptest.NewServer(h.Handler())
	t.Cleanup(func() { h.Close(); srv.CloseClientConnections(); srv.Close() })
	return h, srv
}

// connect runs a relayserver that answers every target with its name; stop ends it.
func connect(t *testing.T, h *Hub, srv *httptest.Server, cluster, name string) (stop func()) {
	t.Helper()
	c, err := link.NewClient(link.Config{Endpoint: srv.URL, TokenSource: func(context.Context) (string, error) { return "Extension " + cluster, nil },
		MaxBackoff: 10 * time.Millisecond, Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	before := count(h, cluster)
	go func() {
		defer close(done)
		_ = link.ServeRelay(ctx, c, func(_ context.Context, tg link.Target, s net.Conn) {
			if tg.Rank == 7 {
				_ = link.AnswerTarget(s, errors.New("no such pod"))
				return
			}
			_ = link.AnswerTarget(s, nil)
			fmt.Fprintln(s, name)
			_, _ = io.Copy(s, s)
		})
	}()
	until(t, func() bool { return count(h, cluster) > before })
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

func count(h *Hub, cluster string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.sessions[incarnation{cluster, 1, link.KindRun}])
}

// until waits for a condition that another goroutine brings about.
func until(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.After(10 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("waited for too long")
		}
	}
}

func open(t *testing.T, h *Hub, cluster string) string {
	t.Helper()
	c, err := h.Open(t.Context(), cluster, target)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

func TestOpenPicksALiveRelay(t *testing.T) {
	h, srv := newHub(t)
	if _, err := h.Open(t.Context(), "/east", target); !errors.Is(err, ErrNotConnected) || !strings.Contains(err.Error(), "cluster not connected") {
		t.Errorf("err %v", err)
	}
	stopOne := connect(t, h, srv, "/east", "one")
	connect(t, h, srv, "/east", "two")
	connect(t, h, srv, "/west", "west")
	seen := map[string]bool{}
	for range 100 {
		seen[open(t, h, "/east")] = true
	}
	if len(seen) != 2 || seen["west"] {
		t.Errorf("reached %v", seen)
	}
	stopOne()
	until(t, func() bool { return count(h, "/east") == 1 })
	for range 5 {
		if got := open(t, h, "/east"); got != "two" {
			t.Errorf("reached %q", got)
		}
	}
	no := target
	no.Rank = 7
	var refused *link.RefusedError
	if _, err := h.Open(t.Context(), "/east", no); !errors.As(err, &refused) || refused.Message != "no such pod" {
		t.Errorf("err %v", err)
	}
	no.Kind = "tcp"
	if _, err := h.Open(t.Context(), "/east", no); err == nil || !strings.Contains(err.Error(), `"tcp" is not allowed`) {
		t.Errorf("err %v", err)
	}
}

func TestRelayComesBack(t *testing.T) {
	h, srv := newHub(t)
	connect(t, h, srv, "/east", "one")
	h.mu.Lock()
	first := h.sessions[incarnation{"/east", 1, link.KindRun}][0]
	h.mu.Unlock()
	first.Close()
	until(t, func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		ss := h.sessions[incarnation{"/east", 1, link.KindRun}]
		return len(ss) == 1 && ss[0] != first
	})
	if got := open(t, h, "/east"); got != "one" {
		t.Errorf("reached %q", got)
	}
}

// TestRelayThroughProxyAndOwnCA: the WebSocket goes through a CONNECT proxy, over TLS of a private CA, and comes back when cut.
func TestRelayThroughProxyAndOwnCA(t *testing.T) {
	h := New(Config{Authenticate: func(*http.Request) (resource.Principal, error) {
		return resource.Principal{Kind: "Extension", Scope: "/east", ScopeSeq: 1}, nil
	}, Incarnation: one})
	srv := httptest.NewTLSServer(h.Handler())
	defer srv.Close()
	defer h.Close()
	p := linktest.NewProxy(t)
	c, err := link.NewClient(link.Config{Endpoint: srv.URL, CA: linktest.CA(srv), Proxy: p.URL, MaxBackoff: 10 * time.Millisecond,
		TokenSource: func(context.Context) (string, error) { return "t", nil }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = link.ServeRelay(ctx, c, func(_ context.Context, _ link.Target, s net.Conn) {
			_ = link.AnswerTarget(s, nil)
			fmt.Fprintln(s, "through")
			_, _ = io.Copy(s, s)
		})
	}()
	defer func() { cancel(); <-done }()
	for round := 1; round <= 2; round++ {
		until(t, func() bool { return h.Count("/east") == 1 })
		if got := open(t, h, "/east"); got != "through" {
			t.Errorf("reached %q", got)
		}
		p.Cut()
		until(t, func() bool { return p.Tunnels() > round && count(h, "/east") == 1 })
	}
}

func TestRefusals(t *testing.T) {
	_, srv := newHub(t)
	for token, want := range map[string]int{"": 401, "User /east": 403, "Run /east": 403, "Extension /old": 401, "Extension /gone": 401, "Extension /east": 426, "Agent /east": 426, "Agent /old": 401} {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", srv.URL+link.RelayPath, nil)
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := srv.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%q got %d, want %d", token, res.StatusCode, want)
		}
	}
}

// TestRelayEndsWithItsToken: the cluster comes back with a new one.
func TestRelayEndsWithItsToken(t *testing.T) {
	h, srv := newHub(t)
	connect(t, h, srv, "/short", "one")
	h.mu.Lock()
	first := h.sessions[incarnation{"/short", 1, link.KindRun}][0]
	h.mu.Unlock()
	select {
	case <-first.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("the session outlives its token")
	}
	until(t, func() bool { return count(h, "/short") == 1 })
}

// TestNewClusterOfAnOldName: a relay of the cluster that had the name before is not used.
func TestNewClusterOfAnOldName(t *testing.T) {
	h, srv := newHub(t)
	connect(t, h, srv, "/east", "old")
	h.cfg.Incarnation = func(context.Context, string) (int64, error) { return 2, nil }
	if _, err := h.Open(t.Context(), "/east", target); !errors.Is(err, ErrNotConnected) {
		t.Errorf("err %v", err)
	}
}
