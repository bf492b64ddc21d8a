package link

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"sync"
)

// Parts of the multiplexer's frames: version, type, flags (2), stream (4), length (4); then, for data, length bytes.
const (
	muxHeader   = 12
	muxTypeData = 0
)

// frames makes one WebSocket message of what the multiplexer writes in two: the header of a data frame and its body. The
// multiplexer writes from one goroutine.
type frames struct {
	net.Conn
	// cork, if not nil, holds back what is written below, so that a message is one write to the network.
	cork   *corked
	header []byte
	buf    []byte
}

// Write sends p, with the header that was held back for it.
func (f *frames) Write(p []byte) (int, error) {
	if len(f.header) == 0 && len(p) == muxHeader && p[1] == muxTypeData && binary.BigEndian.Uint32(p[8:]) > 0 {
		f.header = append(f.header, p...)
		return len(p), nil
	}
	f.buf = append(append(f.buf[:0], f.header...), p...)
	f.header = f.header[:0]
	defer func() {
		if cap(f.buf) > 2*BufferSize { // an idle relay keeps no more
			f.buf = nil
		}
	}()
	if f.cork == nil {
		_, err := f.Conn.Write(f.buf)
		return len(p), err
	}
	f.cork.hold()
	_, err := f.Conn.Write(f.buf)
	if flushErr := f.cork.flush(); err == nil {
		err = flushErr
	}
	return len(p), err
}

// corked is a connection to the network that can hold back what is written.
type corked struct {
	net.Conn
	mu   sync.Mutex
	held *bytes.Buffer // nil when writes go through
}

var corkBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Write sends or keeps p.
func (c *corked) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held != nil {
		return c.held.Write(p)
	}
	return c.Conn.Write(p)
}

func (c *corked) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = corkBuffers.Get().(*bytes.Buffer)
}

func (c *corked) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.held
	c.held = nil
	_, err := c.Conn.Write(held.Bytes())
	held.Reset()
	corkBuffers.Put(held)
	return err
}

// corkedClient is an HTTP client for one connection; cork is set once that is made.
func corkedClient(c *http.Client) (client *http.Client, cork func() *corked) {
	var mu sync.Mutex
	var made *corked
	t := c.Transport.(*http.Transport).Clone()
	dial := t.DialContext
	t.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		made = &corked{Conn: conn}
		return made, nil
	}
	return &http.Client{Transport: t, CheckRedirect: c.CheckRedirect}, func() *corked {
		mu.Lock()
		defer mu.Unlock()
		return made
	}
}
