package gate

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// lender lends what a gate has.
func lender(owner *Gate, slots int) Lender {
	return Lender{Name: "owner", Slots: slots, Borrow: func(ctx context.Context, avoid []string) (string, func(Outcome), error) {
		ticket, err := owner.Lend(ctx, avoid...)
		if err != nil {
			return "", nil, err
		}
		return ticket.Addr, func(o Outcome) { go ticket.Release(o) }, nil
	}}
}

// What refused here is not borrowed again, and the lender learns of it.
func TestRefusingPodIsNotBorrowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		owner, g := New(config(8, "a", "b")), New(config(0, "a", "b"))
		g.Lenders([]Lender{lender(owner, 16)})
		first := mustAcquire(t, g)
		first.Release(Refused)
		for range 8 {
			if got := mustAcquire(t, g).Addr; got == first.Addr {
				t.Fatalf("%s was borrowed again, which refused", got)
			}
		}
		synctest.Wait()
		if p := owner.find(first.Addr); p.refused != 1 {
			t.Errorf("the lender counts %d refusals at %s", p.refused, first.Addr)
		}
	})
}

// A try at another pod is one at another pod, also when all places are borrowed.
func TestBorrowedPlaceIsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		owner, g := New(config(8, "a", "b")), New(config(0, "a", "b"))
		g.Lenders([]Lender{lender(owner, 16)})
		for range 8 {
			if got := mustAcquire(t, g, "a").Addr; got != "b" {
				t.Fatal("the pod to avoid was borrowed while the lender had another")
			}
		}
	})
}

// Requests that may not wait get a free place of a peer all the same; where there is none they are told so at once.
func TestBorrowingWithoutWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		none := config(0, "a")
		none.Wait = 0
		owner, g := New(config(1, "a")), New(none)
		begin := time.Now()
		if _, err := g.Acquire(t.Context()); !errors.Is(err, ErrWaited) || time.Since(begin) > 0 {
			t.Errorf("alone: %v after %v", err, time.Since(begin))
		}
		g.Lenders([]Lender{lender(owner, 1)})
		defer mustAcquire(t, g).Release(Unused)
		begin = time.Now()
		if _, err := g.Acquire(t.Context()); !errors.Is(err, ErrWaited) || time.Since(begin) != askTime {
			t.Errorf("with a peer that has none: %v after %v", err, time.Since(begin))
		}
		g.Close()
		synctest.Wait()
	})
}

// A place at a pod that is unknown here, or left alone, goes back; the lender is asked again after a pause.
func TestUselessPlaces(t *testing.T) {
	for name, pods := range map[string][]string{"unknown": {"a"}, "left alone": {"a", "b"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := New(config(1, pods...))
				for range pods {
					mustAcquire(t, g)
				}
				if p := g.find("b"); p != nil {
					p.down = time.Now().Add(time.Hour)
				}
				asked, backs := 0, 0
				g.Lenders([]Lender{{Name: "x", Slots: 1, Borrow: func(context.Context, []string) (string, func(Outcome), error) {
					asked++
					return "b", func(Outcome) { backs++ }, nil
				}}})
				if _, err := g.Acquire(t.Context()); !errors.Is(err, ErrWaited) {
					t.Error(err)
				}
				synctest.Wait()
				if asked == 0 || asked > 2 || backs != asked {
					t.Errorf("asked %d times in the time of one pause, %d places went back", asked, backs)
				}
			})
		})
	}
}

// A pod that was not ready for a moment has the requests still that it had before.
func TestPodComesBackBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := New(config(1, "a"))
		held := mustAcquire(t, g)
		for range 2 {
			g.Update(config(1))
			g.Update(config(1)) // and nothing else changes
			g.Update(config(1, "a"))
		}
		if _, err := g.Acquire(t.Context()); !errors.Is(err, ErrWaited) {
			t.Errorf("a second request at a pod with one place: %v", err)
		}
		held.Release(Answered)
		mustAcquire(t, g).Release(Answered)
		g.Update(config(1))
		if len(g.gone) != 0 {
			t.Errorf("%d idle pods are remembered", len(g.gone))
		}
	})
}
