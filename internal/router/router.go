// Package router is azureml-fe, the inference router: it takes scoring requests for the cluster's endpoints and hands them to the pods
// of deployments. What it needs to know it reads from the API server and keeps in memory; while it serves it asks nobody.
//
//	:8080 HTTP, :8443 HTTPS   scoring (front)
//	:9001 inside the cluster  /load for the operator, /lend for other routers (peers), /metrics, /healthz, /readyz
package router

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/api/routerload"
	"fairlead.dev/fairlead/internal/router/front"
	"fairlead.dev/fairlead/internal/router/peers"
	"fairlead.dev/fairlead/internal/router/table"
	"fairlead.dev/fairlead/internal/router/watch"
)

// Router is one running router.
type Router struct {
	cfg      Config
	log      *slog.Logger
	table    atomic.Pointer[table.Table]
	building sync.Mutex
	builder  table.Builder
	objects  table.Objects
	peers    *peers.Peers // nil for a router that is alone
	front    *front.Front
	meter    *front.Meter
	access   *front.AccessLog
	cert     *certificate
	public   []*front.Server
	internal *http.Server
	ready    atomic.Bool
	// Addresses that it listens on, known when New returns; empty where it does not.
	HTTP, HTTPS, Internal string
	listeners             []net.Listener
}

// New makes a router that listens already; Run serves.
func New(cfg Config, log *slog.Logger) (*Router, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	r := &Router{cfg: cfg, log: log, meter: front.NewMeter()}
	r.builder = table.Builder{Log: log}
	r.table.Store(r.builder.Build(table.Objects{}))
	if cfg.AccessLog != nil {
		r.access = front.NewAccessLog(cfg.AccessLog)
	}
	r.front = front.New(front.Config{Table: r.table.Load, MaxBody: cfg.MaxBody, Origins: cfg.Origins, Access: r.access, Meter: r.meter, Log: log})
	r.meter.Registry.MustRegister(loads{r})
	if cfg.Self != "" {
		r.peers = peers.New(cfg.Self, r.rebuild)
		r.builder.Share = r.peers
	}
	if err := r.listen(); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *Router) listen() error {
	var err error
	if r.cfg.HTTPAddr != "" {
		if r.HTTP, err = r.serveOn(r.cfg.HTTPAddr, publicServer(r.front, nil, r.cfg.HeaderTimeout)); err != nil {
			return err
		}
	}
	if r.cfg.HTTPSAddr != "" {
		if r.cert, err = loadCertificate(r.cfg.TLSDir, r.log); err != nil {
			return err
		}
		if r.HTTPS, err = r.serveOn(r.cfg.HTTPSAddr, publicServer(r.front, r.cert, r.cfg.HeaderTimeout)); err != nil {
			return err
		}
	}
	r.internal = &http.Server{Handler: r.inside(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, Protocols: new(http.Protocols), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 10000}}
	r.internal.Protocols.SetHTTP1(true)
	r.internal.Protocols.SetUnencryptedHTTP2(true)
	listener := r.cfg.internal
	if listener == nil {
		if listener, err = net.Listen("tcp", r.cfg.InternalAddr); err != nil {
			return fmt.Errorf("listening on %s: %w", r.cfg.InternalAddr, err)
		}
	}
	r.Internal, r.listeners = listener.Addr().String(), append(r.listeners, listener)
	return nil
}

func (r *Router) serveOn(addr string, s *http.Server) (string, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("listening on %s: %w", addr, err)
	}
	s.ErrorLog = slog.NewLogLogger(r.log.Handler(), slog.LevelDebug)
	r.public, r.listeners = append(r.public, front.NewServer(r.front, listener, s, r.cfg.NetHTTP)), append(r.listeners, listener)
	return listener.Addr().String(), nil
}

func (r *Router) close() {
	for _, l := range r.listeners {
		_ = l.Close()
	}
}

// Follow makes the route table of what is in the cluster.
func (r *Router) Follow(o table.Objects) {
	r.building.Lock()
	r.objects = o
	r.building.Unlock()
	if r.peers != nil {
		serving, ending := routersIn(o.Slices, r.cfg.Namespace)
		r.peers.Set(serving, ending...)
	}
	r.rebuild()
	r.ready.Store(true)
}

// rebuild makes the table again, of the same objects, when the routers that live have changed.
func (r *Router) rebuild() {
	r.building.Lock()
	defer r.building.Unlock()
	next := r.builder.Build(r.objects)
	r.meter.Follow(r.table.Swap(next), next)
}

// routersIn are the internal addresses of the routers that are ready, and of those that are not, or no longer.
func routersIn(all []*discoveryv1.EndpointSlice, namespace string) (ready, others []string) {
	for _, s := range all {
		if s.Namespace != namespace || s.Labels[discoveryv1.LabelServiceName] != v1alpha1.RouterService {
			continue
		}
		for _, e := range s.Endpoints {
			if len(e.Addresses) == 0 {
				continue
			}
			addr := net.JoinHostPort(e.Addresses[0], itoa(routerload.Port))
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				ready = append(ready, addr)
			} else {
				others = append(others, addr)
			}
		}
	}
	return ready, others
}

// Run serves until ctx ends, then lets what is in flight finish, for at most Config.Drain. With kube it follows that cluster.
func (r *Router) Run(ctx context.Context, kube *rest.Config) error {
	// What serves ends after ctx, in an orderly way.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, serving := errgroup.WithContext(serving)
	if kube != nil {
		group.Go(func() error { return ignoreEnd(watch.Run(serving, kube, r.Follow)) })
	}
	if r.peers != nil {
		group.Go(func() error { return ignoreEnd(r.peers.Run(serving)) })
	}
	if r.cert != nil {
		group.Go(func() error { return ignoreEnd(r.cert.follow(serving)) })
	}
	if r.access != nil {
		group.Go(func() error { r.access.Run(serving); return nil })
	}
	for _, s := range r.public {
		group.Go(s.Serve)
	}
	group.Go(func() error { return ignoreClosed(r.internal.Serve(r.listeners[len(r.listeners)-1])) })
	r.log.Info("serving", "http", r.HTTP, "https", r.HTTPS, "internal", r.Internal)
	select {
	case <-ctx.Done():
	case <-serving.Done():
	}
	r.drain(serving)
	stop()
	return group.Wait()
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func ignoreEnd(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// drain takes requests on until load balancers have learned that they should not send any, then only finishes what it has.
func (r *Router) drain(ctx context.Context) {
	r.ready.Store(false)
	r.front.Drain()
	r.log.Info("draining", "grace", r.cfg.Grace, "atMost", r.cfg.Drain)
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Drain)
	defer cancel()
	select {
	case <-ctx.Done():
	case <-time.After(r.cfg.Grace):
	}
	var group errgroup.Group
	for _, s := range r.public {
		group.Go(func() error { return s.Shutdown(ctx) })
	}
	if err := errors.Join(group.Wait(), r.front.Wait(ctx)); err != nil {
		r.log.Warn("requests were cut off", "error", err)
	}
	for _, s := range r.public {
		_ = s.Close()
	}
	_ = r.internal.Close()
}
