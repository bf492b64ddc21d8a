package front

import (
	"context"
	"errors"
	"math"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// tick is how often somebody looks after the connections: what waits for longer than it may, or for a caller that has left. That costs
// requests a store each time they begin to wait, where a timer and a goroutine of their own would cost more than anything else.
const (
	tick = 20 * time.Millisecond
	// goneEvery is how many ticks pass between two looks at whether a caller has left.
	goneEvery = 10
)

// phase is what a connection waits for.
type phase int64

const (
	idle    phase = iota // for a caller to ask
	reading              // for a caller to go on
	writing              // for a caller to take the answer
	atPod                // for the pod
	inLine               // for a place at a pod
	phases  = 7          // the bits of them
)

// Causes for which a wait was ended.
var (
	errLate = os.ErrDeadlineExceeded
	errGone = errors.New("the caller closed the connection")
)

// watch is what a connection waits for, and until when. One word holds both, so that whoever ends the wait and whoever it ends agree.
type watch struct {
	word atomic.Int64 // a deadline of uptime, its last bits the phase; what is not positive is a wait that was ended, or none
	pod  atomic.Pointer[podConn]
	// The sweeper's: the word when it last came by, and whether it has looked since if the caller is still there.
	seen   int64
	looked bool
	mu     sync.Mutex
	done   chan struct{}
	over   error
}

const (
	noWatch = 0
	ended   = -1
)

const never = math.MaxInt64

// wait says what is waited for. A limit of 0 is none. What was ended stays so until waited tells of it. After Close there is no wait: the
// connection may have been at work when it passed by, and nobody looks after it any more.
func (c *conn) wait(p phase, limit time.Duration) (ok bool) {
	deadline := int64(never)
	if limit > 0 {
		deadline = c.server.now.Load() + int64(limit+tick) // The clock may be that much behind.
	}
	for {
		word := c.watch.word.Load()
		if word == ended {
			return false
		}
		if next := deadline&^phases | int64(p); c.watch.word.CompareAndSwap(word, next) {
			if c.server.closed.Load() {
				c.end(next, errGone)
				return false
			}
			return true
		}
	}
}

// waited ends a wait, and says what ended it, if not what was waited for.
func (c *conn) waited() error {
	if c.watch.word.Swap(noWatch) >= 0 {
		return nil
	}
	return c.Err()
}

// end ends a wait from outside, unless it just ended.
func (c *conn) end(word int64, cause error) {
	w := &c.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.word.CompareAndSwap(word, ended) {
		return
	}
	w.over = cause
	if w.done != nil {
		close(w.done)
		w.done = nil
	}
	switch phase(word & phases) {
	case idle, reading:
		_ = c.raw.SetReadDeadline(time.Unix(1, 0))
	case writing:
		_ = c.raw.SetWriteDeadline(time.Unix(1, 0))
	case atPod:
		if p := w.pod.Load(); p != nil {
			_ = p.SetDeadline(time.Unix(1, 0))
		}
	}
}

// forgive lets the connection live on after a pod was late.
func (c *conn) forgive() {
	c.watch.mu.Lock()
	defer c.watch.mu.Unlock()
	if c.watch.over == errTimeout {
		c.watch.over = nil
	}
}

func (c *conn) endIdle() {
	if word := c.watch.word.Load(); word > 0 && phase(word&phases) == idle {
		c.end(word, errGone)
	}
}

// hangUp ends a connection, which closes when whoever serves it has noticed.
func (c *conn) hangUp() {
	if word := c.watch.word.Load(); word > 0 {
		c.end(word, errGone)
	}
	_ = c.raw.SetDeadline(time.Unix(1, 0))
}

// A connection is the context of its request: it ends when the caller leaves or the pod is late. There is no channel until somebody
// asks for it.
var _ context.Context = (*conn)(nil)

// Deadline implements context.Context.
func (c *conn) Deadline() (time.Time, bool) { return time.Time{}, false }

// Value implements context.Context.
func (c *conn) Value(any) any { return nil }

// Err implements context.Context.
func (c *conn) Err() error {
	c.watch.mu.Lock()
	defer c.watch.mu.Unlock()
	return c.watch.over
}

// Done implements context.Context.
func (c *conn) Done() <-chan struct{} {
	w := &c.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.over != nil {
		closed := make(chan struct{})
		close(closed)
		return closed
	}
	if w.done == nil {
		w.done = make(chan struct{})
	}
	return w.done
}

// sweepUntil looks after the connections as long as there are any.
func (s *Server) sweepUntil(stop <-chan struct{}) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-ticker.C:
		}
		if s.sweep(n) {
			continue
		}
		ticker.Stop()
		select {
		case <-stop:
			return
		case <-s.wake:
			ticker.Reset(tick)
		}
	}
}

// sweep reports whether there is anybody to look after.
func (s *Server) sweep(n int) bool {
	now := s.setTime()
	kept := s.front.pods.sweep(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	var waiting []*conn
	for c := range s.conns {
		word := c.watch.word.Load()
		if word <= 0 {
			continue
		}
		p := phase(word & phases)
		if word&^phases < now {
			cause := errLate
			if p == atPod {
				cause = errTimeout
			}
			c.end(word, cause)
			continue
		}
		if (n+c.turn)%goneEvery == 0 {
			if c.watch.seen != word {
				c.watch.seen, c.watch.looked = word, false
			} else if p == atPod || p == inLine || p == idle && !c.watch.looked { // Of ends that come later, idle ones are told.
				c.watch.looked = true
				waiting = append(waiting, c)
			}
		}
	}
	endGone(waiting)
	return kept || len(s.conns) > 0
}

// begin is when uptime begins.
var begin = time.Now()

// uptime is a clock in nanoseconds that nobody sets, always positive: were the wall's to step, all waits would end at once, or none.
func uptime(at time.Time) int64 { return int64(time.Second + at.Sub(begin)) }

// setTime is the clock of everything that need not be exact.
func (s *Server) setTime() (now int64) {
	at := time.Now()
	now = uptime(at)
	s.now.Store(now)
	if second := at.Unix(); s.second.Swap(second) != second {
		date := at.UTC().Format(http.TimeFormat)
		s.date.Store(&date)
	}
	return now
}

// endGone ends the waits of callers that have left. As for net/http, one that sends no more has left.
func endGone(waiting []*conn) {
	if len(waiting) == 0 {
		return
	}
	polls := make([]unix.PollFd, len(waiting))
	for i, c := range waiting {
		polls[i] = unix.PollFd{Fd: c.fd, Events: unix.POLLRDHUP}
	}
	if n, err := unix.Poll(polls, 0); n <= 0 || err != nil {
		return
	}
	for i, c := range waiting {
		if polls[i].Revents != 0 {
			c.end(c.watch.seen, errGone)
		}
	}
}
