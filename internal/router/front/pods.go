package front

import (
	"context"
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
	look  func(fd uintptr) bool
	quiet bool
}

// get takes a connection that is kept, or makes one until ctx ends.
func (p *pods) get(ctx context.Context, addr string, now int64, fresh bool) (*podConn, error) {
	for !fresh {
		c := p.take(addr)
		if c == nil {
			break
		}
		if now-c.since < int64(keepPod) && c.alive() {
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
	c.look = c.peek
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

// alive says that the pod has neither closed the connection, nor said anything that it was not asked.
func (c *podConn) alive() bool { return c.raw.Read(c.look) == nil && c.quiet }

func (c *podConn) peek(fd uintptr) bool {
	var one [1]byte
	_, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	c.quiet = err == syscall.EAGAIN
	return true
}
