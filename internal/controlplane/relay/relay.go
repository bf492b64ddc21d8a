// Package relay keeps the WebSockets that clusters open and reaches targets in the clusters through them. It is for live
// things only: what it carries may end at any time.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/link"
)

// ErrNotConnected: no relay of the cluster is connected now; the caller does without or tries later.
var ErrNotConnected = errors.New("cluster not connected")

// openTimeout bounds the opening of one stream.
const openTimeout = 15 * time.Second

// maxSessions bounds the relays of one cluster and kind; the oldest goes when one more comes.
const maxSessions = 8

// Config is what New needs; Log may be nil.
type Config struct {
	Authenticate func(*http.Request) (resource.Principal, error)
	// Incarnation is the Seq of a cluster's record now; an error, such as store.ErrNotFound, refuses its relays.
	Incarnation func(ctx context.Context, cluster string) (int64, error)
	Log         *slog.Logger
}

// Hub holds the sessions of all clusters. It is safe for concurrent use.
type Hub struct {
	cfg Config

	mu       sync.Mutex
	sessions map[incarnation][]*link.RelaySession // oldest first
	closed   bool
}

// incarnation is one cluster's relays of one kind: a cluster that is made later under the same name has another seq.
type incarnation struct {
	cluster string // Key
	seq     int64
	kind    string // of targets, by who opened the relay
}

// kindOf says which targets the relays of a principal serve; "" none. A component of an extension never sees what goes to the
// API server.
func kindOf(principal string) string {
	switch principal {
	case "Extension":
		return link.KindRun
	case "Agent":
		return link.KindKube
	}
	return ""
}

// servedAs is the kind of relay that serves a kind of target: those of an extension serve three.
func servedAs(target string) string {
	if target == link.KindLog || target == link.KindFollow {
		return link.KindRun
	}
	return target
}

// New makes a Hub.
func New(cfg Config) *Hub {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Hub{cfg: cfg, sessions: make(map[incarnation][]*link.RelaySession)}
}

// Handler serves link.RelayPath.
func (h *Hub) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := h.cfg.Authenticate(r)
		if err != nil {
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, http.StatusUnauthorized, "InvalidAuthenticationToken", err.Error())
			return
		}
		if kindOf(p.Kind) == "" || p.Scope == "" {
			refuse(w, http.StatusForbidden, "AuthorizationFailed", fmt.Sprintf("The relay is for a cluster's agent and extension; the token is of kind %q.", p.Kind))
			return
		}
		if seq, err := h.cfg.Incarnation(r.Context(), p.Scope); err != nil || seq != p.ScopeSeq {
			if err != nil && r.Context().Err() == nil {
				h.cfg.Log.Info("a relay was not accepted", "cluster", p.Scope, "err", err)
			}
			w.Header().Set("WWW-Authenticate", "Bearer")
			refuse(w, http.StatusUnauthorized, "InvalidAuthenticationToken", fmt.Sprintf("The token was not issued for the cluster that has the id %q now; ask for a new token.", p.Scope))
			return
		}
		s, err := link.AcceptRelay(w, r, h.cfg.Log)
		if err != nil {
			h.cfg.Log.Info("a relay was not accepted", "cluster", p.Scope, "err", err)
			return
		}
		h.serve(r.Context(), p, s)
	})
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	http.Error(w, arm.Errorf(status, code, "%s", message).Error(), status)
}

// serve holds a session until it or its token ends; the request's context ends with its connection's server.
func (h *Hub) serve(ctx context.Context, p resource.Principal, s *link.RelaySession) {
	defer s.Close()
	if !p.Expires.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, p.Expires)
		defer cancel()
	}
	in := incarnation{p.Scope, p.ScopeSeq, kindOf(p.Kind)}
	if !h.add(in, s) {
		return
	}
	defer h.remove(in, s)
	h.cfg.Log.Info("relay connected", "cluster", in.cluster, "kind", in.kind)
	select {
	case <-s.Done():
	case <-ctx.Done():
	}
	h.cfg.Log.Info("relay disconnected", "cluster", in.cluster, "kind", in.kind)
}

func (h *Hub) add(in incarnation, s *link.RelaySession) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	all := append(h.sessions[in], s)
	if len(all) > maxSessions {
		go all[0].Close() // its serve removes it; closing waits for nothing but may write
	}
	h.sessions[in] = all
	return true
}

func (h *Hub) remove(in incarnation, s *link.RelaySession) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var rest []*link.RelaySession
	for _, o := range h.sessions[in] {
		if o != s {
			rest = append(rest, o)
		}
	}
	if h.sessions[in] = rest; len(rest) == 0 {
		delete(h.sessions, in)
	}
}

// Count is how many relays of a cluster are connected to this server.
func (h *Hub) Count(cluster string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for in, all := range h.sessions {
		if in.cluster == cluster {
			n += len(all)
		}
	}
	return n
}

// Close ends every session and accepts no more.
func (h *Hub) Close() error {
	h.mu.Lock()
	var all []*link.RelaySession
	for _, ss := range h.sessions {
		all = append(all, ss...)
	}
	h.closed = true
	h.mu.Unlock()
	for _, s := range all {
		s.Close()
	}
	return nil
}

// Open reaches a target in a cluster through any of its live relays; ctx bounds the opening only, at most 15 s. It errs
// with ErrNotConnected when there is none, and with *link.RefusedError when the cluster says no.
func (h *Hub) Open(ctx context.Context, cluster string, t link.Target) (net.Conn, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	seq, err := h.cfg.Incarnation(ctx, cluster)
	if err != nil {
		return nil, fmt.Errorf("%w: looking for %s: %w", ErrNotConnected, cluster, err)
	}
	h.mu.Lock()
	all := append([]*link.RelaySession(nil), h.sessions[incarnation{cluster, seq, servedAs(t.Kind)}]...)
	h.mu.Unlock()
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	var errs []error
	for _, s := range all {
		c, err := s.Open(ctx, t)
		if err == nil {
			return c, nil
		}
		var no *link.RefusedError
		if errors.As(err, &no) || ctx.Err() != nil {
			return nil, fmt.Errorf("reaching %s: %w", t, err)
		}
		errs = append(errs, err)
	}
	if len(errs) > 0 {
		return nil, fmt.Errorf("%w: every relay of %s failed: %w", ErrNotConnected, cluster, errors.Join(errs...))
	}
	return nil, fmt.Errorf("%w: %s has no relay for %s to this control plane", ErrNotConnected, cluster, t)
}
