package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/operation"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// cascadeBatch is how many nested resources one step looks at.
const cascadeBatch = 500

// CascadeStep takes the deletion kept in record key one step further: it removes nested resources, and at last the resource
// itself. It returns done when the deletion needs no further step, and progress when calling again at
// once makes sense; otherwise nested resources wait for their own reconcilers.
func (e *Engine) CascadeStep(ctx context.Context, key string) (done, progress bool, err error) {
	item, err := e.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return true, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("reading %s: %w", key, err)
	}
	var c cascade
	if err := json.Unmarshal(item.Body, &c); err != nil {
		return false, false, fmt.Errorf("decoding %s: %w", key, err)
	}
	inside, err := e.list(ctx, e.Store, store.Query{Parent: c.Key}, cascadeBatch)
	if err != nil {
		return false, false, err
	}
	if len(inside) == 0 {
		return true, false, e.endCascade(ctx, key, c)
	}
	removed, waiting, refusal := e.removeAll(ctx, c, inside)
	if removed > 0 || waiting > 0 || ctx.Err() != nil {
		return false, removed > 0, ctx.Err()
	}
	return true, false, e.failCascade(ctx, key, c, refusal)
}

// removeAll removes each record, with what is in it, in a transaction of its own: one refusal does not keep the others, and
// what was refused because another uses it is tried again in the next step. They go side by side, which lets the store write
// them together.
func (e *Engine) removeAll(ctx context.Context, c cascade, recs []store.Record) (removed, waiting int, refusal error) {
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(32)
	for _, rec := range recs {
		if deleting(rec) {
			waiting++
			continue
		}
		g.Go(func() error {
			id, err := arm.ParseID(rec.ID)
			var res DeleteResult
			if err == nil {
				res, err = e.Delete(ctx, DeleteRequest{ID: id, Principal: c.Principal, Force: c.Force})
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				refusal = err
			case res.Operation != nil:
				waiting++
			default:
				removed++
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return removed, waiting, err
	}
	return removed, waiting, refusal
}

// endCascade removes the emptied resource, or hands it to its type's reconciler.
func (e *Engine) endCascade(ctx context.Context, key string, c cascade) error {
	var touched string
	var refused error
	err := e.Store.Update(ctx, func(tx store.Tx) error {
		refused = nil
		if err := tx.Delete(ctx, key); err != nil {
			return fmt.Errorf("deleting %s: %w", key, err)
		}
		rec, err := tx.Get(ctx, c.Key)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", c.Key, err)
		}
		touched = rec.Type
		if c.Wait {
			return nil // The record is marked and its operation runs; the type's reconciler finishes both.
		}
		if t, ok := e.Registry.Lookup(rec.Type); ok && rec.Type == TypeResourceGroup {
			d := &deletion{e: e, tx: tx, req: DeleteRequest{Principal: c.Principal, Force: c.Force}}
			if _, err := d.remove(ctx, t, rec, &store.Operation{ID: c.Operation, Key: c.Key, Status: arm.StateDeleting}); err != nil {
				refused = err
				return err
			}
		}
		return operation.FinishDeleteAt(ctx, tx, rec, e.now())
	})
	if refused != nil {
		return e.failCascade(ctx, key, c, refused)
	}
	if err != nil {
		return err
	}
	e.committed(touched)
	return nil
}

// failCascade ends the deletion with the reason why something in the resource can't go.
func (e *Engine) failCascade(ctx context.Context, key string, c cascade, cause error) error {
	return e.Store.Update(ctx, func(tx store.Tx) error {
		if err := tx.Delete(ctx, key); err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("deleting %s: %w", key, err)
		}
		rec, err := tx.Get(ctx, c.Key)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", c.Key, err)
		}
		_, err = operation.FinishAt(ctx, tx, rec, c.Operation, arm.StateFailed, cause, e.now())
		return err
	})
}
