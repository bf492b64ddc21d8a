package link_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/link/linktest"
)

var (
	bulk    = link.Target{Kind: link.KindRun, Namespace: "bulk", JobID: "0123456789abcdef0123456789abcdef"}
	discard = link.Target{Kind: link.KindRun, Namespace: "discard", JobID: bulk.JobID}
	echo    = link.Target{Kind: link.KindRun, Namespace: "echo", JobID: bulk.JobID}
)

// relays are a control plane and n clusters in one process, over TLS on loopback. A cluster sends without end, takes everything, or
// echoes, as the target's namespace says.
func relays(b *testing.B, n int) []*link.RelaySession {
	b.Helper()
	sessions := make(chan *link.RelaySession, n)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, err := link.AcceptRelay(w, r, nil)
		if err != nil {
			b.Error(err)
			return
		}
		sessions <- s
		<-s.Done()
	}))
	b.Cleanup(srv.Close)
	ctx, cancel := context.WithCancel(context.Background())
	b.Cleanup(cancel)
	var all []*link.RelaySession
	for range n {
		c, err := link.NewClient(link.Config{Endpoint: srv.URL, CA: linktest.CA(srv), TokenSource: func(context.Context) (string, error) { return "t", nil },
			Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }})
		if err != nil {
			b.Fatal(err)
		}
		go func() { _ = link.ServeRelay(ctx, c, serve) }()
		all = append(all, <-sessions)
	}
	return all
}

func serve(_ context.Context, t link.Target, s net.Conn) {
	_ = link.AnswerTarget(s, nil)
	switch t.Namespace {
	case "bulk":
		for chunk := make([]byte, link.BufferSize); ; {
			if _, err := s.Write(chunk); err != nil {
				return
			}
		}
	case "discard":
		_, _ = io.Copy(io.Discard, s)
	case "echo":
		_, _ = io.Copy(s, s)
	}
}

func open(b *testing.B, s *link.RelaySession, t link.Target) net.Conn {
	b.Helper()
	c, err := s.Open(b.Context(), t)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

// receive reads b.N buffers, send writes them.
func receive(b *testing.B, r io.Reader) {
	b.SetBytes(link.BufferSize)
	defer cpu(b)()
	buf := make([]byte, link.BufferSize)
	for b.Loop() {
		if _, err := io.ReadFull(r, buf); err != nil {
			b.Fatal(err)
		}
	}
}

func send(b *testing.B, w io.Writer) {
	b.SetBytes(link.BufferSize)
	defer cpu(b)()
	buf := make([]byte, link.BufferSize)
	for b.Loop() {
		if _, err := w.Write(buf); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRelay is one cluster's relay over TLS, both ends in this process. "tls" is the same without a relay, for comparison.
func BenchmarkRelay(b *testing.B) {
	b.Run("tls", func(b *testing.B) { receive(b, plainTLS(b)) })
	b.Run("from-cluster", func(b *testing.B) { receive(b, open(b, relays(b, 1)[0], bulk)) })
	b.Run("to-cluster", func(b *testing.B) { send(b, open(b, relays(b, 1)[0], discard)) })
	b.Run("from-cluster-beside-stalled-reader", func(b *testing.B) {
		s := relays(b, 1)[0]
		open(b, s, bulk) // never read
		receive(b, open(b, s, bulk))
	})
	b.Run("echo-64B", func(b *testing.B) { echoes(b, open(b, relays(b, 1)[0], echo)) })
	b.Run("echo-64B-beside-bulk", func(b *testing.B) {
		s := relays(b, 1)[0]
		stream := open(b, s, bulk)
		go func() { _, _ = io.Copy(io.Discard, stream) }()
		echoes(b, open(b, s, echo))
	})
}

// cpu reports the processor time of both ends together, which says more than the throughput where others use the machine too.
func cpu(b *testing.B) (stop func()) {
	began := processorTime()
	return func() {
		b.ReportMetric((processorTime()-began).Seconds()*1e9/float64(b.N)/link.BufferSize, "cpu-s/GB")
	}
}

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func plainTLS(b *testing.B) io.Reader {
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	b.Cleanup(srv.Close)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: srv.TLS.Certificates})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		c, err := l.Accept()
		for chunk := make([]byte, link.BufferSize); err == nil; {
			_, err = c.Write(chunk)
		}
	}()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: roots, ServerName: "example.com"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

func echoes(b *testing.B, c net.Conn) {
	out, in := bytes.Repeat([]byte("x"), 64), make([]byte, 64)
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		if _, err := c.Write(out); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, in); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	for name, q := range map[string]float64{"p50-ms": 0.5, "p99-ms": 0.99} {
		b.ReportMetric(float64(took[int(q*float64(len(took)-1))].Microseconds())/1000, name)
	}
}

// BenchmarkIdleRelays tells what a cluster's relay without streams costs: both ends together, kernel buffers not counted.
func BenchmarkIdleRelays(b *testing.B) {
	const n = 500
	before := inUse()
	for b.Loop() {
		sessions := relays(b, n)
		b.ReportMetric(float64(inUse()-before)/n/1024, "KiB/relay")
		runtime.KeepAlive(sessions)
	}
}

func inUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}
