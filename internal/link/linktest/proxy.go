// Package linktest holds what tests of the link's two sides share.
package linktest

import (
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
)

// Proxy is an HTTP proxy that knows CONNECT only, counts its tunnels and can cut them.
type Proxy struct {
	srv *httptest.Server

	mu    sync.Mutex
	conns []net.Conn
	n     int
}

// NewProxy starts a Proxy on the loopback; it ends with the test.
func NewProxy(t testing.TB) *Proxy {
	p := &Proxy{}
	p.srv = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(func() { p.Cut(); p.srv.Close() })
	return p
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "CONNECT only", http.StatusMethodNotAllowed)
		return
	}
	up, err := net.Dial("tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer up.Close()
	w.WriteHeader(http.StatusOK)
	down, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer down.Close()
	p.mu.Lock()
	p.conns = append(p.conns, down, up)
	p.n++
	p.mu.Unlock()
	var sending sync.WaitGroup
	sending.Go(func() { _, _ = io.Copy(up, buf); up.Close() })
	_, _ = io.Copy(down, up)
	down.Close()
	sending.Wait()
}

// URL is a link.Config.Proxy that sends everything through the proxy.
func (p *Proxy) URL(*http.Request) (*url.URL, error) { return url.Parse(p.srv.URL) }

// Cut breaks every tunnel that is open.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// Tunnels is how many were opened so far.
func (p *Proxy) Tunnels() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

// CA is the PEM bundle that verifies a TLS test server.
func CA(srv *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
}
