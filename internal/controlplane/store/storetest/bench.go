package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// benchBody is about the size of a submitted job.
var benchBody = json.RawMessage(`{"properties":{"jobType":"Command","command":"` + strings.Repeat("python train.py --epochs 3 ", 30) + `"}}`)

// BenchSubmit measures durable submits from 64 writers at once: closed loop (each writer begins its next submit when
// the last is durable: the most the store does) and at a paced 500 a second (what the promise is about).
func BenchSubmit(b *testing.B, s store.Store) {
	var n atomic.Int64
	b.Run("closed loop", func(b *testing.B) { benchSubmit(b, s, &n, 0) })
	b.Run("500 a second", func(b *testing.B) { benchSubmit(b, s, &n, 500) })
}

// benchSubmit runs b.N submits from 64 writers; rate is submits a second, 0 for as fast as can be. Latency counts from
// when a submit was due, so that a stall is charged to everyone who waited behind it.
func benchSubmit(b *testing.B, s store.Store, n *atomic.Int64, rate int) {
	const writers = 64
	var next atomic.Int64
	latencies := make([]time.Duration, b.N)
	ctx := context.Background()
	begin := time.Now()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range writers {
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
				if err := submit(ctx, s, n.Add(1)); err != nil {
					b.Error(err)
					return
				}
				latencies[i] = time.Since(due)
			}
		})
	}
	wg.Wait()
	took := time.Since(begin)
	slices.Sort(latencies)
	at := func(p float64) float64 { return float64(latencies[int(p*float64(b.N-1))].Microseconds()) / 1000 }
	b.ReportMetric(float64(b.N)/took.Seconds(), "submits/s")
	b.ReportMetric(at(0.50), "p50-ms")
	b.ReportMetric(at(0.99), "p99-ms")
	b.ReportMetric(at(1), "max-ms")
}

// submit is the writes of one job: its record, its operation, its desired entry, and their changes.
func submit(ctx context.Context, s store.Store, n int64) error {
	r := job(fmt.Sprintf("bench-%d", n))
	r.Body = benchBody
	return s.Update(ctx, func(tx store.Tx) error {
		r, err := tx.Put(ctx, r)
		if err != nil {
			return err
		}
		err = tx.PutOperation(ctx, store.Operation{ID: r.Name, Key: r.Key, Status: "Creating", StartedAt: epoch})
		if err != nil {
			return err
		}
		return tx.PutDesired(ctx, cluster, "job/"+r.Name, benchBody)
	})
}

// BenchList measures a page of 50 of many jobs: the first, newest first; one in the middle; every job of a
// subscription, wherever; and active and archived together.
func BenchList(b *testing.B, s store.Store, jobs int) {
	seed(b, s, jobs)
	ctx := context.Background()
	middle, err := s.Get(ctx, job(seedName(jobs/2)).Key)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		q    store.Query
	}{
		{"first page", store.Query{Type: jobType, Parent: workspace, Descending: true}},
		{"middle page", store.Query{Type: jobType, Parent: workspace, Descending: true, After: middle.Seq}},
		{"any parent", store.Query{Type: jobType, AnyParent: true, Prefix: "/subscriptions/s/"}},
		{"archived too", store.Query{Type: jobType, Parent: workspace, Descending: true, IncludeArchived: true}},
	} {
		c.q.Limit = 50
		b.Run(c.name, func(b *testing.B) {
			var worst time.Duration
			for b.Loop() {
				begin := time.Now()
				page, err := s.List(ctx, c.q)
				if err != nil || len(page) != 50 {
					b.Fatalf("%d records, %v", len(page), err)
				}
				worst = max(worst, time.Since(begin))
			}
			b.ReportMetric(float64(worst.Microseconds())/1000, "max-ms")
		})
	}
}

func seedName(i int) string { return fmt.Sprintf("seed-%07d", i) }

// seed writes jobs, one in ten of them archived.
func seed(b *testing.B, s store.Store, jobs int) {
	const chunk = 5000
	ctx := context.Background()
	for from := 0; from < jobs; from += chunk {
		err := s.Update(ctx, func(tx store.Tx) error {
			for i := from; i < min(from+chunk, jobs); i++ {
				r := job(seedName(i))
				r.Body, r.Archived = benchBody, i%10 == 9
				if _, err := tx.Put(ctx, r); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
