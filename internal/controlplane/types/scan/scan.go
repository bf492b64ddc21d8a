// Package scan walks all records of a query, page by page.
package scan

import (
	"context"
	"fmt"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// pageSize is how many records one List asks for.
const pageSize = 1000

// Each calls fn for every record of a query, archived ones included; fn returns false to stop.
func Each(ctx context.Context, r store.Reader, q store.Query, fn func(store.Record) (bool, error)) error {
	q.Limit, q.IncludeArchived = pageSize, true
	for {
		recs, err := r.List(ctx, q)
		if err != nil {
			return fmt.Errorf("listing %s: %w", q.Type, err)
		}
		for _, rec := range recs {
			more, err := fn(rec)
			if err != nil || !more {
				return err
			}
		}
		if len(recs) < pageSize {
			return nil
		}
		q.After = recs[len(recs)-1].Seq
	}
}

// Keys lists the keys of every record of a type.
func Keys(ctx context.Context, r store.Reader, fullType string) ([]string, error) {
	var keys []string
	err := Each(ctx, r, store.Query{Type: fullType, AnyParent: true}, func(rec store.Record) (bool, error) {
		keys = append(keys, rec.Key)
		return true, nil
	})
	return keys, err
}
