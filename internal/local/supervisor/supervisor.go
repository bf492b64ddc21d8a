// Package supervisor brings up a set of long-running programs in the order of their dependencies, keeps them running,
// and leaves them running when it dies itself: the next supervisor takes them over.
//
//	step:  Waiting ──steps before it done──▶ Working ──▶ Done
//	                                           ▲  │error
//	                                           └──┴ Failing (tried again)
//	part:  Running ──process ends──▶ Backoff ──▶ Running …
package supervisor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/local/process"
)

// Delays between tries. A part that ran for stable starts again at the shortest.
const (
	retryStep  = 500 * time.Millisecond
	pollReady  = 30 * time.Millisecond
	minBackoff = 100 * time.Millisecond
	maxBackoff = 10 * time.Second
	stable     = 30 * time.Second
)

// Step is one thing to do while coming up. It must be safe to do twice.
type Step struct {
	Name, Title string
	After       []string // names of steps that must be done before
	// Background: nobody waits for it, so everything is ready without it.
	Background bool
	Run        func(ctx context.Context) error
}

// Part is a program that is kept running.
type Part struct {
	Name, Node string
	Spec       process.Spec
	// Version changes when what the program reads (its binary, its files) changes; it is then started anew.
	Version string
	// Ready says whether it serves; it is asked until it does. Nil: as soon as it runs.
	Ready func(ctx context.Context) error
	// Tier is the order of stopping: tier 0 first. Grace is how long it may take.
	Tier  int
	Grace time.Duration
}

// Supervisor runs steps and parts. RunDir keeps its state, ConfigHash names what it runs.
type Supervisor struct {
	runDir string
	log    *slog.Logger

	mu    sync.Mutex
	state State
	parts map[string]*running
	done  map[string]chan struct{} // closed when the step is done
	wg    sync.WaitGroup
}

type running struct {
	part Part
	proc *process.Process
}

// New makes a supervisor; nothing runs before Run.
func New(runDir, configHash string, log *slog.Logger) *Supervisor {
	return &Supervisor{
		runDir: runDir, log: log, parts: map[string]*running{}, done: map[string]chan struct{}{},
		state: State{Supervisor: process.Identify(os.Getpid()), Config: configHash, Started: time.Now()},
	}
}

// Run does the steps, each as soon as those before it are done, tries again what fails, and returns when ctx ends. Parts
// go on running; Stop stops them.
func (s *Supervisor) Run(ctx context.Context, steps []Step) error {
	for _, st := range steps {
		s.done[st.Name] = make(chan struct{})
		s.state.Steps = append(s.state.Steps, StepState{Name: st.Name, Title: st.Title, State: Waiting, Background: st.Background})
	}
	for _, st := range steps {
		for _, a := range st.After {
			if s.done[a] == nil {
				return fmt.Errorf("step %s waits for %q, which is no step", st.Name, a)
			}
		}
	}
	s.update(func() {})
	var steppers sync.WaitGroup
	for i, st := range steps {
		group := &steppers
		if st.Background {
			group = &s.wg
		}
		group.Go(func() { s.step(ctx, i, st) })
	}
	steppers.Wait()
	if ctx.Err() == nil {
		s.update(func() { now := time.Now(); s.state.Ready = &now })
	}
	<-ctx.Done()
	s.wg.Wait()
	return nil
}

func (s *Supervisor) step(ctx context.Context, i int, st Step) {
	for _, a := range st.After {
		select {
		case <-s.done[a]:
		case <-ctx.Done():
			return
		}
	}
	start := time.Now()
	s.update(func() { s.state.Steps[i].State, s.state.Steps[i].Started = Working, &start })
	for {
		err := st.Run(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			break
		}
		s.log.Error("step failed", "step", st.Name, "error", err)
		s.update(func() { s.state.Steps[i].State, s.state.Steps[i].Error = Failing, err.Error() })
		if wait(ctx, retryStep) != nil {
			return
		}
	}
	end := time.Now()
	s.log.Info("step done", "step", st.Name, "took", end.Sub(start).Round(time.Millisecond))
	s.update(func() {
		s.state.Steps[i].State, s.state.Steps[i].Error, s.state.Steps[i].Ended = Done, "", &end
	})
	close(s.done[st.Name])
}

// Start makes a part run, or takes over one that an earlier supervisor left running with the same version, and returns
// when it is ready. ctx ends keeping it, not the part itself.
func (s *Supervisor) Start(ctx context.Context, p Part) error {
	s.mu.Lock()
	r := s.parts[p.Name]
	s.mu.Unlock()
	if r == nil {
		proc, since, err := s.adoptOrStart(ctx, p)
		if err != nil {
			return err
		}
		r = &running{part: p, proc: proc}
		s.update(func() {
			s.parts[p.Name] = r
			s.state.Parts = append(s.state.Parts, PartState{
				Name: p.Name, Node: p.Node, State: Running, Process: proc.ID, Since: since, Log: p.Spec.Log,
			})
			slices.SortFunc(s.state.Parts, func(a, b PartState) int { return strings.Compare(a.Name, b.Name) })
		})
		s.wg.Go(func() { s.keep(ctx, r) })
	}
	return s.awaitReady(ctx, p)
}

func (s *Supervisor) awaitReady(ctx context.Context, p Part) error {
	if p.Ready == nil {
		return nil
	}
	var last error
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		try, end := context.WithTimeout(ctx, 2*time.Second)
		err := p.Ready(try)
		end()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil { // the end of waiting is no reason
			last = err
		}
		if wait(ctx, pollReady) != nil {
			return fmt.Errorf("%s is not ready: %w; its log is %s", p.Name, last, p.Spec.Log)
		}
	}
}

type record struct {
	Process process.ID `json:"process"`
	Version string     `json:"version"`
	Since   time.Time  `json:"since"`
}

func (s *Supervisor) recordFile(part string) string {
	return filepath.Join(s.runDir, "parts", part+".json")
}

func readRecord(path string) (record, bool) {
	var r record
	data, err := os.ReadFile(path)
	return r, err == nil && json.Unmarshal(data, &r) == nil
}

// Records are the processes that the supervisors of a run folder have left, by part.
func Records(runDir string) map[string]process.ID {
	out := map[string]process.ID{}
	files, _ := filepath.Glob(filepath.Join(runDir, "parts", "*.json"))
	for _, f := range files {
		if r, ok := readRecord(f); ok {
			name := filepath.Base(f)
			out[name[:len(name)-len(".json")]] = r.Process
		}
	}
	return out
}

func (p Part) version() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q", p.Version, p.Spec.Argv, p.Spec.Env, p.Spec.Dir))
	return hex.EncodeToString(sum[:8])
}

func (s *Supervisor) adoptOrStart(ctx context.Context, p Part) (*process.Process, time.Time, error) {
	if r, ok := readRecord(s.recordFile(p.Name)); ok {
		if proc, alive := process.Adopt(r.Process); alive {
			if r.Version == p.version() {
				s.log.Info("took over", "part", p.Name, "pid", proc.PID)
				return proc, r.Since, nil
			}
			s.log.Info("replacing", "part", p.Name, "pid", proc.PID)
			if err := proc.Stop(ctx, p.Grace); err != nil {
				return nil, time.Time{}, err
			}
		}
	}
	now := time.Now()
	proc, err := s.launch(p)
	return proc, now, err
}

// Since is when a part's running process was started; zero if it has none.
func (s *Supervisor) Since(part string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.state.Parts {
		if p.Name == part {
			return p.Since
		}
	}
	return time.Time{}
}

func (s *Supervisor) launch(p Part) (*process.Process, error) {
	proc, err := process.Start(p.Spec)
	if err != nil {
		return nil, err
	}
	s.log.Info("started", "part", p.Name, "pid", proc.PID)
	if err := WriteJSON(s.recordFile(p.Name), record{Process: proc.ID, Version: p.version(), Since: time.Now()}); err != nil {
		return nil, fmt.Errorf("recording the process of %s: %w", p.Name, err)
	}
	return proc, nil
}

// keep starts a part again when it ends, after a pause that doubles while it keeps ending early.
func (s *Supervisor) keep(ctx context.Context, r *running) {
	backoff := minBackoff
	for {
		began := time.Now()
		select {
		case <-ctx.Done():
			return
		case <-r.proc.Done():
		}
		if time.Since(began) > stable {
			backoff = minBackoff
		}
		exit := r.proc.Exit()
		s.log.Warn("ended", "part", r.part.Name, "exit", exit, "again in", backoff)
		s.updatePart(r.part.Name, func(p *PartState) { p.State, p.LastExit, p.Since = Backoff, exit, time.Now() })
		for {
			if wait(ctx, backoff) != nil {
				return
			}
			backoff = min(2*backoff, maxBackoff)
			proc, err := s.launch(r.part)
			if err == nil {
				s.mu.Lock()
				r.proc = proc
				s.mu.Unlock()
				break
			}
			s.log.Error("starting again failed", "part", r.part.Name, "error", err)
		}
		s.updatePart(r.part.Name, func(p *PartState) {
			p.State, p.Process, p.Since = Running, r.proc.ID, time.Now()
			p.Restarts++
		})
	}
}

// Stop stops all parts, tier by tier, those of a tier at once. Run must have returned.
func (s *Supervisor) Stop(ctx context.Context) {
	tiers := map[int][]*running{}
	var order []int
	for _, r := range s.parts {
		if tiers[r.part.Tier] == nil {
			order = append(order, r.part.Tier)
		}
		tiers[r.part.Tier] = append(tiers[r.part.Tier], r)
	}
	slices.Sort(order)
	for _, t := range order {
		var wg sync.WaitGroup
		for _, r := range tiers[t] {
			wg.Go(func() {
				if err := r.proc.Stop(ctx, r.part.Grace); err != nil {
					s.log.Error("stopping", "part", r.part.Name, "error", err)
				}
			})
		}
		wg.Wait()
	}
}

func (s *Supervisor) updatePart(name string, change func(*PartState)) {
	s.update(func() {
		for i := range s.state.Parts {
			if s.state.Parts[i].Name == name {
				change(&s.state.Parts[i])
			}
		}
	})
}

func (s *Supervisor) update(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	if err := WriteJSON(StateFile(s.runDir), s.state); err != nil {
		s.log.Error("writing the state", "error", err)
	}
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
