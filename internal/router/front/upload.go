package front

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// A caller that sends nothing of its body for as long as `stalled`, or less than slowest in a second after the deployment's timeout, is
// given up: it keeps a pod busy.
const slowest = 16 << 10

// upload is the body of a request on its way to a pod. While the caller is to send, the pod's time does not run, and that the caller
// fails is not the pod's fault. It can be given to another pod as long as nothing was read of it.
type upload struct {
	io.ReadCloser
	call    *call
	caller  *http.ResponseController
	clock   *clock
	begun   time.Time
	n       int64
	touched atomic.Bool
}

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	u.touched.Store(true)
	if !u.clock.stop() { // It goes on beside the answer, or is read by nobody any more: the caller's deadlines are not its business.
		return u.ReadCloser.Read(p)
	}
	defer u.clock.start()
	enough := u.begun.Add(u.call.deployment.Timeout + time.Duration(u.n)*time.Second/slowest)
	if patience := time.Now().Add(stalled); patience.Before(enough) {
		enough = patience
	}
	u.bound(enough)
	n, err := u.ReadCloser.Read(p)
	u.n += int64(n)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		u.bound(time.Time{})
	default: // The deadline stays: the server must not wait for the rest before it answers.
		u.call.uploadFailed.Store(true)
	}
	return n, err
}

// bound sets the caller's deadline.
func (u *upload) bound(deadline time.Time) {
	u.clock.mu.Lock()
	defer u.clock.mu.Unlock()
	if u.call.major != 2 || !u.clock.ended {
		_ = u.caller.SetReadDeadline(deadline) // Not all callers have one.
	}
}

// answered ends the clock when the pod's answer has begun. Over HTTP/2 a caller may go on beside it for as long as it likes, and be silent
// meanwhile. Over HTTP/1 it may not: the server reads the rest of the body before it answers.
func (u *upload) answered() {
	u.clock.over()
	if u.call.major != 2 {
		return
	}
	u.clock.mu.Lock()
	defer u.clock.mu.Unlock()
	_ = u.caller.SetReadDeadline(time.Time{})
}

// Close leaves the body to the server, which closes it after the request.
func (u *upload) Close() error { return nil }

// clock is the time that a pod has for what it is to do, until over ends it.
type clock struct {
	mu    sync.Mutex
	timer *time.Timer
	limit time.Duration
	ended bool
}

func newClock(limit time.Duration, late func()) *clock {
	return &clock{timer: time.AfterFunc(limit, late), limit: limit}
}

// stop reports whether there still was a clock to stop.
func (c *clock) stop() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timer.Stop()
	return !c.ended
}

func (c *clock) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.timer.Reset(c.limit)
	}
}

func (c *clock) over() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.timer.Stop()
}
