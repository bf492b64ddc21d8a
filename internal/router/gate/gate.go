// Package gate admits requests to the pods of one deployment: a bounded number at once to each pod, the others wait in line for a
// bounded time. It knows which pods refuse or fail, and what load there is.
package gate

import (
	"container/list"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Why a request was not admitted.
var (
	// ErrFull means that too many wait already.
	ErrFull = errors.New("too many requests wait for the deployment")
	// ErrWaited means that no pod was free in the time that requests may wait.
	ErrWaited = errors.New("no pod was free in time")
	// ErrNoPods means that the deployment had no pod that serves, all the time that the request waited.
	ErrNoPods = errors.New("the deployment has no pod that serves")
	// ErrGone means that the deployment was deleted while the request waited.
	ErrGone = errors.New("the deployment was deleted")
)

// Config is what a gate keeps to. A zero MaxQueue or Hold takes the default.
type Config struct {
	Pods []Pod
	// Wait is how long a request waits for a pod to be free, at least the time in which peers are asked; Hold how long for a deployment that is scaled to zero to have one.
	Wait, Hold time.Duration
	// Asleep says that the deployment may be without pods by intention.
	Asleep bool
	// MaxQueue is how many requests may wait.
	MaxQueue int
}

// Pod is one pod of the deployment.
type Pod struct {
	Addr string
	// Slots is how many requests of this router it gets at once.
	Slots int
}

// Defaults of Config.
const (
	DefaultHold     = 5 * time.Minute
	DefaultMaxQueue = 20000
)

// Gate is safe for concurrent use.
type Gate struct {
	mu     sync.Mutex
	cfg    Config
	pods   []*pod
	gone   []*pod    // not the deployment's any more, with requests at them
	queue  list.List // of *waiter
	queued int       // without those of peers
	busy   int       // without what is lent to peers
	askers []asker
	wake   *time.Timer
	closed bool
	borrow borrowing
}

// waiter is a request in line. Its channel has room for the one ticket or error that it ever gets.
type waiter struct {
	result chan result
	peer   bool
	avoid  []string
}

type result struct {
	ticket *Ticket
	err    error
}

// New makes a gate.
func New(cfg Config) *Gate {
	g := &Gate{}
	g.Update(cfg)
	return g
}

// Update changes what the gate keeps to. Requests at pods that are gone finish there; requests in line stay in it.
func (g *Gate) Update(cfg Config) {
	if cfg.Hold == 0 {
		cfg.Hold = DefaultHold
	}
	if cfg.MaxQueue == 0 {
		cfg.MaxQueue = DefaultMaxQueue
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	known := map[string]*pod{}
	for _, p := range append(g.gone, g.pods...) {
		known[p.addr] = p
	}
	g.cfg, g.pods, g.gone = cfg, make([]*pod, 0, len(cfg.Pods)), nil
	for _, want := range cfg.Pods {
		p := known[want.Addr]
		if p == nil {
			p = &pod{addr: want.Addr}
		}
		p.slots = want.Slots
		g.pods = append(g.pods, p)
		delete(known, want.Addr)
	}
	for _, p := range known {
		if p.busy > 0 { // It may come back, and then has them still.
			g.gone = append(g.gone, p)
		}
	}
	g.dispatch()
}

// Close turns away all that wait and all that come.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for e := g.queue.Front(); e != nil; e = g.queue.Front() {
		g.leave(e)
		e.Value.(*waiter).result <- result{err: ErrGone}
	}
	g.borrow.stop()
}

func (g *Gate) find(addr string) *pod {
	if i := slices.IndexFunc(g.pods, func(p *pod) bool { return p.addr == addr }); i >= 0 {
		return g.pods[i]
	}
	return nil
}

// Try gives a ticket for a pod that is free now, if nobody waits for one; nil if not. It may choose a pod in avoid if there are no others.
func (g *Gate) Try(avoid ...string) *Ticket {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.admit(false, avoid)
}

// admit gives a ticket without a wait, or nil; the gate is locked.
func (g *Gate) admit(peer bool, avoid []string) *Ticket {
	if g.closed || g.queue.Len() > 0 {
		return nil
	}
	if p := g.pick(avoid); p != nil {
		return g.issue(p, peer)
	}
	return nil
}

// Acquire gives a ticket for a pod, after a wait if need be. Pods in avoid are taken only if there are no others. It answers with
// the error of the context when that ends first.
func (g *Gate) Acquire(ctx context.Context, avoid ...string) (*Ticket, error) {
	return g.acquire(ctx, false, avoid)
}

// Lend gives a peer a ticket of this router's; the peer decides how long it waits, by ctx, and what pods it avoids. What is lent is the peer's load.
func (g *Gate) Lend(ctx context.Context, avoid ...string) (*Ticket, error) {
	return g.acquire(ctx, true, avoid)
}

func (g *Gate) acquire(ctx context.Context, peer bool, avoid []string) (*Ticket, error) {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil, ErrGone
	}
	if t := g.admit(peer, avoid); t != nil {
		g.mu.Unlock()
		return t, nil
	}
	if g.queue.Len() >= g.cfg.MaxQueue {
		g.mu.Unlock()
		return nil, ErrFull
	}
	w := &waiter{result: make(chan result, 1), peer: peer, avoid: avoid}
	e := g.queue.PushBack(w)
	if !peer {
		g.queued++
		g.note()
	}
	wait, held := g.cfg.Wait, len(g.pods) == 0
	if len(g.borrow.lenders) > 0 {
		wait = max(wait, askTime)
	}
	if held && g.cfg.Asleep {
		wait = max(wait, g.cfg.Hold)
	}
	g.dispatch()
	g.mu.Unlock()
	return g.await(ctx, e, wait)
}

func (g *Gate) await(ctx context.Context, e *list.Element, wait time.Duration) (*Ticket, error) {
	w := e.Value.(*waiter)
	var late <-chan time.Time
	if !w.peer {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		late = timer.C
	}
	var gone error
	select {
	case r := <-w.result:
		return r.ticket, r.err
	case <-ctx.Done():
		gone = context.Cause(ctx)
	case <-late:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case r := <-w.result: // It was its turn in this very moment.
		if r.ticket != nil && gone != nil {
			r.ticket.release(Unused)
			return nil, gone
		}
		return r.ticket, r.err
	default:
	}
	g.leave(e)
	g.stopBorrowing()
	switch {
	case gone != nil:
		return nil, gone
	case len(g.pods) == 0:
		return nil, ErrNoPods
	default:
		return nil, ErrWaited
	}
}

func (g *Gate) leave(e *list.Element) {
	if w := g.queue.Remove(e).(*waiter); !w.peer {
		g.queued--
	}
}

// dispatch serves those in line for whom there is a pod. Who avoids a pod that alone is free gets it when nobody else wants it.
func (g *Gate) dispatch() {
	for e := g.queue.Front(); e != nil; e = g.queue.Front() {
		w := e.Value.(*waiter)
		p := g.pick(w.avoid)
		if p == nil {
			break
		}
		g.leave(e)
		w.result <- result{ticket: g.issue(p, w.peer)}
	}
	if g.queue.Len() == 0 {
		g.stopBorrowing()
		return
	}
	g.wakeLater()
	g.startBorrowing()
}

// wakeLater has the line looked at again when the first pod that is left alone for now may be tried again.
func (g *Gate) wakeLater() {
	now, first := time.Now(), time.Time{}
	for _, p := range g.pods {
		if until := p.until(); until.After(now) && (first.IsZero() || until.Before(first)) {
			first = until
		}
	}
	if first.IsZero() {
		return
	}
	if g.wake != nil {
		g.wake.Stop()
	}
	g.wake = time.AfterFunc(first.Sub(now), func() { g.lookAgain(func() {}) })
}

// pick chooses the pod with the fewest requests among those that are free, beginning anywhere.
func (g *Gate) pick(avoid []string) *pod {
	n := len(g.pods)
	if n == 0 {
		return nil
	}
	start, now := 0, time.Time{}
	if n > 1 {
		start = rand.IntN(n)
	}
	if slices.ContainsFunc(g.pods, (*pod).troubled) {
		now = time.Now()
	}
	heed := g.heedEjected(now)
	var best, avoided *pod
	for i := range n {
		p := g.pods[(start+i)%n]
		if p.busy >= p.slots || p.leftAlone(now, heed) {
			continue
		}
		if slices.Contains(avoid, p.addr) {
			avoided = p
			continue
		}
		if best == nil || p.busy < best.busy {
			if best = p; p.busy == 0 {
				break
			}
		}
	}
	if best == nil {
		best = avoided
	}
	return best
}

// heedEjected says whether few enough pods are ejected to do without them: at most half.
func (g *Gate) heedEjected(now time.Time) bool {
	n := 0
	for _, p := range g.pods {
		if p.ejected.After(now) {
			n++
		}
	}
	return n*2 <= len(g.pods)
}
