package routerbench

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// connections is how many the generator sends its requests over.
const connections = 64

// atRate sends requests at a rate for a while, each counted from when it was due: a stall is charged to all who waited behind it. One
// thread does it, that sleeps until the next is due or the next answer is here and goes before all else on its processor: what a
// generator adds itself would else be more than what a proxy does.
func atRate(b *testing.B, addr string, secure bool, request []byte, rate int, lasting time.Duration) []time.Duration {
	b.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer hurry()()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	g, err := newGenerator(addr, secure)
	if err != nil {
		b.Fatal(err)
	}
	defer g.close()
	took, err := g.run(request, rate, int(lasting*time.Duration(rate)/time.Second))
	if err != nil {
		b.Fatalf("%s: %v", addr, err)
	}
	return took[len(took)/10:]
}

// hurry has this thread sleep no longer than it asks, and run as soon as it may if it may do so.
func hurry() (asBefore func()) {
	const prSetTimerSlack = 29
	_ = unix.Prctl(prSetTimerSlack, 1, 0, 0, 0)
	first := struct{ priority int32 }{1}
	set := func(policy uintptr) { // It is only for root.
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_SETSCHEDULER, 0, policy, uintptr(unsafe.Pointer(&first)))
	}
	const other, fifo = 0, 1
	set(fifo)
	return func() { first.priority = 0; set(other) }
}

// generator is what sends requests: connections, and those of them that are free, the one that has been for longest first.
type generator struct {
	poll int
	all  map[int32]*asker
	free []*asker
}

func newGenerator(addr string, secure bool) (*generator, error) {
	poll, err := unix.EpollCreate1(0)
	if err != nil {
		return nil, err
	}
	g := &generator{poll: poll, all: map[int32]*asker{}}
	for range connections {
		a, err := dial(addr, secure)
		if err == nil {
			err = unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, a.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(a.fd)})
		}
		if err != nil {
			return nil, err
		}
		g.all[int32(a.fd)] = a
		g.free = append(g.free, a)
	}
	return g, nil
}

func (g *generator) close() {
	for fd := range g.all {
		_ = unix.Close(int(fd))
	}
	_ = unix.Close(g.poll)
}

func (g *generator) run(request []byte, rate, total int) ([]time.Duration, error) {
	begin := time.Now().Add(20 * time.Millisecond)
	due := func(i int) time.Time { return begin.Add(time.Duration(i) * time.Second / time.Duration(rate)) }
	took := make([]time.Duration, 0, total)
	events := make([]unix.EpollEvent, connections)
	for sent := 0; len(took) < total; {
		patience := 10 * time.Second
		for sent < total && len(g.free) > 0 {
			if patience = time.Until(due(sent)); patience > 0 {
				break
			}
			a := g.free[0]
			g.free = g.free[1:]
			if a.due = due(sent); a.ask(request) != nil {
				return nil, fmt.Errorf("sending a request: %w", a.err)
			}
			sent++
		}
		n, err := g.wait(events, patience)
		if err != nil {
			return nil, err
		}
		for _, e := range events[:n] {
			a := g.all[e.Fd]
			done, err := a.hear()
			if err != nil {
				return nil, fmt.Errorf("reading an answer: %w", err)
			}
			if done {
				took = append(took, time.Since(a.due))
				g.free = append(g.free, a)
			}
		}
	}
	return took, nil
}

// wait is for an answer, to the nanosecond: the usual call has milliseconds.
func (g *generator) wait(events []unix.EpollEvent, patience time.Duration) (int, error) {
	if patience < 0 {
		patience = 0
	}
	limit := unix.NsecToTimespec(int64(patience))
	n, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(g.poll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), uintptr(unsafe.Pointer(&limit)), 0, 0)
	switch {
	case errno == unix.EINTR:
		return 0, nil
	case errno != 0:
		return 0, errno
	case n == 0 && patience >= 10*time.Second:
		return 0, fmt.Errorf("no answer for %s", patience)
	}
	return int(n), nil
}

// asker is one connection, of which Go's own poller knows nothing.
type asker struct {
	fd   int
	tls  *tls.Conn
	due  time.Time
	err  error
	have int
	buf  []byte
}

func dial(addr string, secure bool) (*asker, error) {
	to, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, err
	}
	a := &asker{buf: make([]byte, 32<<10)}
	if a.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, err
	}
	at := &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}
	if err := unix.Connect(a.fd, at); err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	_ = unix.SetsockoptInt(a.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if secure {
		a.tls = tls.Client(bare{fd: a.fd}, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if err := a.tls.Handshake(); err != nil {
			return nil, err
		}
	}
	return a, unix.SetNonblock(a.fd, true)
}

func (a *asker) ask(request []byte) error {
	a.have = 0
	if a.tls != nil {
		_, a.err = a.tls.Write(request)
	} else {
		_, a.err = bare{fd: a.fd}.Write(request)
	}
	return a.err
}

// wait is until there is something to hear.
func (a *asker) wait() error {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(a.fd), Events: unix.POLLIN}}, 10000)
	if n == 0 && err == nil {
		err = fmt.Errorf("no answer for 10 s")
	}
	if err == unix.EINTR {
		err = nil
	}
	return err
}

// hear reads what there is, and reports whether that was the last of an answer.
func (a *asker) hear() (done bool, err error) {
	for {
		var n int
		if a.tls != nil {
			n, err = a.tls.Read(a.buf[a.have:])
		} else {
			n, err = bare{fd: a.fd}.Read(a.buf[a.have:])
		}
		if err == errLater {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		a.have += n
		head := bytes.Index(a.buf[:a.have], []byte("\r\n\r\n"))
		if head < 0 {
			continue
		}
		if !bytes.HasPrefix(a.buf[:head], []byte("HTTP/1.1 200 ")) {
			return false, fmt.Errorf("it is %.200q", a.buf[:head])
		}
		if a.have >= head+4+lengthIn(a.buf[:head+2]) {
			return true, nil
		}
	}
}

// bare is a socket that says when there is nothing to read, in the way that crypto/tls takes for no failure.
type bare struct {
	net.Conn // none: of its methods, others are not called
	fd       int
}

type later struct{}

func (later) Error() string   { return "there is nothing to read yet" }
func (later) Timeout() bool   { return true }
func (later) Temporary() bool { return true }

var errLater error = later{}

// Read implements io.Reader.
func (c bare) Read(p []byte) (int, error) {
	n, err := unix.Read(c.fd, p)
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return 0, errLater
	case err == nil && n == 0:
		return 0, fmt.Errorf("the proxy closed the connection")
	}
	return max(n, 0), err
}

// Write implements io.Writer. What is measured fits a socket's buffer but for moments.
func (c bare) Write(p []byte) (int, error) {
	for sent := 0; sent < len(p); {
		n, err := unix.Write(c.fd, p[sent:])
		switch {
		case err == unix.EAGAIN:
			_, _ = unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}, 1000)
		case err != nil && err != unix.EINTR:
			return sent, err
		}
		sent += max(n, 0)
	}
	return len(p), nil
}

// quantile is how long a part of the requests took at most.
func quantile(took []time.Duration, part float64) time.Duration {
	slices.Sort(took)
	return took[int(float64(len(took)-1)*part)]
}
