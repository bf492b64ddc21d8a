package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/runtime/blobclient"
	"fairlead.dev/fairlead/internal/runtime/identity"
	"fairlead.dev/fairlead/internal/runtime/tracking"
)

// errStopped is the cause when the pod was asked to end.
var errStopped = errors.New("the pod was asked to end")

// Run does all that a pod of a job has to do, and returns the exit code for the process. When ctx ends the command gets
// SIGTERM; logs and outputs are uploaded all the same, for as long as Kubernetes lets the pod live.
func Run(ctx context.Context, cfg Config) int {
	cfg = cfg.withDefaults()
	defer orphans.run()()
	r := &run{cfg: cfg, sys: &switchWriter{}}
	r.log = slog.New(slog.NewTextHandler(io.MultiWriter(cfg.Stderr, r.sys), nil))
	res := r.do(ctx)
	if err := cfg.writeResult(res); err != nil {
		r.log.Error("result not written", "error", err)
	}
	return res.ExitCode
}

// run is one run of the runtime.
type run struct {
	cfg   Config
	log   *slog.Logger
	sys   *switchWriter
	files *files
	blobs *blobclient.Client
	spec  commonruntime.JobSpec
	// newest and mounts are for what all attempts share.
	newest *newest
	mounts *mounter
	// control reaches the control plane.
	control *http.Client
}

func (r *run) do(ctx context.Context) commonruntime.Result {
	key, err := os.ReadFile(r.cfg.LogKeyPath)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return failed(commonruntime.PhasePreparing, fail(CodeSpecInvalid, fmt.Errorf("reading log key: %w", err)))
	}
	r.files = newFiles(strings.TrimSpace(string(key)))
	r.files.setPhase(commonruntime.PhasePreparing)
	stop, err := r.serve()
	if err != nil {
		return failed(commonruntime.PhasePreparing, fail(CodeSpecInvalid, err))
	}
	defer stop()
	if err := r.open(); err != nil {
		return failed(commonruntime.PhasePreparing, fail(CodeSpecInvalid, err))
	}
	if err := claim(ctx, r.blobs, r.spec.Artifacts, r.cfg); err != nil {
		return failed(commonruntime.PhasePreparing, canceledOr(ctx, fmt.Errorf("claiming the attempt: %w", err)))
	}
	return r.logged(ctx)
}

// canceledOr makes err a cancellation when the pod was asked to end.
func canceledOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fail(CodeCanceled, errStopped)
	}
	return err
}

// open reads the spec and makes the client for blobs.
func (r *run) open() error {
	b, err := os.ReadFile(r.cfg.SpecPath)
	if err != nil {
		return fmt.Errorf("reading job spec: %w", err)
	}
	if r.spec, err = ParseSpec(b); err != nil {
		return err
	}
	hc := r.cfg.HTTP
	if hc == nil {
		private, err := r.cfg.privateCAs()
		if err != nil {
			return err
		}
		hc = httpClient(private)
	}
	r.control = hc
	r.blobs, err = blobclient.New(blobclient.Config{
		Base: r.spec.BlobBase, Datastores: r.spec.DatastoreBase, HTTP: hc, RetryFor: r.cfg.RetryFor, Token: r.cfg.readToken,
		OnRetry: func(err error, wait time.Duration) {
			r.log.Warn("trying again", "after", wait.Round(time.Millisecond), "error", err)
		},
	})
	return err
}

// readToken reads the token anew each time, because the Secret may be renewed while the job runs.
func (c Config) readToken() (string, error) {
	b, err := os.ReadFile(c.TokenPath)
	return strings.TrimSpace(string(b)), err
}

// serve starts the file server; stop gives live readers a moment to take the last bytes.
func (r *run) serve() (stop func(), err error) {
	if r.cfg.Listen == "" {
		return func() {}, nil
	}
	l, err := net.Listen("tcp", r.cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listening for log readers: %w", err)
	}
	srv := &http.Server{Handler: r.files.handler(), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(l)
	}()
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			_ = srv.Close()
		}
		<-done
	}, nil
}

// logged runs the rest with its logs being uploaded. Uploads do not end with ctx: what was written is to arrive.
func (r *run) logged(ctx context.Context) commonruntime.Result {
	upCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	var uploads errgroup.Group
	follow := func(name string) (*spool, error) {
		s, err := newSpool(r.cfg.filesDir(), name)
		if err != nil {
			return nil, err
		}
		r.files.add(s, r.cfg.retryPrefix()+name)
		u := &logUploader{blobs: r.blobs, spool: s, url: r.artifact(r.cfg.retryPrefix() + name), every: r.cfg.FlushEvery}
		uploads.Go(func() error { return u.run(upCtx) })
		return s, nil
	}
	sys, err := follow(systemLogName(r.cfg.Rank))
	if err != nil {
		return failed(commonruntime.PhasePreparing, err)
	}
	r.sys.to(sys)
	r.log.Info("run on node", "node", os.Getenv("NODE_NAME"), "run", r.spec.Name, "rank", r.cfg.Rank, "attempt", r.cfg.Attempt)
	res := r.work(ctx, follow)
	r.log.Info("done", "phase", res.Phase, "exitCode", res.ExitCode, "code", res.Code)
	sys.End()
	if err := uploads.Wait(); err != nil {
		_, _ = fmt.Fprintln(r.cfg.Stderr, "log upload:", err)
		if res.ExitCode == 0 {
			res = failed(commonruntime.PhaseFinalizing, fail(CodeOutputUploadFailed, err))
		}
	}
	return res
}

func (r *run) artifact(name string) string { return blobclient.Join(r.spec.Artifacts, name) }

// work is Preparing, Running, Finalizing.
func (r *run) work(ctx context.Context, follow func(string) (*spool, error)) commonruntime.Result {
	g, err := newGang(r.cfg, r.spec.Distribution)
	if err != nil {
		return failed(commonruntime.PhasePreparing, fail(CodeSpecInvalid, err))
	}
	if b := r.spec.Batch; b != nil {
		g.perNode = b.Processes
	}
	logs := make([]*spool, g.perNode)
	for i := range logs {
		if logs[i], err = follow(commonruntime.StdLogOf(g.processRank(i))); err != nil {
			return failed(commonruntime.PhasePreparing, err)
		}
		defer logs[i].End()
	}
	r.newest = newNewest(r.blobs, r.spec.Artifacts, r.cfg)
	r.mounts = newMounter(r.cfg, r.blobs, r.log, r.newest.check)
	defer r.mounts.stop()
	c, err := r.prepare(ctx)
	if err != nil {
		res := failed(commonruntime.PhasePreparing, canceledOr(ctx, err))
		_, _ = fmt.Fprintf(io.MultiWriter(logs[0], r.cfg.Stdout), "fairlead: %s\n", res.Message)
		return res
	}
	stop, err := r.serveIdentity(&c)
	if err != nil {
		return failed(commonruntime.PhasePreparing, fail(CodeCommandNotStarted, err))
	}
	defer stop()
	stopTracking, err := r.serveTracking(&c)
	if err != nil {
		return failed(commonruntime.PhasePreparing, fail(CodeCommandNotStarted, err))
	}
	defer stopTracking()
	command := r.command
	if r.spec.Batch != nil {
		command = r.batch
	}
	res := command(ctx, g, c, logs)
	r.files.setPhase(commonruntime.PhaseFinalizing)
	for _, l := range logs {
		l.End() // so that the logs' rest goes up while outputs do
	}
	if err := r.cfg.writeResult(ifKilled(res)); err != nil {
		r.log.Error("result not written", "error", err)
	}
	return r.finalize(context.WithoutCancel(ctx), c, res)
}

// ifKilled is what a pod leaves that is killed while it uploads: a command that succeeded has not given its outputs yet.
func ifKilled(res commonruntime.Result) commonruntime.Result {
	if res.ExitCode == 0 {
		return failed(commonruntime.PhaseFinalizing, fail(CodeOutputUploadFailed,
			errors.New("the command succeeded, but the pod ended before all outputs and logs were uploaded")))
	}
	res.Message += "\nThe pod ended before all outputs and logs were uploaded."
	return res
}

// prepared is what the command needs.
type prepared struct {
	argv                   []string
	inputs, outputs, trust map[string]string
	token                  string
	identity               map[string]string // variables that lead to tokens of the managed identity
	tracking               map[string]string // variables that lead to experiment tracking
}

// prepare fetches code and inputs side by side.
func (r *run) prepare(ctx context.Context) (prepared, error) {
	start := time.Now()
	f := fetcher{blobs: r.blobs, cfg: r.cfg, mounts: r.mounts}
	var p prepared
	eg, gctx := errgroup.WithContext(ctx)
	eg.Go(func() error { return fail(CodeDownloadFailed, f.code(gctx, r.spec.Code)) })
	eg.Go(func() (err error) {
		p.inputs, err = f.inputs(gctx, r.spec.Inputs)
		return fail(CodeInputDownloadFailed, err)
	})
	if err := eg.Wait(); err != nil {
		return p, err
	}
	var err error
	if p.outputs, err = outputPaths(ctx, r.cfg, r.mounts, r.spec.Outputs); err != nil {
		return p, err
	}
	for _, dir := range []string{filepath.Join(r.cfg.codeDir(), "outputs"), filepath.Join(r.cfg.codeDir(), "logs"), filepath.Join(r.cfg.filesDir(), "azureml-logs")} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return p, fmt.Errorf("making folder %s: %w", dir, err)
		}
	}
	if p.token, err = r.cfg.readToken(); err != nil {
		return p, fail(CodeSpecInvalid, fmt.Errorf("reading run token: %w", err))
	}
	if p.trust, err = r.cfg.trust(); err != nil {
		return p, fail(CodeSpecInvalid, err)
	}
	line, err := substitute(r.spec.Command, p.inputs, p.outputs)
	if err != nil {
		return p, fail(CodeSpecInvalid, err)
	}
	if p.argv, err = shell(line, commandEnviron(r.cfg, r.spec, prepared{}, nil)); err != nil {
		return p, fail(CodeCommandNotStarted, err)
	}
	r.log.Info("code and inputs are here", "inputs", len(p.inputs), "took", time.Since(start).Round(time.Millisecond))
	return p, nil
}

// serveIdentity gives the command tokens of the job's managed identity, if it has one.
func (r *run) serveIdentity(p *prepared) (stop func(), err error) {
	if r.spec.Identity == nil {
		return func() {}, nil
	}
	l, err := net.Listen("tcp", r.cfg.IdentityListen)
	if err != nil {
		return nil, fmt.Errorf("listening for those who ask for tokens of the managed identity: %w", err)
	}
	srv := identity.New(identity.Config{Identity: *r.spec.Identity, Assertion: r.cfg.readToken, HTTP: r.control, Log: r.log})
	p.identity = srv.Environ(l.Addr().String())
	return srv.Serve(l), nil
}

// serveTracking leads MLflow's clients to the workspace's experiment tracking, unless the job names another server.
func (r *run) serveTracking(p *prepared) (stop func(), err error) {
	ws, err := tracking.Workspace(r.spec.Environment["MLFLOW_TRACKING_URI"], strings.TrimSuffix(r.spec.BlobBase, "/blob/"))
	if err != nil {
		return nil, fmt.Errorf("reading MLFLOW_TRACKING_URI: %w", err)
	}
	if ws == nil {
		return func() {}, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for MLflow's clients: %w", err)
	}
	srv := tracking.New(tracking.Config{Workspace: ws, First: p.token, Token: r.cfg.readToken, Transport: r.control.Transport, Log: r.log})
	p.tracking = srv.Environ(l.Addr().String())
	return srv.Serve(l), nil
}

// command runs the user's processes and says how they ended.
func (r *run) command(ctx context.Context, g gang, p prepared, logs []*spool) commonruntime.Result {
	procs := make([]process, g.perNode)
	for i := range procs {
		procs[i] = process{argv: p.argv, dir: r.cfg.codeDir(), out: io.MultiWriter(logs[i], quiet{r.cfg.Stdout}),
			env: commandEnviron(r.cfg, r.spec, p, g.environ(i))}
	}
	rn := runner{killAfter: r.cfg.KillAfter, drainAfter: r.cfg.DrainAfter, timeout: time.Duration(r.spec.TimeoutSeconds) * time.Second}
	e := rn.run(ctx, procs, func() {
		r.files.setPhase(commonruntime.PhaseRunning)
		r.log.Info("command runs", "processes", len(procs))
	})
	return r.outcome(e, logs[0], r.lost(logs))
}

// lost says which logs lack output that found no room on disk; "" when none.
func (r *run) lost(logs []*spool) string {
	s := ""
	for _, l := range logs {
		if err := l.Err(); err != nil {
			r.log.Error("output was dropped; the log is not complete", "log", l.name, "error", err)
			size, _, _ := l.state()
			s += fmt.Sprintf(" The log %s is not complete: what the command wrote after the first %d bytes was dropped (%v). Write less output, or give the nodes more disk.",
				r.cfg.retryPrefix()+l.name, size, err)
		}
	}
	return s
}

// outcome is the command's result. Lost output does not make it another one, but is told.
func (r *run) outcome(e exit, log *spool, lost string) commonruntime.Result {
	res := commonruntime.Result{Phase: commonruntime.PhaseRunning, ExitCode: e.code}
	switch {
	case e.err != nil:
		return failed(commonruntime.PhaseRunning, fail(CodeCommandNotStarted, e.err))
	case e.cause == CodeTimeout:
		res.Code, res.ExitCode = CodeTimeout, exitTimeout
		res.Message = fmt.Sprintf("The command ran longer than limits.timeout, %d s, and was ended. Raise the limit or make the job shorter.", r.spec.TimeoutSeconds) + lost
	case e.cause == CodeCanceled:
		res.Code, res.ExitCode = CodeCanceled, exitCanceled
		res.Message = "The command was ended because " + errStopped.Error() + "." + lost
	case e.code != 0:
		res.Message = fmt.Sprintf("The command ended with exit code %d; see %s.", e.code, r.cfg.retryPrefix()+log.name) + lost
		size, _, _ := log.state()
		if t := tail(log.f, size, 1500); t != "" {
			res.Message += " Its last output:\n" + t
		}
	case lost != "":
		res.Phase, res.Code, res.Message = commonruntime.PhaseDone, CodeLogLost, "The command succeeded."+lost
	default:
		res.Phase = commonruntime.PhaseDone
	}
	return res
}

// finalize uploads outputs, also of a command that failed: what it wrote may tell why.
func (r *run) finalize(ctx context.Context, p prepared, res commonruntime.Result) commonruntime.Result {
	start := time.Now()
	u := uploader{blobs: r.blobs, log: r.log}
	var eg errgroup.Group
	shared := u // attempts have logs of their own, but the same outputs
	shared.newest, shared.mounts = r.newest, r.mounts
	eg.Go(func() error { return shared.outputs(ctx, r.spec, p.outputs) })
	eg.Go(func() error {
		return shared.tree(ctx, filepath.Join(r.cfg.codeDir(), "outputs"), r.artifact("outputs"))
	})
	eg.Go(func() error {
		return u.tree(ctx, filepath.Join(r.cfg.codeDir(), "logs"), r.artifact(r.cfg.retryPrefix()+"logs"))
	})
	for _, area := range []string{"user_logs", "azureml-logs"} { // what the command itself wrote there
		beside := u
		beside.leave = isStdLog
		eg.Go(func() error {
			return beside.tree(ctx, filepath.Join(r.cfg.filesDir(), area), r.artifact(r.cfg.retryPrefix()+area))
		})
	}
	if err := eg.Wait(); err != nil {
		r.log.Error("outputs not uploaded", "error", err)
		if f := new(failure); !errors.As(err, &f) {
			err = fail(CodeOutputUploadFailed, err)
		}
		if res.ExitCode == 0 {
			return failed(commonruntime.PhaseFinalizing, err)
		}
	}
	r.log.Info("outputs are uploaded", "took", time.Since(start).Round(time.Millisecond))
	return res
}
