package gate

import (
	"container/list"
	"context"
	"slices"
	"time"
)

// askAgain is how soon a peer is asked again that gave an error, or a place that is of no use here.
const askAgain = 100 * time.Millisecond

// askTime is what peers have to answer in: of requests that may not wait at all, those for which another router has a free place are served.
const askTime = 50 * time.Millisecond

// Lender asks a peer for one of its places at a pod of the deployment. It waits until there is one or ctx ends, and takes pods in avoid only if the
// peer has no other; back returns the place and says how it went, without waiting for anything.
type Lender struct {
	Name string
	// Slots is how many places the peer has at the deployment's pods.
	Slots  int
	Borrow func(ctx context.Context, avoid []string) (addr string, back func(Outcome), err error)
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
			go g.borrowFrom(b.ctx, l, b.asked, g.unwanted())
		}
	}
}

// stopBorrowing takes back what was asked for once nobody waits; the gate is locked.
func (g *Gate) stopBorrowing() {
	if g.queued == 0 {
		g.borrow.stop()
	}
}

// unwanted are the pods that are left alone here, and those that the first in line has been at already; the gate is locked.
func (g *Gate) unwanted() []string {
	var out []string
	now := time.Now()
	heed := g.heedEjected(now)
	for _, p := range g.pods {
		if p.leftAlone(now, heed) {
			out = append(out, p.addr)
		}
	}
	for e := g.queue.Front(); e != nil; e = e.Next() {
		if w := e.Value.(*waiter); !w.peer {
			return append(out, w.avoid...)
		}
	}
	return out
}

func (g *Gate) borrowFrom(ctx context.Context, l Lender, asked map[string]int, avoid []string) {
	addr, back, err := l.Borrow(ctx, avoid)
	g.mu.Lock()
	defer g.mu.Unlock()
	useless := err == nil && g.useless(addr)
	if useless || err == nil && !g.serveBorrowed(addr, back) {
		back(Unused)
	}
	if ctx.Err() == nil && (useless || err != nil) {
		// Until then the peer counts as asked: asking at once would have the same answer, again and again.
		time.AfterFunc(askAgain, func() { g.lookAgain(func() { asked[l.Name]-- }) })
		return
	}
	asked[l.Name]--
	g.dispatch()
}

// useless says that a pod is not known here, or left alone; the gate is locked.
func (g *Gate) useless(addr string) bool {
	p, now := g.find(addr), time.Now()
	return p == nil || p.leftAlone(now, g.heedEjected(now))
}

// lookAgain serves the line after a change.
func (g *Gate) lookAgain(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
	g.dispatch()
}

// serveBorrowed gives a borrowed place to the first of this router's own requests in line that does not avoid the pod, or else to the first; the
// gate is locked.
func (g *Gate) serveBorrowed(addr string, back func(Outcome)) bool {
	var first *list.Element
	for e := g.queue.Front(); e != nil; e = e.Next() {
		w := e.Value.(*waiter)
		if w.peer {
			continue
		}
		if first == nil {
			first = e
		}
		if !slices.Contains(w.avoid, addr) {
			first = e
			break
		}
	}
	if first == nil {
		return false
	}
	g.leave(first)
	g.busy++
	g.note()
	first.Value.(*waiter).result <- result{ticket: &Ticket{Addr: addr, gate: g, pod: g.find(addr), back: back}}
	return true
}
