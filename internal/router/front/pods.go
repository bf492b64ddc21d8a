package front

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// keepPod is how long an unused connection to a pod is kept: shorter than servers do that close early (gunicorn: 2 s), so that no
	// request is written to one that is being closed.
	keepPod = 1500 * time.Millisecond
	// keptPerPod is how many.
	keptPerPod = 512
)

// pods keeps connections to pods.
type pods struct {
	mu     sync.Mutex
	idle   map[string][]*podConn // the last was used last
	dialer net.Dialer
}

func newPods() *pods {
	return &pods{idle: map[string][]*podConn{}, dialer: net.Dialer{Timeout: dialTimeout, KeepAlive: dialKeepAlive}}
}

// podConn is a connection to a pod.
type podConn struct {
	*net.TCPConn
	addr  string
	raw   syscall.RawConn
	since int64 // when it was last put back
	used  bool
	// asking is who asks it now; step, told and the rest are of ask.
	asking *conn
	step   func(fd uintptr) bool
	told   bool
	sent   error
	err    error
}

// get takes a connection that is kept, or makes one until ctx ends.
func (p *pods) get(ctx context.Context, addr string, now int64, fresh bool) (*podConn, error) {
	for !fresh {
		c := p.take(addr)
		if c == nil {
			break
		}
		if now-c.since < int64(keepPod) {
			c.used = true
			return c, nil
		}
		_ = c.Close()
	}
	conn, err := p.dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, &dialError{err}
	}
	tcp := conn.(*net.TCPConn)
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil, &dialError{err}
	}
	c := &podConn{TCPConn: tcp, addr: addr, raw: raw}
	c.step = c.stepOn
	return c, nil
}

func (p *pods) take(addr string) *podConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	kept := p.idle[addr]
	if len(kept) == 0 {
		return nil
	}
	c := kept[len(kept)-1]
	kept[len(kept)-1] = nil
	p.idle[addr] = kept[:len(kept)-1]
	return c
}

func (p *pods) put(c *podConn, now int64) {
	c.since = now
	p.mu.Lock()
	defer p.mu.Unlock()
	if kept := p.idle[c.addr]; len(kept) < keptPerPod {
		p.idle[c.addr] = append(kept, c)
		return
	}
	_ = c.Close()
}

// sweep closes what is kept for too long, and says whether something is left.
func (p *pods) sweep(now int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for addr, kept := range p.idle {
		n := 0
		for n < len(kept) && now-kept[n].since >= int64(keepPod) {
			_ = kept[n].Close()
			n++
		}
		switch {
		case n == len(kept):
			delete(p.idle, addr)
		case n > 0:
			p.idle[addr] = append(kept[:0], kept[n:]...)
			clear(kept[len(kept)-n:])
		}
	}
	return len(p.idle) > 0
}

// errStale is a connection that ended before anything was said over it, or on which the pod said what nobody asked for.
var errStale = errors.New("the kept connection is of no use")

// ask has c's request sent, and reads the beginning of the answer. Reads are its own from before the request is sent: so whatever the pod
// says from then on wakes it, and it need not try to read before there is something, once it is known that nothing was said before.
func (p *podConn) ask(c *conn) (sent, err error) {
	p.asking, p.told, p.sent, p.err = c, false, nil, nil
	err = p.raw.Read(p.step)
	p.asking = nil
	return p.sent, errors.Join(err, p.err)
}

func (p *podConn) stepOn(fd uintptr) bool {
	w := p.asking.work
	if !p.told {
		p.told = true
		if p.used && !quiet(int(fd)) {
			p.err = errStale
			return true
		}
		if p.sent = p.asking.tell(p); p.sent == nil && p.used {
			return false
		}
		// A pod may answer and close before it has taken all, or, one that is new, before reads were its own.
	}
	n, err := readNow(int(fd), (*w.back)[headRoom:])
	if err == syscall.EAGAIN {
		return false
	}
	w.got, p.err = n, err
	return true
}

// quiet says that the pod has neither closed the connection, nor said anything that it was not asked.
func quiet(fd int) bool {
	var one [1]byte
	_, _, err := syscall.Recvfrom(fd, one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err == syscall.EAGAIN
}

// readNow reads what is there, or answers EAGAIN.
func readNow(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, p)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}
