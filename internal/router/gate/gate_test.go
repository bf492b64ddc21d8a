package gate

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func config(slots int, addrs ...string) Config {
	cfg := Config{Wait: 100 * time.Millisecond}
	for _, a := range addrs {
		cfg.Pods = append(cfg.Pods, Pod{Addr: a, Slots: slots})
	}
	return cfg
}

func mustAcquire(t *testing.T, g *Gate, avoid ...string) *Ticket {
	t.Helper()
	ticket, err := g.Acquire(t.Context(), avoid...)
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

func TestPickTakesTheLeastBusy(t *testing.T) {
	g := New(config(2, "a", "b", "c"))
	for round := range 2 {
		seen := map[string]int{}
		for range 3 {
			seen[mustAcquire(t, g).Addr]++
		}
		if len(seen) != 3 {
			t.Errorf("round %d: %v", round, seen)
		}
	}
}

func TestAvoid(t *testing.T) {
	g := New(config(1, "a", "b"))
	if got := mustAcquire(t, g, "a").Addr; got != "b" {
		t.Errorf("got %s", got)
	}
	if got := mustAcquire(t, g, "a").Addr; got != "a" {
		t.Errorf("with no other: %s", got)
	}
}

func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(config(1, "a"))
		first := mustAcquire(t, g)
		start := time.Now()
		if _, err := g.Acquire(t.Context()); !errors.Is(err, ErrWaited) || time.Since(start) != 100*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("gone")
		time.AfterFunc(time.Millisecond, func() { cancel(cause) })
		if _, err := g.Acquire(ctx); !errors.Is(err, cause) {
			t.Error(err)
		}
		time.AfterFunc(time.Millisecond, func() { first.Release(Answered) })
		mustAcquire(t, g)
		if l := g.Load("x"); l.Busy != 1 || l.Queued != 0 {
			t.Errorf("load %+v", l)
		}
	})
}

func TestFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(config(1, "a"))
		held := mustAcquire(t, g)
		var order []int
		for i := range 5 {
			go func() {
				ticket, err := g.Acquire(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, i)
				ticket.Release(Answered)
			}()
			synctest.Wait()
		}
		held.Release(Answered)
		synctest.Wait()
		for i, n := range order {
			if i != n {
				t.Fatalf("order %v", order)
			}
		}
	})
}

func TestFullLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(1, "a")
		cfg.MaxQueue = 1
		g := New(cfg)
		mustAcquire(t, g)
		go func() { _, _ = g.Acquire(t.Context()) }()
		synctest.Wait()
		if _, err := g.Acquire(t.Context()); !errors.Is(err, ErrFull) {
			t.Error(err)
		}
	})
}

func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(1)
		g := New(cfg)
		if _, err := g.Acquire(t.Context()); !errors.Is(err, ErrNoPods) {
			t.Error(err)
		}
		cfg.Asleep = true
		g.Update(cfg)
		time.AfterFunc(4*time.Minute, func() {
			woken := config(1, "a")
			woken.Asleep = true
			g.Update(woken)
		})
		mustAcquire(t, g)
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(config(1))
		time.AfterFunc(time.Millisecond, g.Close)
		for range 2 {
			if _, err := g.Acquire(t.Context()); !errors.Is(err, ErrGone) {
				t.Error(err)
			}
		}
	})
}

func TestRefusingPodIsLeftAloneForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := config(1, "a")
		cfg.Wait = time.Minute
		g := New(cfg)
		mustAcquire(t, g).Release(Refused)
		start := time.Now()
		mustAcquire(t, g).Release(Answered) // Nobody else says that it is time again.
		if took := time.Since(start); took != firstDown {
			t.Errorf("tried again after %v", took)
		}
	})
}

func TestEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(config(100, "a", "b"))
		for range failuresToEject {
			ticket := mustAcquire(t, g, "b")
			ticket.Release(Failed)
		}
		for range 20 {
			if got := mustAcquire(t, g).Addr; got != "b" {
				t.Fatalf("got %s", got)
			}
		}
		time.Sleep(firstEjected) //nolint:forbidigo // the clock is the test's own
		if got := mustAcquire(t, g).Addr; got != "a" {
			t.Errorf("after its time got %s", got)
		}
		// When more than half fail, all are tried.
		for _, other := range []string{"b", "a"} {
			for range failuresToEject {
				mustAcquire(t, g, other).Release(Failed)
			}
		}
		mustAcquire(t, g)
	})
}

func TestPeaksByAsker(t *testing.T) {
	g := New(config(5, "a"))
	g.Load("one")
	tickets := []*Ticket{mustAcquire(t, g), mustAcquire(t, g)}
	for _, ticket := range tickets {
		ticket.Release(Answered)
		ticket.Release(Answered) // does nothing
	}
	g.Load("two")
	if l := g.Load("one"); l.Peak != 2 || l.Busy != 0 {
		t.Errorf("one: %+v", l)
	}
	if l := g.Load("two"); l.Peak != 0 {
		t.Errorf("two: %+v", l)
	}
	for i := range 100 {
		g.Load(string(rune('a' + i)))
	}
	if len(g.askers) > maxAskers {
		t.Errorf("%d askers", len(g.askers))
	}
}

func TestBorrowing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		owner, g := New(config(1, "a")), New(config(0, "a"))
		g.Lenders([]Lender{lender(owner, 1)})
		for range 3 {
			mustAcquire(t, g).Release(Answered)
		}
		own := mustAcquire(t, owner)
		if _, err := g.Acquire(t.Context()); !errors.Is(err, ErrWaited) {
			t.Errorf("while the owner uses it: %v", err)
		}
		synctest.Wait()
		if l := owner.Load("x"); l.Busy != 1 || l.Queued != 0 {
			t.Errorf("the owner's load %+v", l)
		}
		own.Release(Answered)
		synctest.Wait()
		mustAcquire(t, owner)
	})
}

// However pods and requests come and go, a pod never gets more than its places, and nobody is forgotten in line.
func TestLimitHolds(t *testing.T) {
	cfg := config(3, "a", "b")
	cfg.Wait = time.Minute
	g := New(cfg)
	var now [2]atomic.Int64
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for range 300 {
				ticket, err := g.Acquire(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				n := &now[ticket.Addr[0]-'a']
				if n.Add(1) > 3 {
					t.Error("a pod got more than its places")
				}
				n.Add(-1)
				ticket.Release(Answered)
			}
		})
	}
	for i := range 200 {
		g.Update(cfg)
		g.Load(string(rune('a' + i%3)))
	}
	group.Wait()
}
