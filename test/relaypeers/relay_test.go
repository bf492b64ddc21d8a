package relaypeers

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"k8s.io/klog/v2"

	"fairlead.dev/fairlead/internal/link"
)

func TestMain(m *testing.M) {
	logrus.SetOutput(io.Discard)
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}

// each runs a benchmark on every system.
func each(b *testing.B, run func(b *testing.B, dial dialer)) {
	serve(b)
	for _, s := range systems {
		b.Run(s.name, func(b *testing.B) { run(b, s.connect(b, 1)[0]) })
	}
}

func open(b *testing.B, dial dialer, backend string) net.Conn {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	b.Cleanup(cancel)
	c, err := dial(ctx, backends[backend])
	if err != nil {
		b.Fatalf("dialing %s: %v", backend, err)
	}
	b.Cleanup(func() { c.Close() })
	return c
}

// BenchmarkStream is one stream from the cluster, BenchmarkStreamBesideStalledReader the same while another stream of the same
// cluster is not read at all.
func BenchmarkStream(b *testing.B) {
	each(b, func(b *testing.B, dial dialer) { receive(b, open(b, dial, "bulk")) })
}

func BenchmarkStreamBesideStalledReader(b *testing.B) {
	each(b, func(b *testing.B, dial dialer) {
		open(b, dial, "bulk")
		receive(b, open(b, dial, "bulk"))
	})
}

// receive reads b.N buffers. A system that stands still for 20 s has no figure: its line is a SKIP that says so.
func receive(b *testing.B, c net.Conn) {
	b.SetBytes(link.BufferSize)
	began := processorTime()
	buf := make([]byte, link.BufferSize)
	for b.Loop() {
		stuck := time.AfterFunc(20*time.Second, func() { c.Close() })
		_, err := io.ReadFull(c, buf)
		if stuck.Stop(); err != nil {
			b.Skip("nothing came for 20 s: ", err)
		}
	}
	b.ReportMetric((processorTime()-began).Seconds()*1e9/float64(b.N)/link.BufferSize, "cpu-s/GB")
}

// BenchmarkEcho is 64 bytes there and back, alone and beside a stream that takes all it gets.
func BenchmarkEcho(b *testing.B) {
	each(b, func(b *testing.B, dial dialer) { echoes(b, open(b, dial, "echo")) })
}

func BenchmarkEchoBesideStream(b *testing.B) {
	each(b, func(b *testing.B, dial dialer) {
		bulk := open(b, dial, "bulk")
		go func() { _, _ = io.Copy(io.Discard, bulk) }()
		echoes(b, open(b, dial, "echo"))
	})
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
	b.ReportMetric(0, "ns/op")
	for name, q := range map[string]float64{"p50-ms": 0.5, "p99-ms": 0.99} {
		b.ReportMetric(float64(took[int(q*float64(len(took)-1))].Microseconds())/1000, name)
	}
}

// BenchmarkIdle tells what a connected cluster without streams costs, both ends together, kernel buffers not counted.
func BenchmarkIdle(b *testing.B) {
	const n = 200
	for _, s := range systems {
		b.Run(s.name, func(b *testing.B) {
			for range b.N { // run it once
				before := inUse()
				all := s.connect(b, n)
				b.ReportMetric(float64(inUse()-before)/n/1024, "KiB/cluster")
				runtime.KeepAlive(all)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

func inUse() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
