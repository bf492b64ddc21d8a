// Package server is the HTTP layer of the control plane. Routes of the resource manager are not registered one by one: a path
// is parsed into a target (a resource, a collection, an action, an operation) and what may be done with it follows from the
// type's entry in the registry. Handlers return an error; one function puts it on the wire.
package server

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/authz"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/types"
)

// Limits of a resource manager request.
const (
	maxBody        = 4 << 20 // bytes
	maxPath        = 4096    // bytes
	requestTimeout = time.Minute
	// pollSeconds is how often a client is asked to look at an operation.
	pollSeconds = "1"
)

// VerifyFunc tells who a bearer token speaks for. Its error wraps issuer.ErrExpired or issuer.ErrInvalid.
type VerifyFunc func(ctx context.Context, token string) (resource.Principal, error)

// Config is what the server is made of. Engine, Authorizer, Verify, PublicURL and TenantID are required.
type Config struct {
	Engine     *engine.Engine
	Authorizer *authz.Authorizer
	Verify     VerifyFunc
	// PublicURL is the address that other parties use, without trailing slash.
	PublicURL string
	// StorageSuffix is what clients are told that storage accounts are hosts below; "" is PublicURL's host.
	StorageSuffix string
	TenantID      string
	// Locations are the locations offered, the default first; nil means "local".
	Locations []string
	// Mounts are handlers by path prefix (ending in a slash) or path, such as "/blob/". They authenticate by themselves.
	Mounts map[string]http.Handler
	// Logs reads what is kept of clusters' logs; nil means that none are.
	Logs Logs
	// Public registers routes that need no token, such as the issuer's.
	Public func(mux *http.ServeMux)
	// Ready reports why the server can't serve; nil means always ready.
	Ready func(ctx context.Context) error
	// Stop ends answers that would go on for ever; nil means never.
	Stop context.Context
	Log  *slog.Logger
	Now  func() time.Time
}

// server holds what handlers need.
type server struct {
	cfg  Config
	base *url.URL
	log  *slog.Logger
}

// handlerFunc answers a request or returns why it can't.
type handlerFunc func(w http.ResponseWriter, r *http.Request) error

// New makes the handler of the control plane's one address.
func New(cfg Config) (http.Handler, error) {
	base, err := url.Parse(cfg.PublicURL)
	if err != nil || base.Host == "" {
		return nil, errors.New("server: PublicURL must be http[s]://host[:port]")
	}
	if cfg.StorageSuffix == "" {
		cfg.StorageSuffix = base.Host
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Stop == nil {
		cfg.Stop = context.Background()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if len(cfg.Locations) == 0 {
		cfg.Locations = []string{"local"}
	}
	cfg.PublicURL = strings.TrimSuffix(cfg.PublicURL, "/")
	s := &server{cfg: cfg, base: base, log: cfg.Log}
	return s.withRequestID(s.withAccessLog(s.withRecover(s.routes()))), nil
}

// routes tells the subsystems apart. Public routes begin with a wildcard, so they live in a mux of their own, behind the fixed ones.
func (s *server) routes() http.Handler {
	armHandler := chain(s.handle(s.serveARM), s.withTimeout, s.withBodyLimit, s.withPrincipal)
	public := http.NewServeMux()
	if s.cfg.Public != nil {
		s.cfg.Public(public)
	}
	fixed := http.NewServeMux()
	fixed.HandleFunc("/healthz", s.handle(s.serveHealth).ServeHTTP)
	fixed.HandleFunc("/readyz", s.handle(s.serveReady).ServeHTTP)
	fixed.HandleFunc("/metadata/endpoints", s.handle(s.serveMetadata).ServeHTTP)
	for prefix, h := range s.cfg.Mounts {
		fixed.Handle(prefix, h)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		for _, prefix := range dataPlanes {
			if strings.HasPrefix(r.URL.Path, prefix+"/subscriptions/") {
				r = fromDataPlane(r, prefix)
			}
		}
		if isARM(r.URL.Path) {
			armHandler.ServeHTTP(w, r)
			return
		}
		if _, pattern := fixed.Handler(r); pattern != "" {
			fixed.ServeHTTP(w, r)
			return
		}
		if _, pattern := public.Handler(r); pattern != "" {
			public.ServeHTTP(w, r)
			return
		}
		s.handle(s.serveUnknown).ServeHTTP(w, r)
	})
}

// dataPlanes begin the data plane's addresses of resources: of batch endpoints, and of whatever azureml-core reads at the "api" of a
// workspace's discovery document.
var dataPlanes = []string{types.BatchPrefix, "/rp/workspaces"}

// fromDataPlane is a request to the data plane's address of a resource as one to the resource manager, which answers both. Clients
// send some without api-version, to an address that they were told.
func fromDataPlane(r *http.Request, prefix string) *http.Request {
	u := *r.URL
	u.Path, u.RawPath = strings.TrimPrefix(u.Path, prefix), strings.TrimPrefix(u.RawPath, prefix)
	if q, err := readQuery(u.RawQuery); err == nil && q["api-version"] == "" {
		values := u.Query()
		values.Set("api-version", machinelearning.APIVersion)
		u.RawQuery = values.Encode()
	}
	out := *r
	out.URL = &u
	return &out
}

// isARM reports whether a path belongs to the resource manager, whose paths are in any case.
func isARM(path string) bool {
	first, _, _ := strings.Cut(strings.TrimLeft(path, "/"), "/")
	switch strings.ToLower(first) {
	case "subscriptions", "tenants", "providers":
		return true
	}
	return false
}

func (s *server) serveHealth(w http.ResponseWriter, r *http.Request) error {
	if err := allow(r, http.MethodGet, http.MethodHead); err != nil {
		return err
	}
	return s.json(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (s *server) serveReady(w http.ResponseWriter, r *http.Request) error {
	if err := allow(r, http.MethodGet, http.MethodHead); err != nil {
		return err
	}
	if s.cfg.Ready != nil {
		if err := s.cfg.Ready(r.Context()); err != nil {
			s.log.WarnContext(r.Context(), "not ready", "error", err)
			return s.json(w, http.StatusServiceUnavailable, map[string]string{"status": "not ready"})
		}
	}
	return s.json(w, http.StatusOK, map[string]string{"status": "ready"})
}

// handle turns a handlerFunc into a handler with the one mapping of errors.
func (s *server) handle(h handlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.sendError(w, r, err)
		}
	})
}

// chain wraps h so that the first middleware runs first.
func chain(h http.Handler, mw ...func(http.Handler) http.Handler) http.Handler {
	for i := len(mw) - 1; i >= 0; i-- {
		h = mw[i](h)
	}
	return h
}
