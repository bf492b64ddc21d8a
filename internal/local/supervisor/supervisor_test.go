//go:build linux

package supervisor

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/local/process"
)

// start runs a supervisor with the steps until the test's end or until the returned function is called.
func start(t *testing.T, runDir string, steps func(s *Supervisor) []Step) (*Supervisor, func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := New(runDir, "hash", slog.New(slog.DiscardHandler))
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, steps(s)) }()
	end := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	return s, end
}

// until asks for the state on disk until it fits.
func until(t *testing.T, runDir, what string, fits func(State) bool) State {
	t.Helper()
	for tick := time.Tick(5 * time.Millisecond); ; {
		st, err := ReadState(runDir)
		if err != nil {
			t.Fatal(err)
		}
		if fits(st) {
			return st
		}
		select {
		case <-t.Context().Done():
			t.Fatalf("waiting for %s", what)
		case <-tick:
		}
	}
}

func ready(st State) bool { return st.Ready != nil }

func TestRun_Background(t *testing.T) {
	dir := t.TempDir()
	release := make(chan struct{})
	start(t, dir, func(*Supervisor) []Step {
		return []Step{
			{Name: "a", Title: "A", Run: func(context.Context) error { return nil }},
			{Name: "late", Title: "Late", After: []string{"a"}, Background: true, Run: func(ctx context.Context) error {
				select {
				case <-release:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}},
		}
	})
	st := until(t, dir, "the step to begin and everything to be ready", func(st State) bool { return ready(st) && st.Steps[1].State == Working })
	if p := st.Pending(); len(p) > 0 {
		t.Errorf("pending: %v", p)
	}
	close(release)
	until(t, dir, "the step in the background", func(st State) bool { return st.Steps[1].State == Done })
}

func TestRun_OrderAndRetry(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	var order []string
	did := func(name string) func(context.Context) error {
		return func(context.Context) error {
			mu.Lock()
			defer mu.Unlock()
			order = append(order, name)
			if name == "b" && len(order) == 2 {
				return errors.New("not yet")
			}
			return nil
		}
	}
	start(t, dir, func(*Supervisor) []Step {
		return []Step{
			{Name: "c", Title: "C", After: []string{"b"}, Run: did("c")},
			{Name: "b", Title: "B", After: []string{"a"}, Run: did("b")},
			{Name: "a", Title: "A", Run: did("a")},
		}
	})
	failing := until(t, dir, "the failing step", func(st State) bool { return len(st.Steps) == 3 && st.Steps[1].State == Failing })
	if failing.Steps[1].Error != "not yet" || !slices.Equal(failing.Pending(), []string{"B: not yet"}) {
		t.Errorf("steps %v, pending %q", failing.Steps, failing.Pending())
	}
	until(t, dir, "ready", ready)
	if want := []string{"a", "b", "b", "c"}; !slices.Equal(order, want) {
		t.Errorf("order %q, want %q", order, want)
	}
}

func TestRun_UnknownStep(t *testing.T) {
	s := New(t.TempDir(), "", slog.New(slog.DiscardHandler))
	if err := s.Run(t.Context(), []Step{{Name: "a", After: []string{"z"}}}); err == nil {
		t.Error("a step that waits for none was accepted")
	}
}

func sleeper(dir, version string) Part {
	return Part{
		Name: "sleeper", Version: version, Grace: time.Second,
		Spec: process.Spec{Argv: []string{"/bin/sleep", "1000"}, Log: filepath.Join(dir, "sleeper.log")},
	}
}

func keepSleeper(dir, version string) func(*Supervisor) []Step {
	return func(s *Supervisor) []Step {
		return []Step{{Name: "s", Title: "S", Run: func(ctx context.Context) error { return s.Start(ctx, sleeper(dir, version)) }}}
	}
}

func TestPart_RestartsAdoptsReplaces(t *testing.T) {
	dir := t.TempDir()
	_, end := start(t, dir, keepSleeper(dir, "1"))
	first := until(t, dir, "ready", ready).Parts[0]

	if err := syscall.Kill(first.Process.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := until(t, dir, "the restart", func(st State) bool { return st.Parts[0].Restarts == 1 }).Parts[0]
	if second.LastExit != "signal: killed" || !process.Alive(second.Process) || second.Process == first.Process {
		t.Errorf("part after the kill: %+v", second)
	}

	end() // the part goes on
	if !process.Alive(second.Process) {
		t.Fatal("the part ended with its supervisor")
	}
	_, end = start(t, dir, keepSleeper(dir, "1"))
	third := until(t, dir, "ready again", func(st State) bool { return ready(st) && st.Supervisor != (process.ID{}) && st.Parts[0].Restarts == 0 }).Parts[0]
	if third.Process != second.Process {
		t.Errorf("the next supervisor has %v, want %v", third.Process, second.Process)
	}
	end()
	_ = os.Remove(StateFile(dir))

	s, end := start(t, dir, keepSleeper(dir, "2"))
	fourth := until(t, dir, "the new version", ready).Parts[0]
	if fourth.Process == third.Process || process.Alive(third.Process) {
		t.Error("a part of another version was taken over")
	}
	end()
	s.Stop(t.Context())
	if process.Alive(fourth.Process) {
		t.Error("the part runs after Stop")
	}
}

func TestStart_TellsWhyNotReady(t *testing.T) {
	dir := t.TempDir()
	s := New(dir, "", slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(t.Context())
	p := sleeper(dir, "")
	p.Ready = func(context.Context) error {
		defer cancel()
		return errors.New("still warming up")
	}
	err := s.Start(ctx, p)
	if err == nil || !strings.Contains(err.Error(), "still warming up") || !strings.Contains(err.Error(), p.Spec.Log) {
		t.Errorf("error %v, want the reason and the log", err)
	}
	s.Stop(t.Context())
	s.wg.Wait()
}
