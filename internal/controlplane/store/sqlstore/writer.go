package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

const (
	// maxBatch bounds how many Update calls share one transaction.
	maxBatch = 256
	// maxAttempts bounds how often Update runs fn.
	maxAttempts = 10
	// retryMin and retryMax bound the pause between attempts.
	retryMin, retryMax = 10 * time.Millisecond, time.Second
)

// PanicError is what Update returns when fn panicked: its writes are rolled back, its neighbours' are not.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("transaction panicked: %v", e.Value) }

// errGoexit ends a transaction whose function left by runtime.Goexit (a test's FailNow).
var errGoexit = errors.New("transaction's goroutine ended")

// retryError marks a batch that may succeed when it is run again.
type retryError struct{ error }

func (e retryError) Unwrap() error { return e.error }

// request is one Update call waiting for its turn. The caller's goroutine runs fn; the writer only hands it the
// transaction, so a panic or Goexit in fn unwinds the caller's stack and never the writer's.
type request struct {
	ctx    context.Context
	turn   chan *tx   // writer → caller: run fn now
	ran    chan error // caller → writer: fn has returned
	result chan error // writer → caller: committed, or why not
}

// writer commits waiting requests together.
type writer struct {
	cfg     Config
	feed    *feed
	closed  context.Context
	queue   chan *request
	session session
	cache   *cache
}

func newWriter(cfg Config, feed *feed, closed context.Context) *writer {
	return &writer{cfg: cfg, feed: feed, closed: closed, queue: make(chan *request),
		session: session{db: cfg.Write, dialect: cfg.Dialect}, cache: newCache()}
}

// Update runs fn in a transaction of its own that is committed together with others that wait; see store.Store. A
// panic in fn becomes a *PanicError. When the commit's answer is lost the error says so, and fn is not run again.
func (s *Store) Update(ctx context.Context, fn func(store.Tx) error) error {
	pause := retryMin
	for attempt := 1; ; attempt++ {
		err := s.writer.submit(ctx, fn)
		if _, again := errors.AsType[retryError](err); !again || attempt == maxAttempts {
			return err
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closed.Done():
			return store.ErrClosed
		}
		pause = min(2*pause, retryMax)
	}
}

func (w *writer) submit(ctx context.Context, fn func(store.Tx) error) error {
	req := &request{ctx: ctx, turn: make(chan *tx), ran: make(chan error, 1), result: make(chan error, 1)}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case w.queue <- req:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.closed.Done():
		return store.ErrClosed
	}
	select {
	case t := <-req.turn:
		call(fn, t, req.ran)
	case <-ctx.Done():
		return ctx.Err()
	case err := <-req.result: // the batch ended before this request's turn
		return err
	}
	return <-req.result
}

// call runs fn and tells the writer how it ended, whatever way it ends.
func call(fn func(store.Tx) error, t *tx, ran chan<- error) {
	err := errGoexit
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
		ran <- err
	}()
	err = fn(t)
}

// run is the writer's goroutine.
func (w *writer) run() {
	defer func() {
		w.session.discard()
	}()
	for {
		select {
		case <-w.closed.Done():
			return
		case first := <-w.queue:
			w.batch(w.gather(first))
		}
	}
}

// gather takes everyone who waits now. Yielding once lets callers that the last commit woke queue up again first.
func (w *writer) gather(first *request) []*request {
	runtime.Gosched()
	reqs := []*request{first}
	for len(reqs) < maxBatch {
		select {
		case r := <-w.queue:
			reqs = append(reqs, r)
		default:
			return reqs
		}
	}
	return reqs
}

// batch runs requests in one database transaction and answers each.
func (w *writer) batch(reqs []*request) {
	errs := make([]error, len(reqs))
	last, err := w.transact(reqs, errs)
	if err == nil {
		w.feed.advance(last)
	}
	for i, r := range reqs {
		if errs[i] == nil {
			errs[i] = err
		}
		r.result <- errs[i]
	}
}

// transact fills errs with the errors of single requests and returns the error that befell all others.
func (w *writer) transact(reqs []*request, errs []error) (int64, error) {
	b := &batch{session: &w.session, cache: w.cache, now: micros(w.cfg.Clock())}
	if err := b.begin(); err != nil {
		w.session.discard()
		w.cache.clear() // a server that took over may lack the last changes, and hand out their numbers again
		return 0, w.failed("beginning a transaction", err)
	}
	for i, r := range reqs {
		var fatal error
		if errs[i], fatal = b.run(r); fatal != nil {
			w.session.rollback()
			return 0, w.failed("running a transaction", fatal)
		}
	}
	// From here on the answer may be lost when the work is not, so nothing is run again.
	if err := w.session.send(append(b.log(w.cfg.Dialect.Notify), &Stmt{SQL: `COMMIT`})...); err != nil {
		w.session.rollback()
		return 0, fmt.Errorf("committing: %w", err)
	}
	w.cache.committed(b.last)
	return b.last, nil
}

func (w *writer) failed(doing string, err error) error {
	err = fmt.Errorf("%s: %w", doing, err)
	if w.cfg.Dialect.Retry(err) {
		return retryError{err}
	}
	return err
}
