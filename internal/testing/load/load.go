// Package load drives a system under benchmark: in a closed loop, or at a constant rate that does not slow down with the system.
package load

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Senders is how many requests are under way at most.
const Senders = 64

// Run does b.N requests and reports how many were done in a second, and their latency. rate is requests a second, 0 for a closed
// loop: each sender begins its next request when its last is answered. At a rate, latency counts from when a request was
// due, so that a stall is charged to everyone who waited behind it. unit names what is counted, such as "submits/s".
func Run(b *testing.B, rate int, unit string, request func() error) {
	b.Helper()
	var next atomic.Int64
	latencies := make([]time.Duration, b.N)
	begin := time.Now()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range Senders {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				due := time.Now()
				if rate > 0 {
					due = begin.Add(time.Duration(i) * time.Second / time.Duration(rate))
					<-time.After(time.Until(due))
				}
				if err := request(); err != nil {
					b.Error(err)
					return
				}
				latencies[i] = time.Since(due)
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), unit)
	Report(b, latencies)
}

// Report reports the median, the 99th percentile and the maximum of latencies, in place of the time of one iteration.
func Report(b *testing.B, latencies []time.Duration) {
	b.Helper()
	slices.Sort(latencies)
	at := func(p float64) float64 {
		return float64(latencies[int(p*float64(len(latencies)-1))].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.50), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
	b.ReportMetric(0, "ns/op")
}
