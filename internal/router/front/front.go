// Package front takes scoring requests over HTTP: it finds the endpoint, checks the caller, chooses a deployment, waits for a pod and
// hands the request on.
//
//	caller ──▶ limits, ids ──▶ endpoint ──▶ key or token ──▶ split or header ──▶ line ──▶ pod
//	                                                           └── a copy, unseen ──▶ line ──▶ pod
package front

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/router/table"
)

// Headers of the reference.
const (
	HeaderRequestID       = "X-Request-Id"
	HeaderClientRequestID = "X-Ms-Client-Request-Id"
	HeaderDeployment      = "Azureml-Model-Deployment"
	headerModelStatus     = "Ms-Azureml-Model-Error-Statuscode"
	headerModelReason     = "Ms-Azureml-Model-Error-Reason"
	// HeaderEndpoint names the endpoint of a gRPC call, whose path is the method's.
	HeaderEndpoint = "Azureml-Model-Endpoint"
)

// DefaultMaxBody is the reference's limit of a request's body.
const DefaultMaxBody = 100 << 20

// Config is what a Front is made of. Zero fields take defaults; without Access there is no access log.
type Config struct {
	Table   func() *table.Table
	MaxBody int64
	// Origins are the web origins that may call from a browser, or "*"; none means no CORS.
	Origins []string
	Access  *AccessLog
	Meter   *Meter
	Log     *slog.Logger
}

// Front is an http.Handler.
type Front struct {
	cfg      Config
	proxy    *proxy
	pods     *pods
	draining atomic.Bool
	inflight sync.WaitGroup
}

// New makes a Front.
func New(cfg Config) *Front {
	if cfg.MaxBody == 0 {
		cfg.MaxBody = DefaultMaxBody
	}
	if cfg.Meter == nil {
		cfg.Meter = NewMeter()
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Front{cfg: cfg, proxy: newProxy(cfg.Log), pods: newPods()}
}

// Drain has callers make their next connections elsewhere.
func (f *Front) Drain() { f.draining.Store(true) }

// Wait returns when no request is being answered, connections that were upgraded included, or when ctx ends.
func (f *Front) Wait(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		f.inflight.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ServeHTTP implements http.Handler.
func (f *Front) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	f.inflight.Add(1)
	defer f.inflight.Done()
	c := &call{}
	c.begin(requestOf(r))
	w := &countingWriter{ResponseWriter: rw, http1: r.ProtoMajor == 1}
	w.push()
	defer func() {
		w.pushAnyway()
		c.status, c.out = w.status, w.n
		f.finish(c)
	}()
	if f.draining.Load() && r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	fault := f.decide(c)
	if s := seatOf(r.Context()); s != nil {
		s.take(f.cfg.Meter, c.endpoint)
		if c.upgrade {
			defer s.leave() // net/http does not say when a connection ends that it gave away
		}
	}
	if fault != nil {
		fault.write(w, c)
		return
	}
	r.Body = &countingBody{ReadCloser: http.MaxBytesReader(rw, r.Body, f.cfg.MaxBody), n: &c.in}
	if r.ContentLength > 0 && r.ContentLength <= maxTaken && !c.upgrade {
		if _, err := take(c, w, r); err != nil {
			errNoBody.write(w, c)
			return
		}
	}
	if d := f.mirrorOf(c); d != nil {
		if body, err := take(c, w, r); err == nil {
			f.mirror(c.copyFor(d), r, body)
		}
	}
	f.proxy.serve(w, r, c)
}

// decide finds out where a request goes, or what is answered instead.
func (f *Front) decide(c *call) *fault {
	if c.cors = f.corsOf(&c.request); c.cors.preflight {
		return preflight
	}
	name, rest, ok := split(&c.request)
	if !ok {
		return errNoSuchPath
	}
	e := f.cfg.Table().Endpoint(name)
	if e == nil {
		return noEndpoint(name)
	}
	c.endpoint = e
	if err := e.Auth.Check(c.header.Get("Authorization")); err != nil {
		return unauthorized(err)
	}
	if c.length > f.cfg.MaxBody {
		return tooLarge(f.cfg.MaxBody)
	}
	if wanted := c.header.Get(HeaderDeployment); wanted != "" {
		c.deployment = e.Named(wanted)
	} else {
		c.deployment = e.Choose()
	}
	if c.deployment == nil {
		return errNoRoute
	}
	c.target, c.scoring = rest, rest == scorePath
	if c.scoring {
		c.target = c.deployment.ScoringPath
	}
	return nil
}

// finish tells the log and the metrics of a request. It runs, too, when the answer broke off.
func (f *Front) finish(c *call) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	took := time.Since(c.start)
	f.cfg.Meter.note(c, took)
	if f.cfg.Access != nil {
		f.cfg.Access.write(c, took)
	}
}
