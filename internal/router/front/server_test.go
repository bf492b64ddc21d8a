package front

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/router/table"
)

func newServer(t *testing.T, config *tls.Config) *Server {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	builder := table.Builder{Log: slog.New(slog.DiscardHandler)}
	routes := builder.Build(table.Objects{})
	f := New(Config{Table: func() *table.Table { return routes }, Log: slog.New(slog.DiscardHandler)})
	s := NewServer(f, l, &http.Server{Handler: f, TLSConfig: config}, false)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// What was read of a connection that net/http has not taken when Shutdown begins is answered.
func TestShutdownWhileHandingOver(t *testing.T) {
	s := newServer(t, nil)
	go func() { _ = s.accept() }()
	caller, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close()
	_ = caller.SetDeadline(time.Now().Add(10 * time.Second))
	until := func(n int) {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); ; <-time.After(time.Millisecond) {
			s.mu.Lock()
			got := len(s.conns)
			s.mu.Unlock()
			if got == n {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d connections, want %d", got, n)
			}
		}
	}
	until(1)
	_, _ = io.WriteString(caller, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
	until(0)
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	select {
	case err := <-down:
		t.Fatalf("Shutdown has not waited: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	go func() { _ = s.rest.Serve(s.handed) }()
	res, err := http.ReadResponse(bufio.NewReader(caller), nil)
	if err != nil || res.StatusCode != http.StatusNotFound {
		t.Fatalf("%+v %v", res, err)
	}
	_ = caller.Close()
	if err := <-down; err != nil {
		t.Error(err)
	}
}

// Shutdown does not wait for callers of HTTP/2 that ask nothing, nor for what ends on its way.
func TestShutdownAfterHandingOver(t *testing.T) {
	for name, text := range map[string]string{"idle": http2Preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "malformed": "nothing that anybody would take for a request\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, nil)
			s.rest.Protocols = new(http.Protocols)
			s.rest.Protocols.SetHTTP1(true)
			s.rest.Protocols.SetUnencryptedHTTP2(true)
			done := make(chan error, 1)
			go func() { done <- s.Serve() }()
			caller, err := net.Dial("tcp", s.listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer caller.Close()
			_ = caller.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(caller, text)
			if _, err := caller.Read(make([]byte, 1)); err != nil { // SETTINGS, or that it is no request
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := errors.Join(s.Shutdown(ctx), <-done); err != nil {
				t.Error(err)
			}
		})
	}
}

const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// Waits end by a clock that nobody sets: it has nothing of the wall's time.
func TestClock(t *testing.T) {
	s := newServer(t, nil)
	first := s.now.Load()
	if first <= 0 || time.Duration(first) > time.Hour {
		t.Errorf("the time is %v", time.Duration(first))
	}
	<-time.After(10 * time.Millisecond)
	s.sweep(0)
	if went := time.Duration(s.now.Load() - first); went < 10*time.Millisecond || went > time.Minute {
		t.Errorf("in 10 ms %v went by", went)
	}
	date, err := http.ParseTime(*s.date.Load())
	if err != nil || time.Since(date).Abs() > time.Minute {
		t.Errorf("the date is %v, %v", date, err)
	}
}

// net/http changes its configuration of TLS when it begins, beside handshakes.
func TestConfigurationOfTLS(t *testing.T) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}}
	s := newServer(t, config)
	if s.tls == config || !slices.Equal(s.tls.NextProtos, config.NextProtos) {
		t.Errorf("handshakes are by %p, net/http has %p; protocols %v", s.tls, config, s.tls.NextProtos)
	}
}

// Close ends what a connection waits for also when it was at work just then: nobody looks after it any more.
func TestCloseWhileAtWork(t *testing.T) {
	for name, p := range map[string]phase{"idle": idle, "reading": reading, "writing": writing, "at the pod": atPod, "in line": inLine} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, nil)
			caller, err := net.Dial("tcp", s.listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer caller.Close()
			raw, err := s.listener.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer raw.Close()
			c := newConn(s, raw.(*net.TCPConn))
			s.add(c)
			_ = s.Close()
			if c.wait(p, time.Hour) {
				t.Error("it waits")
			}
			if err := c.waited(); !errors.Is(err, errGone) {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

// A pod that ends its half of a new connection at once has given its answer, which is none.
func TestPodThatEndsAtOnce(t *testing.T) {
	s := newServer(t, nil)
	pod, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pod.Close()
	p, err := s.front.pods.get(t.Context(), pod.Addr().String(), s.now.Load(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	theirs, err := pod.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	_ = theirs.(*net.TCPConn).CloseWrite()
	<-time.After(50 * time.Millisecond) // for the end to have been noticed
	_ = p.SetDeadline(time.Now().Add(10 * time.Second))
	c := &conn{server: s, work: getWork()}
	c.work.back, c.work.out = backs.Get().(*[]byte), append(c.work.out[:0], "GET / HTTP/1.1\r\n\r\n"...)
	if sent, err := p.ask(c); sent != nil || !errors.Is(err, io.EOF) {
		t.Errorf("sent %v, answer %v", sent, err)
	}
}
