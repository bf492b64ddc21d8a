package front

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"fairlead.dev/fairlead/internal/router/table"
	"fairlead.dev/fairlead/internal/router/wire"
)

const (
	// headRoom is before an answer, so that the head that the caller gets fits before the body and both are written at once.
	headRoom = 2 << 10
	// firstRead is the buffer that a request begins with; what does not fit gets one of largeRead, which has room for the largest body
	// that is taken before its request waits for a pod, and a head.
	firstRead = 4 << 10
	largeRead = maxTaken + largestHead
	// largestHead is of an ordinary request; larger ones are net/http's to refuse.
	largestHead = 16 << 10
)

// conn is a caller's connection.
type conn struct {
	server *Server
	raw    *net.TCPConn
	pipe   net.Conn // raw, or TLS over it
	poll   syscall.RawConn
	fd     int32
	turn   int // when it is looked after
	remote string
	ip     string
	secure bool
	// long says that a request did not fit the buffer that it began with: the next will hardly either.
	long  bool
	watch watch
	seat  seat
	// work is there while a request is.
	work  *work
	first []byte // of a request over TLS
	ready func(fd uintptr) bool
	at    func(addr string) error
	err   error // what ready came to
}

// work is what a request needs; connections that are idle have none.
type work struct {
	call    call
	attempt attempt
	head    wire.Request
	answer  wire.Response
	fields  [16]field
	in      []byte // what was read: from is where the request begins, to where it ends
	from    int
	to      int
	first   [firstRead]byte
	large   *[]byte
	before  *[]byte
	out     []byte // head of a message to be sent
	body    []byte
	back    *[]byte // what the pod says, behind room for a head
	pod     *podConn
	got     int            // of the answer
	end     int            // of the answer's head
	odd     *http.Response // one that is not ordinary, as net/http reads it: first what was read already
	reader  *bufio.Reader
	read    bytes.Reader
	keep    bool // the caller's connection
}

var (
	works  = sync.Pool{New: func() any { return &work{out: make([]byte, 0, 2<<10)} }}
	backs  = sync.Pool{New: func() any { b := make([]byte, headRoom+32<<10); return &b }}
	larges = sync.Pool{New: func() any { b := make([]byte, largeRead); return &b }}
)

func newConn(s *Server, raw *net.TCPConn) *conn {
	c := &conn{server: s, raw: raw, pipe: raw, remote: raw.RemoteAddr().String()}
	c.ip = hostOf(c.remote)
	c.poll, _ = raw.SyscallConn() // It fails only for what is no connection.
	_ = c.poll.Control(func(fd uintptr) { c.fd = int32(fd) })
	c.turn = int(c.fd)
	c.ready, c.at = c.serveReady, c.try
	return c
}

func getWork() *work {
	w := works.Get().(*work)
	w.in, w.from, w.to = w.first[:], 0, 0
	return w
}

func (w *work) put() {
	w.forget()
	if w.large != nil {
		larges.Put(w.large)
		w.large = nil
	}
	w.in, w.body = nil, nil
	works.Put(w)
}

// enlarge is for a request of which nothing was read.
func (w *work) enlarge() {
	w.large = larges.Get().(*[]byte)
	w.in = *w.large
}

// grow makes room for more behind what was read.
func (w *work) grow() {
	next := w.first[:]
	if w.large != nil || w.from == 0 {
		if w.large == nil {
			w.large = larges.Get().(*[]byte)
		}
		next = *w.large
	}
	w.to = copy(next, w.in[w.from:w.to])
	w.in, w.from = next, 0
}

// forget gives back what a request alone needed.
func (w *work) forget() {
	if w.before != nil {
		larges.Put(w.before)
		w.before = nil
	}
	if w.back != nil {
		backs.Put(w.back)
		w.back = nil
	}
	w.body = nil
}

// move makes room for a body in another buffer. The one of before stays as it is until the request has ended: the call has strings in it.
func (w *work) move() {
	w.before, w.large = w.large, larges.Get().(*[]byte)
	w.to = copy(*w.large, w.in[w.from:w.to])
	w.in, w.from = *w.large, 0
}

func (c *conn) serve() {
	handed := false
	defer func() {
		if p := recover(); p != nil {
			c.server.front.cfg.Log.Error("serving a connection", "remote", c.remote, "panic", p)
		}
		if c.work != nil {
			c.work.put()
		}
		c.seat.leave() // net/http's requests take one of their own
		if !handed {
			c.server.remove(c)
			_ = c.pipe.Close()
		}
	}()
	if c.server.tls != nil && !c.shakeHands() {
		return
	}
	if t, ok := c.pipe.(*tls.Conn); ok && t.ConnectionState().NegotiatedProtocol == "h2" {
		handed = true
		c.server.handOn(c, t)
		return
	}
	for limit := c.server.header; ; limit = c.server.idle {
		ordinary, err := c.readHead(limit)
		if err != nil {
			return
		}
		if !ordinary {
			handed = true
			c.handOver()
			return
		}
		if !c.request() {
			return
		}
	}
}

func (c *conn) shakeHands() bool {
	t := tls.Server(c.raw, c.server.tls)
	c.pipe, c.secure, c.first = t, true, make([]byte, 512)
	c.wait(reading, c.server.header)
	err := t.HandshakeContext(context.Background())
	return c.waited() == nil && err == nil
}

// readHead reads until there is the head of a request. limit is how long it waits for the first byte.
func (c *conn) readHead(limit time.Duration) (ordinary bool, err error) {
	if c.work == nil || c.work.from == c.work.to {
		c.rest(limit)
		if err := c.awaitFirst(); err != nil {
			return false, errors.Join(err, c.waited())
		}
		if err := c.waited(); err != nil {
			return false, err
		}
	}
	for first := true; ; first = false {
		if whole, ordinary := c.lookAtHead(); whole {
			return ordinary, nil
		}
		if first {
			c.wait(reading, c.server.header)
		}
		if err := c.readMore(); err != nil {
			return false, errors.Join(err, c.waited())
		}
	}
}

// lookAtHead says whether what was read is enough to know that it begins with the head of an ordinary request, or does not.
func (c *conn) lookAtHead() (enough, ordinary bool) {
	w := c.work
	unread := w.in[w.from:w.to]
	switch end := wire.End(unread); {
	case end > largestHead:
		return true, false
	case end > 0:
		return true, !c.server.netHTTP && w.head.Read(unread[:end]) && w.head.Length <= maxTaken
	}
	return wire.Odd(unread) || len(unread) >= largestHead, false
}

// rest begins to wait for a request, without a buffer.
func (c *conn) rest(limit time.Duration) {
	if c.work != nil {
		c.work.put()
		c.work = nil
	}
	c.wait(idle, limit)
	if c.server.draining.Load() {
		c.endIdle() // Shutdown may have passed by.
	}
}

// awaitFirst waits until there is something to read, that is not an ordinary request which came whole: without TLS those were served.
func (c *conn) awaitFirst() error {
	if c.secure {
		n, err := c.pipe.Read(c.first)
		if n > 0 {
			c.work = getWork()
			c.work.to = copy(c.work.in, c.first[:n])
		}
		return err
	}
	c.err = nil
	if err := c.poll.Read(c.ready); err != nil {
		return err
	}
	return c.err
}

// errServed ends a connection after its last request.
var errServed = errors.New("the connection has served its last request")

// serveReady is called when there may be something to read, and once before. Requests that come whole are served in it: reads stay this
// goroutine's, so that whatever comes meanwhile wakes it, and it need not try to read what has not come. Only an end that came
// together with a request does not; the sweep looks for those.
func (c *conn) serveReady(fd uintptr) (stop bool) {
	w := getWork()
	if c.long {
		w.enlarge()
	}
	n, err := readNow(int(fd), w.in)
	if err != nil {
		if w.put(); err == syscall.EAGAIN {
			return false
		}
		c.err = err
		return true
	}
	w.to, c.work = n, w
	if n == len(w.in) { // There may be more, which wakes nobody.
		c.long = true
		return true
	}
	c.long = n > firstRead
	if enough, ordinary := c.lookAtHead(); !enough || !ordinary || int64(n) < int64(wire.End(w.in[:n]))+w.head.Length {
		return true
	}
	if c.err = c.waited(); c.err != nil {
		return true
	}
	if !c.request() {
		c.err = errServed
		return true
	}
	if w.from < w.to {
		return true
	}
	c.rest(c.server.idle)
	return false
}

func (c *conn) readMore() error {
	w := c.work
	if w.to == len(w.in) {
		if w.grow(); w.to == len(w.in) {
			return io.ErrShortBuffer // To read nothing would take no time, and so go on for ever.
		}
	}
	n, err := c.pipe.Read(w.in[w.to:])
	w.to += n
	if n > 0 {
		return nil
	}
	return err
}

// handOver gives the connection to net/http, with what was read.
func (c *conn) handOver() {
	_ = c.waited()
	read := begun{c.pipe, bytes.Clone(c.work.in[c.work.from:c.work.to])}
	if t, ok := c.pipe.(*tls.Conn); ok {
		c.server.handOn(c, &begunTLS{read, t})
		return
	}
	c.server.handOn(c, &read)
}

// request serves one request and reports whether the connection is kept.
func (c *conn) request() bool {
	f, w := c.server.front, c.work
	f.inflight.Add(1)
	defer f.inflight.Done()
	w.begin(c)
	w.keep = !w.head.Close && !f.draining.Load() && !c.server.draining.Load()
	defer func() { f.finish(&w.call); w.forget() }()
	fault := f.decide(&w.call)
	c.seat.take(f.cfg.Meter, w.call.endpoint)
	if err := c.readBody(fault == nil); err != nil {
		if w.keep = false; fault == nil {
			fault = errNoBody
		}
	}
	if fault == nil {
		fault = c.deliver()
	}
	if fault != nil && fault.status != statusClientGone {
		fields, body := fault.answer(&w.call, w.fields[:0])
		if w.call.status = fault.status; w.head.Method == http.MethodHead {
			body = nil
		}
		if err := c.send(c.appendHead(fault.status, nil, fields), body); err != nil {
			w.keep = false
		}
	} else if fault != nil {
		w.call.status, w.call.reason, w.keep = fault.status, fault.code, false
	}
	return w.keep && c.Err() == nil
}

func (w *work) begin(c *conn) {
	h := &w.head
	w.call = call{}
	w.call.begin(request{method: h.Method, path: h.Path, host: h.Host, remote: c.remote, ip: c.ip, major: 1, length: h.Length, secure: c.secure, header: h})
}

// readBody reads the body, which follows the head, or only reads past it.
func (c *conn) readBody(wanted bool) error {
	w := c.work
	head := wire.End(w.in[w.from:w.to])
	whole := head + int(w.head.Length)
	limit := c.server.header
	if wanted {
		limit = w.call.deployment.Timeout
	}
	if w.to-w.from < whole {
		c.wait(reading, limit)
		if err := errors.Join(c.readWhole(whole), c.waited()); err != nil {
			return err
		}
	}
	all := w.in[w.from : w.from+whole]
	w.body = all[head:]
	w.from += whole
	w.call.in.Store(int64(len(w.body)))
	if !wanted {
		return nil
	}
	if d := c.server.front.mirrorOf(&w.call); d != nil {
		c.mirror(d, all)
	}
	return nil
}

func (c *conn) readWhole(whole int) error {
	w := c.work
	if len(w.in)-w.from < whole {
		w.move()
	}
	for w.to-w.from < whole {
		if err := c.readMore(); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) mirror(d *table.Deployment, message []byte) {
	w := c.work
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(message)))
	if err != nil {
		return // It was read already.
	}
	r.RemoteAddr = c.remote
	c.server.front.mirror(w.call.copyFor(d), r, bytes.Clone(w.body))
}

// send writes a head and a body to the caller.
func (c *conn) send(head, body []byte) error {
	c.wait(writing, stalled)
	var err error
	switch {
	case len(head)+len(body) <= cap(head):
		n := len(body)
		_, err = c.pipe.Write(append(head, body...))
		c.work.call.out += int64(n)
	case c.secure:
		if _, err = c.pipe.Write(head); err == nil {
			_, err = c.pipe.Write(body)
			c.work.call.out += int64(len(body))
		}
	default:
		both := net.Buffers{head, body}
		_, err = both.WriteTo(c.raw)
		c.work.call.out += int64(len(body))
	}
	return errors.Join(err, c.waited())
}
