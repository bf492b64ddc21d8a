package identity

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/link/linktest"
)

func direct(*http.Request) (*url.URL, error) { return nil, nil }

// TestWay goes to the control plane and nowhere else, through the outbound proxy where there is one.
func TestWay(t *testing.T) {
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	out := linktest.NewProxy(t)
	denies := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth(); user != "u" || password != "p" {
			t.Errorf("the outbound proxy was told %s %s", user, password)
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	defer denies.Close()
	for name, c := range map[string]struct {
		via  func(*http.Request) (*url.URL, error)
		says string
	}{
		"direct":  {direct, ""},
		"through": {out.URL, ""},
		"denied": {func(*http.Request) (*url.URL, error) {
			return url.Parse(strings.Replace(denies.URL, "://", "://u:p@", 1))
		}, "403 Forbidden"},
		"socks": {func(*http.Request) (*url.URL, error) { return url.Parse("socks5://x:1") }, "not supported"},
	} {
		target, dial, err := Way(srv.URL, c.via)
		if err != nil || target != srv.Listener.Addr().String() {
			t.Fatalf("%s: %s, %v", name, target, err)
		}
		conn, err := dial(t.Context())
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			conn.Close()
		}
	}
	if out.Tunnels() != 1 {
		t.Errorf("%d tunnels through the outbound proxy", out.Tunnels())
	}
	for _, endpoint := range []string{"", "ftp://fl.example", "https://", "fl.example:443"} {
		if _, _, err := Way(endpoint, direct); err == nil {
			t.Errorf("%q is taken for the control plane's address", endpoint)
		}
	}
	if target, _, err := Way("https://fl.example", direct); err != nil || target != "fl.example:443" {
		t.Errorf("%s, %v", target, err)
	}
}

// TestTunnelIsShort: what is no request for a token does not go through.
func TestTunnelIsShort(t *testing.T) {
	inner, outer := net.Pipe()
	up, far := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		join(inner, inner, up)
	}()
	answer := make([]byte, len(established))
	if _, err := io.ReadFull(outer, answer); err != nil || string(answer) != established {
		t.Fatalf("%q, %v", answer, err)
	}
	got := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, far)
		got <- n
	}()
	_, _ = outer.Write(bytes.Repeat([]byte("x"), 2*tunnelBytes)) // it is cut off
	if n := <-got; n != tunnelBytes {
		t.Errorf("%d bytes went through", n)
	}
	far.Close()
	<-done
}
