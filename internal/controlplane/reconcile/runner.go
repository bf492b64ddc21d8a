package reconcile

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// defaultWorkers is how many keys of one controller are worked on at once, unless Runner.Workers says otherwise: half as many as there
// are processors, so that a burst of submits is answered before it is worked on. With four on two processors the p99 of a submit at
// 500/s was twice what it is with one, and no more was done.
func defaultWorkers() int { return max(1, runtime.GOMAXPROCS(0)/2) }

const (
	// errorMin doubles to errorMax: the pause after errors in a row.
	errorMin, errorMax = 200 * time.Millisecond, 30 * time.Second
	// conflictMin doubles to conflictMax: the pause after version conflicts in a row, which are nobody's fault.
	conflictMin, conflictMax = 5 * time.Millisecond, time.Second
	// changesPage is how many changes are read at once.
	changesPage = 500
)

// Runner runs controllers over one store:
//
//	change log ─▶ Keys ─▶ queue (one per controller) ─▶ workers ─▶ Reconcile
//	     All (on start) ─▶──┘   ▲                            │
//	                            └── RequeueAfter, back-off ──┘
type Runner struct {
	// Workers is per controller; 0 is half as many as processors. Set it before Run.
	Workers int

	store store.Store
	log   *slog.Logger
	loops []*loop
}

// loop is one controller at work.
type loop struct {
	Controller
	log      *slog.Logger
	queue    *queue
	mu       sync.Mutex
	failures map[string]int // in a row, by key
}

// NewRunner prepares to run controllers, whose names must differ. A nil log is slog.Default.
func NewRunner(s store.Store, log *slog.Logger, controllers ...Controller) *Runner {
	if log == nil {
		log = slog.Default()
	}
	r := &Runner{store: s, log: log}
	for _, c := range controllers {
		r.loops = append(r.loops, &loop{Controller: c, log: log.With("controller", c.Name()), failures: map[string]int{}})
	}
	return r
}

// Run works until ctx ends, waits for what is under way, and returns nil. It is called once. The store being away is
// logged and waited out. The newest change's number is read before the controllers list their keys, so whatever
// happens in between is in the list, in the changes that follow, or in both.
func (r *Runner) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	workers := r.Workers
	if workers <= 0 {
		workers = defaultWorkers()
	}
	for _, l := range r.loops {
		l.queue = newQueue()
		for range workers {
			wg.Go(func() { l.work(ctx) })
		}
	}
	r.follow(ctx)
	for _, l := range r.loops {
		l.queue.close()
	}
	wg.Wait()
	return nil
}

// follow turns changes into keys. When the log no longer holds what comes next, it begins again as on start.
func (r *Runner) follow(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for ctx.Err() == nil {
		var seq int64
		if !r.persist(ctx, r.log, "reading the newest change", func() (err error) {
			seq, err = r.store.LastChange(ctx)
			return err
		}) {
			return
		}
		for _, l := range r.loops {
			wg.Go(func() { r.list(ctx, l) })
		}
		r.persist(ctx, r.log, "following changes", func() error {
			err := r.dispatch(ctx, &seq)
			if errors.Is(err, store.ErrCompacted) {
				r.log.Warn("changes were compacted before they were followed; looking at everything again", "after", seq)
				return nil
			}
			return err
		})
	}
}

// list enqueues every key of a controller.
func (r *Runner) list(ctx context.Context, l *loop) {
	r.persist(ctx, l.log, "listing keys", func() (err error) {
		defer contain(&err)
		keys, err := l.All(ctx)
		for _, key := range keys {
			l.queue.add(key)
		}
		return err
	})
}

// dispatch follows changes after seq, which it moves on, until an error.
func (r *Runner) dispatch(ctx context.Context, seq *int64) error {
	for {
		changes, err := r.store.Changes(ctx, *seq, changesPage)
		if err != nil {
			return err
		}
		for _, c := range changes {
			for _, l := range r.loops {
				l.change(c)
			}
			*seq = c.Seq
		}
		if len(changes) > 0 {
			continue
		}
		if err := r.store.Wait(ctx, *seq); err != nil {
			return err
		}
	}
}

// persist calls fn until it succeeds, with growing pauses; false when ctx has ended. A run of errors is forgotten once
// one lasted longer than the pause, which a follower that works does.
func (r *Runner) persist(ctx context.Context, log *slog.Logger, doing string, fn func() error) bool {
	for failures := 0; ctx.Err() == nil; failures++ {
		begin := time.Now()
		err := fn()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if time.Since(begin) > errorMax {
			failures = 0
		}
		pause := backoff(failures, errorMin, errorMax)
		log.Error("store or controller is in trouble; trying again", "doing", doing, "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	return false
}

// change enqueues the keys that a change touches.
func (l *loop) change(c store.Change) {
	var err error
	func() {
		defer contain(&err)
		for _, key := range l.Keys(c) {
			l.queue.add(key)
		}
	}()
	if err != nil {
		l.log.Error("finding the keys of a change", "kind", c.Kind, "key", c.Key, "type", c.Type, "error", err)
	}
}

// work is one worker.
func (l *loop) work(ctx context.Context) {
	for {
		key, ok := l.queue.get(ctx)
		if !ok {
			return
		}
		result, err := l.reconcile(ctx, key)
		l.queue.done(key, l.next(ctx, key, result, err))
	}
}

func (l *loop) reconcile(ctx context.Context, key string) (result Result, err error) {
	defer contain(&err)
	return l.Reconcile(ctx, key)
}

// next decides when a key is due again, and says what went wrong.
func (l *loop) next(ctx context.Context, key string, result Result, err error) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	failures := l.failures[key]
	switch {
	case err == nil:
		delete(l.failures, key)
		return result.RequeueAfter
	case ctx.Err() != nil: // ending
		return 0
	}
	l.failures[key]++
	if errors.Is(err, store.ErrConflict) {
		l.log.Debug("someone wrote in between; trying again", "key", key, "error", err)
		return backoff(failures, conflictMin, conflictMax)
	}
	pause := backoff(failures, errorMin, errorMax)
	l.log.Error("reconciling", "key", key, "error", err, "failures", failures+1, "pause", pause)
	return pause
}

// backoff is least doubled per failure, at most most, less up to a quarter so that many do not come back at once.
func backoff(failures int, least, most time.Duration) time.Duration {
	d := most
	if failures < 20 {
		d = min(least<<failures, most)
	}
	return d - rand.N(d/4)
}

// contain turns a panic into an error.
func contain(err *error) {
	if v := recover(); v != nil {
		*err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
	}
}
