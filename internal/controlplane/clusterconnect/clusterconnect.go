// Package clusterconnect serves the Kubernetes API of connected clusters on the control plane's own address: each request is
// authenticated, checked against the caller's roles, and passed through the cluster's relay to its API server, which knows the
// caller by object id. Both directions stream; upgrades (exec, port-forward) pass.
package clusterconnect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/hybridkubernetes"
	"fairlead.dev/fairlead/internal/controlplane/relay"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/link"
)

// PathPrefix is what a Handler is mounted on.
const PathPrefix = hybridkubernetes.ConnectPath + "/"

// recheck is how often the right of a request that goes on is looked at again.
const recheck = 20 * time.Second

// Config is what New needs. All fields but Log and Recheck are required.
type Config struct {
	Authenticate func(*http.Request) (resource.Principal, error)
	// Authorize is the role check of an action on the key of a cluster; a refusal is an *arm.Error with status 403.
	Authorize func(ctx context.Context, p resource.Principal, action, scope string) error
	// Exists errs with store.ErrNotFound for a cluster that is not registered.
	Exists func(ctx context.Context, cluster string) error
	// Open reaches the API server through a relay of the cluster; see relay.Hub.Open.
	Open func(ctx context.Context, cluster string, t link.Target) (net.Conn, error)
	// Recheck is how often long requests are authorized anew; 0 means 20 s.
	Recheck time.Duration
	Log     *slog.Logger
}

// Handler serves PathPrefix.
type Handler struct {
	cfg     Config
	buffers link.Buffers
}

// New makes a Handler.
func New(cfg Config) *Handler {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Recheck == 0 {
		cfg.Recheck = recheck
	}
	return &Handler{cfg: cfg}
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	call, err := h.admit(r)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	go h.guard(ctx, cancel, call)
	h.proxy(call).ServeHTTP(w, r.WithContext(ctx))
}

// call is one admitted request.
type call struct {
	cluster   arm.ID
	principal resource.Principal
	target    link.Target
	// path is below the API server's root, escaped.
	path string
}

func (h *Handler) admit(r *http.Request) (*call, error) {
	id, path, err := split(r.URL.EscapedPath())
	if err != nil {
		return nil, err
	}
	p, err := h.cfg.Authenticate(r)
	if err != nil {
		return nil, err
	}
	for name := range r.Header {
		if strings.HasPrefix(strings.ToLower(name), "impersonate-") {
			return nil, arm.Errorf(http.StatusForbidden, "Forbidden", "the header %s is not allowed: the cluster is used as the caller, and nobody else (leave out --as and --as-group)", name)
		}
	}
	if err := h.cfg.Authorize(r.Context(), p, action(id, useVerb), id.Key()); err != nil {
		return nil, err
	}
	if err := h.cfg.Exists(r.Context(), id.Key()); err != nil {
		return nil, err
	}
	c := &call{cluster: id, principal: p, path: path, target: link.Target{Kind: link.KindKube, User: strings.ToLower(p.ID), UserKind: p.Kind}}
	if c.target.Groups, err = h.groups(r.Context(), p, id); err != nil {
		return nil, err
	}
	if err := c.target.Validate(); err != nil {
		return nil, arm.Errorf(http.StatusForbidden, "Forbidden", "a principal of kind %s cannot use a cluster's Kubernetes API", p.Kind)
	}
	return c, nil
}

// kinds are the types of clusters, as their actions spell them.
var kinds = map[string]string{
	clusterstate.ClusterType: "Microsoft.Kubernetes/connectedClusters", clusterstate.ManagedType: "Microsoft.ContainerService/managedClusters",
}

// action is one on a cluster.
func action(cluster arm.ID, verb string) string {
	return kinds[strings.ToLower(cluster.Type())] + "/" + verb
}

const useVerb = hybridkubernetes.ListClusterUserCredential + "/action"

// levels are the actions on a cluster that put who may do them in a group.
func levels(cluster arm.ID) []struct{ action, group string } {
	return []struct{ action, group string }{
		{"Microsoft.Authorization/roleAssignments/write", link.GroupOwners},
		{action(cluster, "write"), link.GroupContributors},
		{action(cluster, "read"), link.GroupReaders},
	}
}

func (h *Handler) groups(ctx context.Context, p resource.Principal, cluster arm.ID) ([]string, error) {
	var out []string
	for _, l := range levels(cluster) {
		err := h.cfg.Authorize(ctx, p, l.action, cluster.Key())
		if refused, ok := errors.AsType[*arm.Error](err); ok && refused.Status == http.StatusForbidden {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, l.group)
	}
	return out, nil
}

// split takes /kube/v1/<resource id of a connected cluster>/<path> apart.
func split(escaped string) (arm.ID, string, error) {
	rest := strings.TrimPrefix(escaped, hybridkubernetes.ConnectPath)
	parts := strings.SplitN(rest, "/", 10) // "", 8 segments, the path
	if len(parts) < 9 {
		return arm.ID{}, "", notFound("the address must be %s/subscriptions/<id>/resourceGroups/<name>/providers/Microsoft.Kubernetes/connectedClusters/<name>", hybridkubernetes.ConnectPath)
	}
	text, err := url.PathUnescape(strings.Join(parts[:9], "/"))
	if err != nil {
		return arm.ID{}, "", notFound("the address is not a path: %v", err)
	}
	id, err := arm.ParseID(text)
	if err != nil {
		return arm.ID{}, "", notFound("%v", err)
	}
	if !clusterstate.IsCluster(id.Type()) || id.ResourceGroup == "" {
		return arm.ID{}, "", notFound("%q is not the id of a connected or managed cluster", text)
	}
	path := "/"
	if len(parts) == 10 {
		path += parts[9]
	}
	return id, path, nil
}

func notFound(format string, args ...any) error {
	return arm.Errorf(http.StatusNotFound, "NotFound", format, args...)
}

// guard ends a request that goes on after its caller lost the right to it.
func (h *Handler) guard(ctx context.Context, cancel context.CancelFunc, c *call) {
	tick := time.NewTicker(h.cfg.Recheck)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if h.lost(ctx, c) {
			cancel()
		}
	}
}

// lost reports whether a call's caller has fewer rights than when it began. An error of the store is no such news.
func (h *Handler) lost(ctx context.Context, c *call) bool {
	err := h.cfg.Authorize(ctx, c.principal, action(c.cluster, useVerb), c.cluster.Key())
	if refused, ok := errors.AsType[*arm.Error](err); ok && refused.Status == http.StatusForbidden {
		return true
	}
	now, err := h.groups(ctx, c.principal, c.cluster)
	return err == nil && slices.ContainsFunc(c.target.Groups, func(g string) bool { return !slices.Contains(now, g) })
}

// proxy passes one request on. It has a transport and a stream of its own, so that no connection of one caller can ever be
// taken for another's.
func (h *Handler) proxy(c *call) http.Handler {
	transport := &http.Transport{
		DisableKeepAlives: true, DisableCompression: true, ReadBufferSize: link.BufferSize, WriteBufferSize: link.BufferSize,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return h.cfg.Open(ctx, c.cluster.Key(), c.target)
		},
	}
	return &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, BufferPool: &h.buffers, ErrorLog: slog.NewLogLogger(h.cfg.Log.Handler(), slog.LevelDebug),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = "http", "cluster", ""
			p.Out.URL.RawPath = c.path
			p.Out.URL.Path, _ = url.PathUnescape(c.path) // split took it from a path that parsed
			p.Out.Header.Del("Authorization")            // the caller's token is for the control plane only
			p.Out.Header.Del("Cookie")
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				panic(http.ErrAbortHandler) // a plain return would be an empty 200
			}
			h.fail(w, r, h.explain(c, err))
		},
	}
}

// explain says what a person can do about a cluster that is not reached.
func (h *Handler) explain(c *call, err error) error {
	var refused *link.RefusedError
	switch {
	case errors.Is(err, relay.ErrNotConnected):
		return &arm.Error{Status: http.StatusServiceUnavailable, Code: "ClusterNotConnected", Cause: err, Message: fmt.Sprintf(
			"cluster %s is not connected to the control plane; 'fairlead connectedk8s show' says since when, and on the cluster the pod in namespace azure-arc why", c.cluster.Name())}
	case errors.As(err, &refused):
		return &arm.Error{Status: http.StatusBadGateway, Code: "ClusterRefused", Message: refused.Error(), Cause: err}
	}
	return &arm.Error{Status: http.StatusBadGateway, Code: "ClusterUnreachable", Cause: err, Message: fmt.Sprintf("the connection through the relay of cluster %s broke: %v", c.cluster.Name(), err)}
}
