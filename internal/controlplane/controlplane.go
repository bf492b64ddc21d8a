package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"gocloud.dev/blob"
	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/internal/controlplane/authz"
	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/clusterconnect"
	"fairlead.dev/fairlead/internal/controlplane/datastores"
	"fairlead.dev/fairlead/internal/controlplane/deploy"
	"fairlead.dev/fairlead/internal/controlplane/desired"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/history"
	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/logs"
	"fairlead.dev/fairlead/internal/controlplane/pki"
	"fairlead.dev/fairlead/internal/controlplane/reconcile"
	"fairlead.dev/fairlead/internal/controlplane/reconcile/cascade"
	"fairlead.dev/fairlead/internal/controlplane/reconcile/cluster"
	"fairlead.dev/fairlead/internal/controlplane/reconcile/compute"
	"fairlead.dev/fairlead/internal/controlplane/reconcile/deployment"
	"fairlead.dev/fairlead/internal/controlplane/reconcile/discard"
	"fairlead.dev/fairlead/internal/controlplane/reconcile/endpoint"
	"fairlead.dev/fairlead/internal/controlplane/reconcile/extension"
	"fairlead.dev/fairlead/internal/controlplane/reconcile/job"
	"fairlead.dev/fairlead/internal/controlplane/reconcile/managedcluster"
	"fairlead.dev/fairlead/internal/controlplane/relay"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/server"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/postgres"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
	"fairlead.dev/fairlead/internal/controlplane/sync"
	"fairlead.dev/fairlead/internal/controlplane/tracking"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/account"
	"fairlead.dev/fairlead/internal/controlplane/types/dataaddress"
	"fairlead.dev/fairlead/internal/controlplane/types/identity"
	"fairlead.dev/fairlead/internal/link"
)

// shutdownTimeout bounds how long requests under way may take to finish.
const shutdownTimeout = 10 * time.Second

// plane is a wired control plane.
type plane struct {
	cfg     Config
	log     *slog.Logger
	store   store.Store
	bucket  *blob.Bucket
	authz   *authz.Authorizer
	issuer  *issuer.Issuer
	engine  *engine.Engine
	front   *blobs.Front
	relay   *relay.Hub
	logs    *logs.Keeper
	runner  *reconcile.Runner
	certs   *pki.Authority // nil without TLS
	handler http.Handler
	// stop ends when streams must, at the beginning of a shutdown.
	stop context.Context
}

// Run serves until ctx ends, then finishes what is under way and returns nil.
func Run(ctx context.Context, cfg Config) (err error) {
	if err := cfg.Validate(); err != nil {
		return err
	}
	p := &plane{cfg: cfg, log: cfg.logger(), stop: ctx}
	if err := p.open(ctx); err != nil {
		return errors.Join(err, p.close())
	}
	defer func() { err = errors.Join(err, p.close()) }()
	listeners, err := p.listen()
	if err != nil {
		return err
	}
	return p.serve(ctx, listeners)
}

// open makes all parts, from the ground up.
func (p *plane) open(ctx context.Context) error {
	if err := os.MkdirAll(p.cfg.DataDir, 0o700); err != nil {
		return fmt.Errorf("making data folder: %w", err)
	}
	var err error
	if p.store, err = openStore(ctx, p.cfg, sqlite.Open, postgres.Open); err != nil {
		return err
	}
	if p.bucket, err = blobs.Open(ctx, p.cfg.Blobs); err != nil {
		return err
	}
	admin := Admin{Endpoint: p.cfg.PublicURL}
	ca := ""
	if !p.cfg.NoTLS {
		p.certs, err = pki.Open(pki.Config{Dir: filepath.Join(p.cfg.DataDir, "tls"), Hosts: append(pki.Hosts(p.cfg.Listen, p.cfg.PublicURL), account.WildcardHost(p.cfg.StorageSuffix)), CertFile: p.cfg.TLSCert, KeyFile: p.cfg.TLSKey})
		if err != nil {
			return fmt.Errorf("preparing TLS: %w", err)
		}
		if admin.CAFile = p.certs.CAFile(); admin.CAFile != "" {
			pem, err := os.ReadFile(admin.CAFile)
			if err != nil {
				return fmt.Errorf("reading certificate authority: %w", err)
			}
			ca = string(pem)
		}
	}
	tenantID, made, err := bootstrap(ctx, p.store, p.cfg.DataDir, admin, time.Now())
	if err != nil {
		return err
	}
	if made {
		p.log.Info("first start: the administrator's credentials are in a file", "path", filepath.Join(p.cfg.DataDir, AdminFile))
	}
	return p.wire(ctx, tenantID, ca)
}

// opens is how a store is opened by where it is.
type opens func(ctx context.Context, where string) (store.Store, error)

func openStore(ctx context.Context, cfg Config, file, database opens) (store.Store, error) {
	kind, where, err := cfg.storeTarget()
	if err != nil {
		return nil, err
	}
	if kind == "postgres" {
		st, err := database(ctx, where)
		if err != nil {
			return nil, fmt.Errorf("opening PostgreSQL: %w", err)
		}
		return st, nil
	}
	st, err := file(ctx, where)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", where, err)
	}
	return st, nil
}

// wire connects the parts: registry and engine, issuer and role check, blob front, link, history, reconcilers, server.
func (p *plane) wire(ctx context.Context, tenantID, ca string) error {
	p.authz = authz.New(p.store)
	keys, err := loadKeys(p.cfg.DataDir)
	if err != nil {
		return err
	}
	people, err := openSignIn(p.cfg, tenantID, p.store, keys.box, p.log)
	if err != nil {
		return err
	}
	p.issuer, err = issuer.New(ctx, issuer.Config{Keys: issuer.KeyStore{Store: p.store, Box: keys.box}, FormerKeys: filepath.Join(p.cfg.DataDir, "token-keys"), KeyAge: p.cfg.SigningKeyAge, PublicURL: p.cfg.PublicURL, TenantID: tenantID, Store: p.store, Agents: agentKeys(p.store), Identities: identity.Tokens{Store: p.store}, People: people, Log: p.log})
	if err != nil {
		return fmt.Errorf("preparing token issuer: %w", err)
	}
	authenticate := func(r *http.Request) (resource.Principal, error) { return server.Authenticate(p.issuer.Verify, r) }
	may := blobs.NewAuthorizer(p.store, p.authz.Check, nil)
	bucket := blobs.Config{Bucket: p.bucket, PublicURL: p.cfg.PublicURL, StorageSuffix: p.cfg.StorageSuffix, TenantID: tenantID, SASKey: keys.sas, Verify: authenticate, Authorize: may.Authorize, Clock: time.Now, Log: p.log}
	if shared, ok := p.store.(store.Locker); ok {
		bucket.Lock = shared.Lock
	}
	p.front = blobs.New(bucket)
	elsewhere := datastores.New(datastores.Config{Store: p.store, Authenticate: authenticate, Authorize: may.AuthorizeDatastore, Open: keys.open, Clock: time.Now, Log: p.log})
	p.relay = relay.New(relay.Config{Authenticate: authenticate, Incarnation: p.incarnation, Log: p.log})
	deps := types.Deps{Store: p.store, Clock: time.Now, PublicURL: p.cfg.PublicURL, StorageSuffix: p.cfg.StorageSuffix, TenantID: tenantID, CA: ca, Blobs: p.front,
		Seal: keys.seal, Open: keys.open, Desired: desired.New(keys.box), IssueRunToken: p.runToken, Authorize: p.authz.Check,
		IssueFetchToken: p.fetchToken, IssueIdentityToken: p.identityToken, IssueEndpointToken: p.endpointToken, TokenKeys: p.tokenKeys, OpenRelay: p.relay.Open, Relays: p.relay.Count, Installer: p.cfg.Installer}
	deployer := deploy.New(deploy.Config{Store: p.store, Clock: time.Now, Seal: keys.seal, Open: keys.open, Authorize: p.authz.Check, PublicURL: p.cfg.PublicURL, StorageSuffix: p.cfg.StorageSuffix, TenantID: tenantID})
	p.engine = &engine.Engine{Store: p.store, Registry: resource.NewRegistry(append(types.All(deps), p.authz.Type(), deployer.Type())...), Committed: p.committed}
	deployer.Engine = p.engine
	hist := history.New(history.Config{Store: p.store, Desired: deps.Desired, Blobs: p.front, Open: p.relay.Open, Authenticate: authenticate, Authorize: p.authz.Check, PublicURL: p.cfg.PublicURL, Clock: time.Now, Log: p.log})
	tracks := tracking.New(tracking.Config{Engine: p.engine, Blobs: p.front, Authenticate: authenticate, Authorize: p.authz.Check, Run: may.RunOf, Clock: time.Now, Log: p.log})
	p.runner = reconcile.NewRunner(p.store, p.log, cascade.New(p.engine), cluster.New(deps), managedcluster.New(deps), extension.New(deps), compute.New(deps), job.New(deps, p.front), endpoint.New(deps), deployment.New(deps), deployer, discard.New(p.store, p.front, time.Now))
	p.logs = logs.New(logs.Config{Store: p.store, Blobs: p.front, Log: p.log})
	maps := p.stream(sync.New(sync.Config{Store: p.store, Desired: deps.Desired, Authenticate: authenticate, Logs: p.takeLogs, Folder: deps.ClaimFolder, Log: p.log}))
	main, err := server.New(server.Config{
		Engine: p.engine, Authorizer: p.authz, Verify: p.issuer.Verify, PublicURL: p.cfg.PublicURL, StorageSuffix: p.cfg.StorageSuffix, TenantID: tenantID, Locations: p.cfg.Locations, Log: p.log,
		Logs: p.logs, Stop: p.stop, Public: func(mux *http.ServeMux) {
			p.issuer.Register(mux)
			people.Register(mux, p.issuer)
		},
		Ready: func(ctx context.Context) error { _, err := p.store.LastChange(ctx); return err },
		Mounts: map[string]http.Handler{
			blobs.PathPrefix: p.front.Handler(), dataaddress.Prefix: elsewhere, link.DesiredPath: maps, link.ObservedPath: maps, link.MetricsPath: maps, link.LogsPath: maps, link.FolderPath: maps, link.RelayPath: p.stream(p.relay.Handler()),
			clusterconnect.PathPrefix: p.stream(p.connect(authenticate)),
			tracking.PathPrefix:       tracks.Handler(),
			history.HistoryPrefix:     p.stream(hist.Handler()), history.DiscoveryPrefix: hist.Handler(), history.DataPrefix: hist.Handler(),
		},
	})
	p.handler = blobs.ByHost(p.cfg.StorageSuffix, main)
	return err
}

// takeLogs keeps lines of the cluster that a token was issued for.
func (p *plane) takeLogs(ctx context.Context, cluster string, seq int64, chunks []link.LogChunk) ([]link.LogCursor, error) {
	return p.logs.Take(ctx, logs.Owner(cluster, seq), chunks)
}

// connect serves the Kubernetes API of connected clusters.
func (p *plane) connect(authenticate func(*http.Request) (resource.Principal, error)) http.Handler {
	return clusterconnect.New(clusterconnect.Config{
		Authenticate: authenticate, Authorize: p.authz.Check, Open: p.relay.Open, Log: p.log,
		Exists: func(ctx context.Context, cluster string) error { _, err := p.incarnation(ctx, cluster); return err },
	})
}

// committed makes role assignments count at once on this replica.
func (p *plane) committed(fullType string) {
	if fullType == authz.TypeAssignment {
		p.authz.Invalidate()
	}
}

// stream ends a handler's requests when the server stops: they would not end by themselves.
func (p *plane) stream(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(p.stop, cancel)()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}

func (p *plane) listen() ([]net.Listener, error) {
	var out []net.Listener
	for _, addr := range p.cfg.Listen {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			for _, open := range out {
				open.Close()
			}
			return nil, fmt.Errorf("listening on %s: %w", addr, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// serve runs listeners and background work. When ctx ends, requests finish first, then reconcilers.
func (p *plane) serve(ctx context.Context, listeners []net.Listener) error {
	srv := &http.Server{Handler: p.handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug)}
	if p.certs != nil {
		srv.TLSConfig = p.certs.TLSConfig()
	}
	background, stopBackground := context.WithCancel(context.WithoutCancel(ctx))
	defer stopBackground()
	var work errgroup.Group
	for _, run := range []func(context.Context) error{p.authz.Run, p.issuer.Run, p.runner.Run, p.front.Run, p.logs.Run, trimMemory} {
		work.Go(func() error { return run(background) })
	}
	g, failed := errgroup.WithContext(ctx)
	var addrs []net.Addr
	for _, l := range listeners {
		addrs = append(addrs, l.Addr())
		g.Go(func() error {
			err := p.serveOn(srv, l)
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return fmt.Errorf("serving on %s: %w", l.Addr(), err)
		})
		p.log.Info("listening", "address", l.Addr().String(), "publicUrl", p.cfg.PublicURL)
	}
	if p.cfg.listening != nil {
		p.cfg.listening(addrs)
	}
	g.Go(func() error {
		<-failed.Done()
		p.log.Info("shutting down")
		quiet, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
		defer cancel()
		err := p.relay.Close()
		if srv.Shutdown(quiet) != nil {
			p.log.Warn("requests were cut off", "after", shutdownTimeout)
			return errors.Join(err, srv.Close())
		}
		return err
	})
	err := g.Wait()
	stopBackground()
	return errors.Join(err, work.Wait())
}

func (p *plane) serveOn(srv *http.Server, l net.Listener) error {
	if p.certs == nil {
		return srv.Serve(l)
	}
	return srv.ServeTLS(l, "", "")
}

func (p *plane) close() error {
	var errs []error
	if p.bucket != nil {
		errs = append(errs, p.bucket.Close())
	}
	if p.store != nil {
		errs = append(errs, p.store.Close())
	}
	return errors.Join(errs...)
}
