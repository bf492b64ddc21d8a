package reconcile

import (
	"context"
	"sync"
	"time"
)

// queue hands out keys to workers. Its invariants: a key is waiting at most once; a key that a worker has is not handed
// out again until done; a key that is added meanwhile is waiting again as soon as it is done. So a change that comes
// while its key is worked on is never lost and never worked on twice at once.
type queue struct {
	mu     sync.Mutex
	ready  []string               // in order
	dirty  map[string]bool        // to be worked on: in ready, or held by a worker and added again
	held   map[string]bool        // with a worker
	timers map[string]*time.Timer // at most one a key
	wake   chan struct{}          // buffered 1: ready may not be empty
	closed bool
}

func newQueue() *queue {
	return &queue{dirty: map[string]bool{}, held: map[string]bool{}, timers: map[string]*time.Timer{}, wake: make(chan struct{}, 1)}
}

func (q *queue) add(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.addLocked(key)
}

func (q *queue) addLocked(key string) {
	if q.closed || q.dirty[key] {
		return
	}
	q.dirty[key] = true
	if !q.held[key] {
		q.ready = append(q.ready, key)
		q.signal()
	}
}

// done gives a key back, to be worked on again after a delay unless it is 0. A change since outruns the delay.
func (q *queue) done(key string, again time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.held, key)
	switch {
	case q.closed:
	case q.dirty[key]:
		q.ready = append(q.ready, key)
		q.signal()
	case again > 0:
		var timer *time.Timer
		timer = time.AfterFunc(again, func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			if q.timers[key] == timer { // else it was cancelled after it had fired
				delete(q.timers, key)
				q.addLocked(key)
			}
		})
		q.timers[key] = timer
	}
}

// get waits for a key; false when ctx has ended. A delay that the key was waiting for is over: whoever works on it
// now asks for its next one.
func (q *queue) get(ctx context.Context) (string, bool) {
	for {
		if ctx.Err() != nil {
			return "", false
		}
		if key, ok := q.take(); ok {
			return key, true
		}
		select {
		case <-q.wake:
		case <-ctx.Done():
		}
	}
}

func (q *queue) take() (string, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.ready) == 0 {
		return "", false
	}
	key := q.ready[0]
	q.ready = q.ready[1:]
	delete(q.dirty, key)
	q.held[key] = true
	if timer := q.timers[key]; timer != nil {
		timer.Stop()
		delete(q.timers, key)
	}
	if len(q.ready) > 0 {
		q.signal() // one token stands for many keys: pass it on
	}
	return key, true
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// close stops every delay; nothing is added any more.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, timer := range q.timers {
		timer.Stop()
	}
	clear(q.timers)
}
