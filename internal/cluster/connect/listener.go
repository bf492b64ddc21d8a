package connect

import (
	"context"
	"net"
	"sync"
)

// listener gives an HTTP server one connection, and ends it when that is closed or the context ends.
type listener struct {
	conns chan net.Conn
	done  chan struct{}
	close func()
	addr  net.Addr
}

func newListener(ctx context.Context, c net.Conn) *listener {
	l := &listener{conns: make(chan net.Conn, 1), done: make(chan struct{}), addr: c.LocalAddr()}
	l.close = sync.OnceFunc(func() { close(l.done) })
	context.AfterFunc(ctx, l.close)
	l.conns <- &watched{c, l.close}
	return l
}

// Accept returns the connection, then waits for its end.
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close is part of net.Listener.
func (l *listener) Close() error { l.close(); return nil }

// Addr is part of net.Listener.
func (l *listener) Addr() net.Addr { return l.addr }

// watched tells when a connection is closed, also after it was hijacked.
type watched struct {
	net.Conn
	closed func()
}

// Close closes and tells.
func (w *watched) Close() error {
	defer w.closed()
	return w.Conn.Close()
}
