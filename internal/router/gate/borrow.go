package gate

import (
	"context"
	"slices"
	"time"
)

// askAgain is how soon a peer that gave an error is asked again.
const askAgain = 100 * time.Millisecond

// Lender asks a peer for one of its places at a pod of the deployment. It waits until there is one or ctx ends; back returns it, without waiting for
// anything.
type Lender struct {
	Name string
	// Slots is how many places the peer has at the deployment's pods.
	Slots  int
	Borrow func(ctx context.Context) (addr string, back func(), err error)
}

// borrowing is what a gate has asked its peers for.
type borrowing struct {
	lenders []Lender
	asked   map[string]int
	ctx     context.Context
	cancel  context.CancelFunc
}

func (b *borrowing) stop() {
	if b.cancel != nil {
		b.cancel()
		b.cancel, b.ctx = nil, nil
	}
}

// Lenders changes whom the gate asks when requests wait and no place of its own is free.
func (g *Gate) Lenders(l []Lender) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if slices.EqualFunc(g.borrow.lenders, l, func(a, b Lender) bool { return a.Name == b.Name && a.Slots == b.Slots }) {
		return
	}
	g.borrow.stop()
	g.borrow.lenders, g.borrow.asked = l, map[string]int{}
	g.dispatch()
}

// startBorrowing asks every peer for as many places as requests wait, or as it has; the gate is locked.
func (g *Gate) startBorrowing() {
	b := &g.borrow
	for _, l := range b.lenders {
		for b.asked[l.Name] < min(l.Slots, g.queued) {
			if b.ctx == nil {
				b.ctx, b.cancel = context.WithCancel(context.Background())
			}
			b.asked[l.Name]++
			go g.borrowFrom(b.ctx, l, b.asked)
		}
	}
}

// stopBorrowing takes back what was asked for once nobody waits; the gate is locked.
func (g *Gate) stopBorrowing() {
	if g.queued == 0 {
		g.borrow.stop()
	}
}

func (g *Gate) borrowFrom(ctx context.Context, l Lender, asked map[string]int) {
	addr, back, err := l.Borrow(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	asked[l.Name]--
	switch {
	case err != nil && ctx.Err() == nil:
		time.AfterFunc(askAgain, g.lookAgain)
		return
	case err == nil && !g.serveBorrowed(addr, back):
		back()
	}
	g.dispatch()
}

func (g *Gate) lookAgain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dispatch()
}

// serveBorrowed gives a borrowed place to the first of this router's own requests in line; the gate is locked.
func (g *Gate) serveBorrowed(addr string, back func()) bool {
	p := g.find(addr)
	if p == nil {
		return false
	}
	for e := g.queue.Front(); e != nil; e = e.Next() {
		w := e.Value.(*waiter)
		if w.peer {
			continue
		}
		g.leave(e)
		g.busy++
		g.note()
		w.result <- result{ticket: &Ticket{Addr: addr, gate: g, pod: p, back: back}}
		return true
	}
	return false
}
