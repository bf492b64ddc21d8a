package identity

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/internal/httptunnel"
)

const (
	// maxTunnels bounds how many are open at once, maxTunnelsOfOne those of one Identity, so that its pods keep no others waiting; a request
	// for a token takes some hundredths of a second.
	maxTunnels      = 256
	maxTunnelsOfOne = 16
	// dialTimeout bounds finding out who asks and reaching the control plane.
	dialTimeout = 15 * time.Second
)

// Proxy leads pods of managed identities to the control plane, and nobody to anywhere else.
type Proxy struct {
	cfg  ProxyConfig
	open chan struct{}

	mu sync.Mutex
	of map[types.NamespacedName]int
}

// ProxyConfig is what a Proxy needs. All fields are required.
type ProxyConfig struct {
	// Client asks for reviews of tokens, and reads Identities (from a cache, as a manager's does).
	Client client.Client
	// Target is host and port of the control plane, Dial opens a connection to it.
	Target string
	Dial   func(ctx context.Context) (net.Conn, error)
	Log    *slog.Logger
}

// NewProxy makes a Proxy.
func NewProxy(cfg ProxyConfig) *Proxy {
	return &Proxy{cfg: cfg, open: make(chan struct{}, maxTunnels), of: map[types.NamespacedName]int{}}
}

// Serve answers on l until ctx ends.
func (p *Proxy) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: p, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 10 * time.Second, MaxHeaderBytes: 32 << 10}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving pods on %s: %w", l.Addr(), err)
	}
	return nil
}

// refusal is why a pod is not let through.
type refusal struct {
	status int
	reason string
}

func (r *refusal) Error() string { return r.reason }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status, fmt.Sprintf(format, args...)}
}

// ServeHTTP lets one connection through.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case p.open <- struct{}{}:
		defer func() { <-p.open }()
	default:
		p.refuse(w, r, refuse(http.StatusServiceUnavailable, "%d pods ask for tokens at once; try again", maxTunnels))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), dialTimeout)
	defer cancel()
	who, err := p.admit(ctx, r)
	if err != nil {
		p.refuse(w, r, err)
		return
	}
	if !p.take(who.identity) {
		p.refuse(w, r, refuse(http.StatusServiceUnavailable, "pods of Identity %s have %d tunnels open; try again", who.identity, maxTunnelsOfOne))
		return
	}
	defer p.giveBack(who.identity)
	up, err := p.cfg.Dial(ctx)
	if err != nil {
		p.refuse(w, r, refuse(http.StatusBadGateway, "the control plane at %s cannot be reached: %v", p.cfg.Target, err))
		return
	}
	defer up.Close()
	down, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		p.refuse(w, r, refuse(http.StatusHTTPVersionNotSupported, "tunnels are made over HTTP/1.1"))
		return
	}
	defer down.Close()
	p.cfg.Log.Info("a pod asks for a token", "pod", who.pod, "identity", who.identity)
	join(down, buffered.Reader, up)
}

func (p *Proxy) take(id types.NamespacedName) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of[id] >= maxTunnelsOfOne {
		return false
	}
	p.of[id]++
	return true
}

func (p *Proxy) giveBack(id types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of[id]--; p.of[id] == 0 {
		delete(p.of, id)
	}
}

// admit says whose pod asks, or why it is not let through.
func (p *Proxy) admit(ctx context.Context, r *http.Request) (pod, error) {
	if r.Method != http.MethodConnect {
		return pod{}, refuse(http.StatusMethodNotAllowed, "%s is not served; this leads identity-sidecars to the control plane (CONNECT %s)", r.Method, p.cfg.Target)
	}
	if !strings.EqualFold(r.Host, p.cfg.Target) {
		return pod{}, refuse(http.StatusForbidden, "%q is not where this leads; that is %s only", r.Host, p.cfg.Target)
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Proxy-Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return pod{}, refuse(http.StatusProxyAuthRequired, "Proxy-Authorization with a token of the pod's service account is missing")
	}
	return p.review(ctx, token)
}

// refuse says no, with the reason where clients of proxies can read it.
func (p *Proxy) refuse(w http.ResponseWriter, r *http.Request, err error) {
	no, ok := errors.AsType[*refusal](err)
	if !ok {
		no = refuse(http.StatusServiceUnavailable, "who asks could not be found out: %v", err)
	}
	p.cfg.Log.Warn("not let through", "from", r.RemoteAddr, "status", no.status, "reason", no.reason)
	reason := strings.Map(func(c rune) rune { // it may quote what was sent
		if c < ' ' || c > '~' {
			return '?'
		}
		return c
	}, no.reason)
	w.Header().Set(httptunnel.ReasonHeader, reason)
	if no.status == http.StatusProxyAuthRequired {
		w.Header().Set("Proxy-Authenticate", "Bearer")
	}
	http.Error(w, reason, no.status)
}
