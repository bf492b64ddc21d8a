package reconcile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// log is a store that has nothing but a change log, kept in memory so that it lives inside a synctest bubble.
type log struct {
	store.Store
	mu      sync.Mutex
	changes []store.Change
	floor   int64
	down    error
	more    chan struct{}
}

func newLog() *log { return &log{more: make(chan struct{})} }

func (l *log) append(keys ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range keys {
		l.changes = append(l.changes, store.Change{Seq: int64(len(l.changes) + 1), Kind: "resource", Key: key})
	}
	close(l.more)
	l.more = make(chan struct{})
}

func (l *log) set(down error, floor int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down, l.floor = down, floor
}

func (l *log) LastChange(context.Context) (int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return int64(len(l.changes)), l.down
}

func (l *log) Changes(_ context.Context, after int64, limit int) ([]store.Change, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down != nil {
		return nil, l.down
	}
	if after < l.floor {
		return nil, store.ErrCompacted
	}
	return append([]store.Change(nil), l.changes[after:min(int(after)+limit, len(l.changes))]...), nil
}

func (l *log) Wait(ctx context.Context, seq int64) error {
	for {
		l.mu.Lock()
		n, more := int64(len(l.changes)), l.more
		l.mu.Unlock()
		if n > seq {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// controller records when, in time since the bubble began, each key was worked on.
type controller struct {
	all   func() ([]string, error)
	keys  func(store.Change) []string
	do    func(ctx context.Context, key string, n int) (Result, error)
	mu    sync.Mutex
	begin time.Time
	calls []call
	count map[string]int
}

type call struct {
	Key string
	At  time.Duration
}

func (c *controller) Name() string { return "test" }

func (c *controller) Keys(ch store.Change) []string {
	if c.keys != nil {
		return c.keys(ch)
	}
	return []string{ch.Key}
}

func (c *controller) All(context.Context) ([]string, error) {
	if c.all != nil {
		return c.all()
	}
	return nil, nil
}

func (c *controller) Reconcile(ctx context.Context, key string) (Result, error) {
	c.mu.Lock()
	c.calls = append(c.calls, call{key, time.Since(c.begin)})
	n := c.count[key]
	c.count[key]++
	c.mu.Unlock()
	if c.do != nil {
		return c.do(ctx, key, n)
	}
	return Result{}, nil
}

func (c *controller) seen() []call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]call(nil), c.calls...)
}

// run runs a controller in a bubble and returns its log output once fn is done and the runner has ended.
func run(t *testing.T, c *controller, workers int, fn func(l *log)) string {
	t.Helper()
	var out bytes.Buffer
	synctest.Test(t, func(t *testing.T) {
		l := newLog()
		l.append("before start")
		c.begin, c.count = time.Now(), map[string]int{}
		r := NewRunner(l, slog.New(slog.NewTextHandler(&out, nil)), c)
		r.Workers = workers
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		synctest.Wait()
		fn(l)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return out.String()
}

// after lets fake time pass until everything due is done.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func keysOf(calls []call) []string {
	var out []string
	for _, c := range calls {
		out = append(out, c.Key)
	}
	return out
}

func TestRunner_StartAndChanges(t *testing.T) {
	c := &controller{
		all: func() ([]string, error) { return []string{"a", "b"}, nil },
		keys: func(ch store.Change) []string {
			if ch.Key == "ignored" {
				return nil
			}
			return []string{ch.Key, "parent of " + ch.Key}
		},
	}
	run(t, c, 1, func(l *log) {
		l.append("ignored", "c")
		synctest.Wait()
		l.append("c")
		synctest.Wait()
	})
	want := []string{"a", "b", "c", "parent of c", "c", "parent of c"}
	if diff := cmp.Diff(want, keysOf(c.seen())); diff != "" {
		t.Errorf("worked on (-want +got):\n%s", diff)
	}
}

func TestRunner_OneWorkerPerKey(t *testing.T) {
	var mu sync.Mutex
	held, most, all := map[string]int{}, 0, 0
	c := &controller{do: func(_ context.Context, key string, _ int) (Result, error) {
		mu.Lock()
		held[key]++
		all++
		most = max(most, all)
		if held[key] > 1 {
			t.Errorf("%s is worked on twice at once", key)
		}
		mu.Unlock()
		<-time.After(time.Second)
		mu.Lock()
		held[key]--
		all--
		mu.Unlock()
		return Result{}, nil
	}}
	run(t, c, 3, func(l *log) {
		l.append("a", "b", "c", "d")
		synctest.Wait()
		for range 10 { // three are worked on: once more, afterwards; the fourth waits already
			l.append("a", "b", "c", "d")
		}
		after(time.Minute)
	})
	if most != 3 {
		t.Errorf("%d keys at once, want 3", most)
	}
	if diff := cmp.Diff(map[string]int{"a": 2, "b": 2, "c": 2, "d": 1}, c.count); diff != "" {
		t.Errorf("times worked on (-want +got):\n%s", diff)
	}
}

func TestRunner_Requeue(t *testing.T) {
	c := &controller{do: func(_ context.Context, key string, n int) (Result, error) {
		if n < 3 {
			return Result{RequeueAfter: 10 * time.Second}, nil
		}
		return Result{}, nil
	}}
	run(t, c, 2, func(l *log) {
		l.append("a")
		after(4 * time.Second)
		l.append("a") // a change outruns the delay, and the delay begins anew
		after(time.Hour)
	})
	want := []call{{"a", 0}, {"a", 4 * time.Second}, {"a", 14 * time.Second}, {"a", 24 * time.Second}}
	if diff := cmp.Diff(want, c.seen()); diff != "" {
		t.Errorf("worked on (-want +got):\n%s", diff)
	}
}

func TestRunner_Backoff(t *testing.T) {
	for name, tc := range map[string]struct {
		fail        func() error
		least, most time.Duration
		logged      string
	}{
		"errors":    {func() error { return errors.New("broken") }, errorMin, errorMax, "broken"},
		"panics":    {func() error { panic("ouch") }, errorMin, errorMax, "ouch"},
		"conflicts": {func() error { return fmt.Errorf("writing: %w", store.ErrConflict) }, conflictMin, conflictMax, ""},
	} {
		t.Run(name, func(t *testing.T) {
			const failures = 12
			c := &controller{do: func(_ context.Context, _ string, n int) (Result, error) {
				if n < failures || n == failures+1 {
					return Result{RequeueAfter: time.Nanosecond}, tc.fail()
				}
				return Result{}, nil
			}}
			out := run(t, c, 1, func(l *log) {
				l.append("a")
				after(time.Hour)
				l.append("a") // after a success the pause is the shortest again
				after(time.Hour)
			})
			calls := c.seen()
			if len(calls) != failures+3 {
				t.Fatalf("worked on %d times, want %d", len(calls), failures+3)
			}
			pause := tc.least
			for i := range failures {
				got := calls[i+1].At - calls[i].At
				if got > pause || got < pause*3/4 {
					t.Errorf("pause %d is %v, want %v or up to a quarter less", i, got, pause)
				}
				pause = min(2*pause, tc.most)
			}
			if got := calls[failures+2].At - calls[failures+1].At; got > tc.least {
				t.Errorf("pause after a success is %v, want at most %v", got, tc.least)
			}
			if tc.logged == "" && out != "" {
				t.Errorf("a conflict is logged: %s", out)
			}
			if strings.Count(out, "level=ERROR") != map[bool]int{true: failures + 1}[tc.logged != ""] || !strings.Contains(out, tc.logged) {
				t.Errorf("log:\n%s", out)
			}
		})
	}
}

func TestRunner_StoreAway(t *testing.T) {
	listed := 0
	c := &controller{all: func() ([]string, error) {
		if listed++; listed == 1 {
			return nil, errors.New("store is away")
		}
		return []string{"listed"}, nil
	}}
	out := run(t, c, 1, func(l *log) {
		after(time.Second)
		l.set(errors.New("store is away"), 0)
		l.append("a")
		after(time.Minute)
		l.set(nil, 0)
		after(time.Minute)
	})
	if diff := cmp.Diff([]string{"listed", "a"}, keysOf(c.seen())); diff != "" {
		t.Errorf("worked on (-want +got):\n%s", diff)
	}
	if !strings.Contains(out, "listing keys") || !strings.Contains(out, "following changes") {
		t.Errorf("log:\n%s", out)
	}
}

func TestRunner_Compacted(t *testing.T) {
	c := &controller{all: func() ([]string, error) { return []string{"listed"}, nil }}
	run(t, c, 1, func(l *log) {
		l.set(errors.New("store is away"), 0)
		l.append("a", "b")
		after(time.Minute)
		l.set(nil, 3)
		after(time.Minute)
		l.append("c")
		synctest.Wait()
	})
	if diff := cmp.Diff([]string{"listed", "listed", "c"}, keysOf(c.seen())); diff != "" {
		t.Errorf("worked on (-want +got):\n%s", diff)
	}
}

func TestRunner_PanickingKeys(t *testing.T) {
	c := &controller{keys: func(ch store.Change) []string {
		if ch.Key == "bad" {
			panic("ouch")
		}
		return []string{ch.Key}
	}}
	out := run(t, c, 1, func(l *log) {
		l.append("bad", "good")
		synctest.Wait()
	})
	if diff := cmp.Diff([]string{"good"}, keysOf(c.seen())); diff != "" {
		t.Errorf("worked on (-want +got):\n%s", diff)
	}
	if !strings.Contains(out, "ouch") {
		t.Errorf("log:\n%s", out)
	}
}

// TestRunner_End: what is under way sees its context end, is waited for, and is not blamed.
func TestRunner_End(t *testing.T) {
	ended := false
	c := &controller{do: func(ctx context.Context, _ string, _ int) (Result, error) {
		<-ctx.Done()
		<-time.After(time.Second)
		ended = true
		return Result{RequeueAfter: time.Minute}, ctx.Err()
	}}
	out := run(t, c, 1, func(l *log) {
		l.append("a", "b")
		synctest.Wait()
	})
	if !ended || out != "" || len(c.seen()) != 1 {
		t.Errorf("ended %v, calls %v, log %q", ended, c.seen(), out)
	}
}

func TestQueue_TokenIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue()
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan string, 10)
		for range 3 {
			wg.Go(func() {
				key, ok := q.get(ctx)
				if ok {
					got <- key
				}
			})
		}
		synctest.Wait()
		q.add("a")
		q.add("b")
		q.add("c")
		synctest.Wait()
		if len(got) != 3 {
			t.Errorf("%d of 3 waiting workers got a key", len(got))
		}
		cancel()
		wg.Wait()
	})
}
