package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/testing/load"
)

// benchBody is about the size of a submitted job.
var benchBody = json.RawMessage(`{"properties":{"jobType":"Command","command":"` + strings.Repeat("python train.py --epochs 3 ", 30) + `"}}`)

// BenchSubmit measures durable submits in a closed loop (the most the store does) and at a paced 500 a second (what the promise
// is about).
func BenchSubmit(b *testing.B, s store.Store) {
	var n atomic.Int64
	run := func(name string, rate int) {
		b.Run(name, func(b *testing.B) {
			load.Run(b, rate, "submits/s", func() error { return submit(b.Context(), s, n.Add(1)) })
		})
	}
	run("closed loop", 0)
	run("500 a second", 500)
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
