package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/api/arm"
	ml "fairlead.dev/fairlead/api/machinelearning"
)

func (a *app) mlJobStream() *cobra.Command {
	var t jobTarget
	process := allProcesses
	c := a.leaf(&cobra.Command{
		Use: "stream", Short: "Follow a job's log until it ends",
		Long: `Follow a job's log until it ends. Of a job of several processes the lines of all are shown, each behind the number of its process;
--process shows one alone. The exit code is 1 when the job failed. Ctrl-C stops following, not the job.`,
		Example: `  fairlead ml job stream -n NAME -g G -w W
  fairlead ml job stream -n NAME -g G -w W --process 3`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, ws, _, err := a.job(&t)
			if err != nil {
				return err
			}
			if process < allProcesses {
				return usagef("argument --process: %d is not a process's number; they begin with 0", process)
			}
			return a.streamJob(cmd.Context(), s, ws, t.name, process)
		},
	})
	a.jobFlags(c, &t)
	c.Flags().IntVar(&process, "process", allProcesses, "`number` of the one process to follow (default: all)")
	return c
}

// watch polls a job, reports its changes and wakes whoever waits for them.
type watch struct {
	app  *app
	path string

	mu   sync.Mutex
	job  map[string]any
	said string
	// ended is closed when the job has reached its end.
	ended chan struct{}
}

func (w *watch) status() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return text(w.job, "properties", "status")
}

func (w *watch) attempt() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, _ := strconv.Atoi(text(w.job, "properties", "properties", ml.PropAttempt))
	return n
}

// saw takes a newer state of the job and reports what changed.
func (w *watch) saw(job map[string]any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if terminal(text(w.job, "properties", "status")) {
		return // an older answer that came late
	}
	status := text(job, "properties", "status")
	line := status
	if reason := text(job, "properties", "properties", ml.PropStatusReason); reason != "" && !terminal(status) {
		line += " (" + reason + ")"
		if m := text(job, "properties", "properties", ml.PropStatusMessage); m != "" {
			line += ": " + m
		}
	}
	if line != w.said {
		w.said = line
		w.app.note("[%s] %s", w.app.deps.Now().Format("15:04:05"), line)
	}
	w.job = job
	if terminal(status) {
		close(w.ended)
	}
}

// look asks for the job's state once. Passing faults are no error.
func (w *watch) look(ctx context.Context, s *session) error {
	job, err := s.get(ctx, w.path, apiML)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		w.saw(job)
	case refusal(err):
		return err
	}
	return nil
}

// sleep waits, less when the job ends meanwhile.
func (w *watch) sleep(ctx context.Context, d time.Duration) error {
	wait, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-w.ended:
			cancel()
		case <-wait.Done():
		}
	}()
	err := w.app.deps.Sleep(wait, d)
	cancel()
	<-done
	if ctx.Err() != nil {
		return err
	}
	return nil
}

// run polls until the job has ended: every second at first, then slower up to five.
func (w *watch) run(ctx context.Context, s *session) error {
	for n := 0; ; n++ {
		if err := w.look(ctx, s); err != nil {
			return err
		}
		if terminal(w.status()) {
			return nil
		}
		if err := w.sleep(ctx, min(time.Second+time.Duration(n)*100*time.Millisecond, 5*time.Second)); err != nil {
			return err
		}
	}
}

// refusal says that an error is an answer that asking again will not change.
func refusal(err error) bool {
	var e *arm.Error
	return errors.As(err, &e) && e.Status >= 400 && e.Status < 500 && e.Status != http.StatusTooManyRequests
}

// streamJob prints a job's log live: of one process, or of all. Its error says how the job ended, when not well.
func (a *app) streamJob(ctx context.Context, s *session, ws arm.ID, name string, process int) error {
	path, err := child(ws, "jobs", name)
	if err != nil {
		return err
	}
	job, err := s.get(ctx, path, apiML)
	if err != nil {
		return err
	}
	runs, err := s.history(ctx, ws)
	if err != nil {
		return err
	}
	web := text(job, "properties", "services", "Studio", "endpoint")
	fmt.Fprintf(a.deps.Stdout, "RunId: %s\nWeb View: %s\n", name, web)
	w := &watch{app: a, path: path, ended: make(chan struct{})}
	w.saw(job)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return w.run(gctx, s) })
	for _, f := range a.followers(job, process) {
		f.s, f.w, f.base = s, w, runs+"/"+name+"/logs/"
		g.Go(func() error { return f.run(gctx) })
	}
	err = g.Wait()
	if ctx.Err() != nil {
		a.note("\nStopped following. Job %s goes on.\n  follow again:  fairlead ml job stream -n %s -g %s -w %s\n  cancel it:     fairlead ml job cancel -n %s -g %s -w %s",
			name, name, ws.ResourceGroup, ws.Name(), name, ws.ResourceGroup, ws.Name())
		return &exitError{exitInterrupted}
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(a.deps.Stdout, "\nExecution Summary\n=================\nRunId: %s\nWeb View: %s\n", name, web)
	return a.verdict(w, name, ws)
}

// verdict turns a job's end into the command's.
func (a *app) verdict(w *watch, name string, ws arm.ID) error {
	switch status := w.status(); status {
	case ml.JobCompleted:
		return nil
	case ml.JobCanceled:
		a.note("Job %s was canceled.", name)
		return &exitError{exitFailed}
	default:
		p := sub(w.job, "properties")
		reason := map[string]any{"code": text(p, "error", "code"), "message": text(p, "error", "message")}
		if reason["code"] == "" {
			reason["code"], reason["message"] = text(p, "properties", ml.PropStatusReason), text(p, "properties", ml.PropStatusMessage)
		}
		body, err := json.MarshalIndent(map[string]any{"error": reason}, "", "  ")
		if err != nil {
			return err
		}
		return hint(fmt.Errorf("job %s ended as %s\nException :\n %s", name, status, body),
			"All its files: fairlead ml job download -n %s --all -g %s -w %s", name, ws.ResourceGroup, ws.Name())
	}
}

// history is the address of the workspace's runs in the run history service.
func (s *session) history(ctx context.Context, ws arm.ID) (string, error) {
	got, err := s.get(ctx, ws.String(), apiML)
	if err != nil {
		return "", err
	}
	base := s.Endpoint()
	if u := text(got, "properties", "discoveryUrl"); u != "" {
		doc, err := s.get(ctx, u, apiML)
		if err != nil {
			return "", fmt.Errorf("reading the workspace's discovery document: %w", err)
		}
		for _, k := range []string{"history", "api"} {
			if v := text(doc, k); v != "" {
				base = strings.TrimSuffix(strings.TrimRight(v, "/"), "/history/v1.0")
				break
			}
		}
	}
	return base + "/history/v1.0" + ws.String() + "/runs", nil
}
