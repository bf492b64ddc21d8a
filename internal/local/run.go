package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"fairlead.dev/fairlead/internal/local/kubeapi"
	"fairlead.dev/fairlead/internal/local/process"
	"fairlead.dev/fairlead/internal/local/supervisor"
)

// SupervisorCommand is the hidden subcommand by which `up` starts its supervisor: PROGRAM local-supervisor FOLDER.
const SupervisorCommand = "local-supervisor"

// Supervise is the supervisor process: it runs until SIGTERM (stop all parts) or SIGUSR1 (leave them to a successor).
func Supervise(ctx context.Context, f Folder) error {
	c, err := LoadConfig(f)
	if err != nil {
		return err
	}
	release, err := holdLock(f)
	if err != nil {
		return err
	}
	defer release()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	defer signal.Stop(signals)
	var handOver atomic.Bool
	go func() {
		for {
			select {
			case sig := <-signals:
				log.Info("signal", "signal", sig.String())
				handOver.Store(sig == syscall.SIGUSR1)
				cancel()
			case <-ctx.Done():
				return
			}
		}
	}()
	s := supervisor.New(f.RunDir(), c.hash(), log)
	r := &runner{folder: f, config: c, super: s, log: log}
	steps, err := r.steps()
	if err != nil {
		return err
	}
	go r.trimLogs(ctx)
	if err := s.Run(ctx, steps); err != nil {
		return err
	}
	if !handOver.Load() {
		stop, end := context.WithTimeout(context.Background(), 30*time.Second)
		defer end()
		s.Stop(stop)
	}
	return nil
}

// runner is one supervisor process's view of the cluster.
type runner struct {
	folder Folder
	config Config
	super  *supervisor.Supervisor
	log    *slog.Logger
	api    *kubeapi.Client // set by the step that makes the certificates
}

// serverStep starts the control plane.
func (r *runner) serverStep(after ...string) supervisor.Step {
	return supervisor.Step{Name: "server", Title: "Fairlead control plane", After: after, Run: func(ctx context.Context) error {
		return r.super.Start(ctx, r.serverPart())
	}}
}

func (r *runner) serverPart() supervisor.Part {
	c, dir := r.config, r.folder.ServerDir()
	listen := fmt.Sprintf("127.0.0.1:%d", c.Port)
	if !c.External() {
		listen += fmt.Sprintf(",%s:%d", c.Plan.Host(), c.Port)
	} else if !c.Loopback() {
		listen = fmt.Sprintf("0.0.0.0:%d", c.Port)
	}
	return supervisor.Part{
		Name: "server", Tier: 1, Grace: 10 * time.Second, Version: c.Stamps[c.Server],
		Spec: process.Spec{
			Argv: []string{c.Server, "server", "--data-dir", dir, "--listen", listen, "--public-url", c.URL()},
			Env:  os.Environ(), Dir: "/", Log: r.folder.Log("server"),
		},
		Ready: func(ctx context.Context) error { return serverReady(ctx, r.folder, c) },
	}
}

// serverReady asks the control plane on the loopback address, which it always listens on.
func serverReady(ctx context.Context, f Folder, c Config) error {
	client, err := kubeapi.New(c.URL(), f.Path("server", "tls", "ca.crt"), "", "")
	if err != nil {
		return err
	}
	defer client.Close()
	if err := client.Ready(ctx); err != nil {
		return err
	}
	if _, err := os.Stat(f.Path("server", "admin.json")); err != nil {
		return fmt.Errorf("waiting for the first administrator: %w", err)
	}
	return nil
}

// maxLog is how large a component's log may grow before all but its newest part is dropped.
const maxLog = 64 << 20

// trimLogs keeps logs bounded. Programs write with O_APPEND, so a file can be cut under them.
func (r *runner) trimLogs(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		entries, err := os.ReadDir(r.folder.Path("logs"))
		if err != nil {
			continue
		}
		for _, e := range entries {
			if err := trimLog(r.folder.Path("logs", e.Name()), maxLog); err != nil {
				r.log.Error("trimming a log", "file", e.Name(), "error", err)
			}
		}
	}
}

// trimLog drops all but the last quarter of a file that is larger than limit bytes.
func trimLog(path string, limit int64) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() <= limit {
		return err
	}
	tail := make([]byte, limit/4)
	n, err := f.ReadAt(tail, info.Size()-int64(len(tail)))
	if err != nil && n == 0 {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(append([]byte("[older lines were dropped]\n"), tail[:n]...), 0)
	return err
}

// errRunning: another supervisor holds the folder.
var errRunning = errors.New("another supervisor is running")
