package front

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Server serves one listener. It reads ordinary HTTP/1.1 requests itself; a connection on which anything else comes, it hands with what
// it has read of it to net/http, which has it from then on.
//
//	connection ──▶ ordinary head? ──▶ decide ──▶ body ──▶ pod ──▶ answer ─┐
//	      ▲               └─ no ──▶ net/http ──▶ Front.ServeHTTP           │
//	      └──────────────────────────────────────────────────────────────┘
type Server struct {
	front    *Front
	rest     *http.Server
	handed   *handover
	listener net.Listener
	tls      *tls.Config
	header   time.Duration
	idle     time.Duration
	netHTTP  bool
	// now is the time of uptime, good to a tick; date is the wall's, in a second of it.
	now      atomic.Int64
	second   atomic.Int64
	date     atomic.Pointer[string]
	draining atomic.Bool
	closed   atomic.Bool // nothing is waited for any more
	mu       sync.Mutex
	conns    map[*conn]struct{}
	handing  map[net.Conn]struct{} // that are on their way to net/http's handler
	seats    map[net.Conn]*seat    // of net/http's connections
	alone    chan struct{}         // closed when the last connection has ended after Shutdown, or is net/http's
	wake     chan struct{}
}

// NewServer makes a server for a listener, of one for what net/http is to read, whose limits count for both. netHTTP leaves everything to
// that. net/http changes its TLS configuration when it begins to serve, which must therefore not be that of handshakes.
func NewServer(f *Front, l net.Listener, rest *http.Server, netHTTP bool) *Server {
	s := &Server{front: f, listener: l, netHTTP: netHTTP, rest: rest, handed: &handover{addr: l.Addr(), conns: make(chan net.Conn), done: make(chan struct{})}, tls: rest.TLSConfig.Clone(), header: rest.ReadHeaderTimeout, idle: rest.IdleTimeout, conns: map[*conn]struct{}{}, handing: map[net.Conn]struct{}{}, seats: map[net.Conn]*seat{}, wake: make(chan struct{}, 1)}
	s.follow()
	s.setTime()
	return s
}

// Serve takes connections until Shutdown or Close.
func (s *Server) Serve() error {
	stop := make(chan struct{})
	defer close(stop)
	go s.sweepUntil(stop)
	failed := make(chan error, 2)
	go func() { failed <- s.rest.Serve(s.handed) }()
	go func() { failed <- s.accept() }()
	for range 2 {
		if err := <-failed; err != nil && !errors.Is(err, http.ErrServerClosed) {
			return errors.Join(err, s.Close())
		}
	}
	return nil
}

func (s *Server) accept() error {
	for {
		raw, err := s.listener.Accept()
		if err != nil {
			if s.draining.Load() {
				return nil
			}
			var temporary net.Error
			if errors.As(err, &temporary) && temporary.Timeout() || isExhausted(err) {
				select {
				case <-time.After(10 * time.Millisecond): // Others may end meanwhile.
					continue
				case <-s.handed.done:
					return nil
				}
			}
			_ = s.handed.Close()
			return err
		}
		c := newConn(s, raw.(*net.TCPConn))
		if !s.add(c) {
			_ = raw.Close()
			continue
		}
		go c.serve()
	}
}

func isExhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining.Load() {
		return false
	}
	if len(s.conns) == 0 {
		s.setTime()
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	s.conns[c] = struct{}{}
	return true
}

// remove forgets a connection before it is closed: nobody looks at its descriptor from then on.
func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.noteAlone()
}

// handOn gives what has become of a connection to net/http. Shutdown waits until that answers on it, since what was read of it would else
// be lost: net/http drops a request whose head it has just read when it is told to shut down.
func (s *Server) handOn(c *conn, as net.Conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.handing[as] = struct{}{}
	s.mu.Unlock()
	if !s.handed.give(as) {
		_ = as.Close()
		s.handedOn(as)
	}
}

// handedOn says that Shutdown need not wait for one of those any more.
func (s *Server) handedOn(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.handing, c)
	s.noteAlone()
}

// handedKey is where the context of net/http's requests has what is to be called by the first on a connection.
type handedKey struct{}

// follow has net/http's server say what becomes of the connections that it is given.
func (s *Server) follow() {
	handler := s.rest.Handler
	s.rest.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Context().Value(handedKey{}).(func())()
		handler.ServeHTTP(w, r)
	})
	s.rest.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		own := &seat{}
		s.mu.Lock()
		s.seats[c] = own
		s.mu.Unlock()
		return context.WithValue(context.WithValue(ctx, seatKey{}, own), handedKey{}, sync.OnceFunc(func() { s.handedOn(c) }))
	}
	s.rest.ConnState = func(c net.Conn, state http.ConnState) {
		if state != http.StateNew && state != http.StateActive {
			s.handedOn(c)
		}
		if state == http.StateClosed || state == http.StateHijacked {
			s.unseat(c, state)
		}
	}
}

// unseat forgets a connection of net/http's. One that it gave away still has its caller.
func (s *Server) unseat(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	own := s.seats[c]
	delete(s.seats, c)
	s.mu.Unlock()
	if own != nil && state == http.StateClosed {
		own.leave()
	}
}

func (s *Server) noteAlone() {
	if len(s.conns)+len(s.handing) == 0 && s.alone != nil {
		close(s.alone)
		s.alone = nil
	}
}

// Shutdown takes no more connections, ends those on which nothing is asked, and waits for the others or until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining.Store(true)
	alone := make(chan struct{})
	s.alone = alone
	s.noteAlone()
	for c := range s.conns {
		c.endIdle()
	}
	s.mu.Unlock()
	_ = s.listener.Close()
	var err error
	select {
	case <-alone:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return errors.Join(err, s.rest.Shutdown(ctx))
}

// Close ends all connections.
func (s *Server) Close() error {
	s.draining.Store(true)
	s.closed.Store(true)
	s.mu.Lock()
	for c := range s.conns {
		c.hangUp()
	}
	s.mu.Unlock()
	return errors.Join(s.listener.Close(), s.rest.Close())
}

// handover is the listener of net/http's server.
type handover struct {
	addr  net.Addr
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// Accept implements net.Listener.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, http.ErrServerClosed
	}
}

// Close implements net.Listener.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// Addr implements net.Listener.
func (h *handover) Addr() net.Addr { return h.addr }

func (h *handover) give(c net.Conn) (taken bool) {
	select {
	case h.conns <- c:
		return true
	case <-h.done:
		return false
	}
}

// begun is a connection of which something was read already.
type begun struct {
	net.Conn
	read []byte
}

// Read implements io.Reader.
func (b *begun) Read(p []byte) (int, error) {
	if len(b.read) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.read)
	b.read = b.read[n:]
	return n, nil
}

// begunTLS is one that says what net/http wants to know of TLS.
type begunTLS struct {
	begun
	tls *tls.Conn
}

// ConnectionState is what net/http looks for.
func (b *begunTLS) ConnectionState() tls.ConnectionState { return b.tls.ConnectionState() }
