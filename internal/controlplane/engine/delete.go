package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/operation"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// inlineLimit is how many nested resources a DELETE removes in its own transaction; more are left to the cascade.
const inlineLimit = 200

// DeleteRequest is a DELETE.
type DeleteRequest struct {
	ID        arm.ID
	Principal resource.Principal
	IfMatch   string
	Force     bool
	Query     map[string]string
}

// DeleteResult says what a DELETE found.
type DeleteResult struct {
	// Existed is false when there was nothing to delete.
	Existed bool
	// Operation is set when a reconciler still has work to do.
	Operation *store.Operation
}

// Delete removes a resource and everything in it. The type's Remove speaks first: it may refuse, and remove nested resources
// in its own way; what it leaves goes in the same transaction when it can go at once. Otherwise the resource stays with
// provisioningState Deleting until a reconciler has finished the operation. A resource group goes after what is in it, each
// resource in it in its own transaction, since they may depend on each other in any order.
func (e *Engine) Delete(ctx context.Context, req DeleteRequest) (DeleteResult, error) {
	t, err := e.TypeOf(req.ID)
	if err != nil {
		return DeleteResult{}, err
	}
	var d *deletion
	err = e.Store.Update(ctx, func(tx store.Tx) error {
		d = &deletion{e: e, tx: tx, req: req}
		return d.run(ctx, t)
	})
	if err != nil {
		return DeleteResult{}, conflict(err, req.ID)
	}
	for _, typ := range d.touched {
		e.committed(typ)
	}
	return d.res, nil
}

// deletion is one attempt of a DELETE.
type deletion struct {
	e       *Engine
	tx      store.Tx
	req     DeleteRequest
	res     DeleteResult
	touched []string
}

func (d *deletion) run(ctx context.Context, t *resource.Type) error {
	rec, err := d.tx.Get(ctx, d.req.ID.Key())
	if errors.Is(err, store.ErrNotFound) {
		return checkMatch(nil, d.req.IfMatch, "", d.req.ID)
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", d.req.ID.Key(), err)
	}
	d.res.Existed = true
	if err := checkMatch(&rec, d.req.IfMatch, "", d.req.ID); err != nil {
		return err
	}
	if deleting(rec) && !d.req.Force {
		ops, err := operation.Pending(ctx, d.tx, rec.Key)
		if err != nil {
			return err
		}
		if len(ops) > 0 {
			d.res.Operation = &ops[len(ops)-1]
			return nil
		}
	}
	return d.one(ctx, t, rec)
}

// one removes a record with what is in it.
func (d *deletion) one(ctx context.Context, t *resource.Type, rec store.Record) error {
	d.touched = append(d.touched, rec.Type)
	op := operation.New(rec.Key, arm.StateDeleting, d.e.now())
	group := rec.Type == TypeResourceGroup
	wait := false
	var err error
	if !group {
		if wait, err = d.remove(ctx, t, rec, &op); err != nil {
			return err
		}
	}
	inside, err := d.e.inside(ctx, d.tx, rec.Key, inlineLimit+1)
	if err != nil {
		return err
	}
	if len(inside) > inlineLimit || group && len(inside) > 0 || slices.ContainsFunc(inside, d.e.slow) {
		return d.beginCascade(ctx, rec, op, wait)
	}
	for _, in := range inside {
		if err := d.nested(ctx, in); err != nil {
			return err
		}
	}
	if group {
		if _, err = d.remove(ctx, t, rec, &op); err != nil {
			return err
		}
	}
	if wait {
		d.res.Operation = &op
		return d.markDeleting(ctx, rec.Key, op)
	}
	if err := operation.FinishDeleteAt(ctx, d.tx, rec, d.e.now()); err != nil {
		return err
	}
	return d.e.versionGone(ctx, d.tx, rec)
}

// nested removes a record that has nothing in it any more; what was nested deeper has gone before. Its type has no reconciler.
func (d *deletion) nested(ctx context.Context, rec store.Record) error {
	t, ok := d.e.Registry.Lookup(rec.Type)
	if !ok {
		return fmt.Errorf("deleting %s: type %q is not registered", rec.Key, rec.Type)
	}
	d.touched = append(d.touched, rec.Type)
	op := operation.New(rec.Key, arm.StateDeleting, d.e.now())
	if _, err := d.remove(ctx, t, rec, &op); err != nil {
		return err
	}
	return operation.FinishDeleteAt(ctx, d.tx, rec, d.e.now())
}

// slow reports whether removing the record may wait for a reconciler.
func (e *Engine) slow(rec store.Record) bool {
	t, ok := e.Registry.Lookup(rec.Type)
	return !ok || t.Async
}

// remove asks the type.
func (d *deletion) remove(ctx context.Context, t *resource.Type, rec store.Record, op *store.Operation) (wait bool, err error) {
	if t.Remove == nil {
		return false, nil
	}
	id, err := arm.ParseID(rec.ID)
	if err != nil {
		return false, fmt.Errorf("deleting %s: %w", rec.Key, err)
	}
	query := d.req.Query
	if query == nil {
		query = map[string]string{}
	}
	return t.Remove(ctx, &resource.Removal{Tx: d.tx, ID: id, Principal: d.req.Principal, Record: rec, Operation: op, Force: d.req.Force, Query: query})
}

// markDeleting marks the record, read again since its type may have written it while removing it.
func (d *deletion) markDeleting(ctx context.Context, key string, op store.Operation) error {
	rec, err := d.tx.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("reading %s: %w", key, err)
	}
	body, err := operation.SetState(rec.Body, arm.StateDeleting)
	if err != nil {
		return fmt.Errorf("marking %s: %w", rec.Key, err)
	}
	rec.Body, rec.UpdatedAt, rec.UpdatedBy = body, d.e.now(), resource.Author(d.req.Principal)
	if _, err := d.tx.Put(ctx, rec); err != nil {
		return fmt.Errorf("marking %s: %w", rec.Key, err)
	}
	if err := d.tx.PutOperation(ctx, op); err != nil {
		return fmt.Errorf("writing operation of %s: %w", rec.Key, err)
	}
	return nil
}

// inside lists up to limit records nested in the one with this key, the deepest first.
func (e *Engine) inside(ctx context.Context, r store.Reader, key string, limit int) ([]store.Record, error) {
	out, err := e.list(ctx, r, store.Query{AnyParent: true, Prefix: key + "/"}, limit)
	slices.SortStableFunc(out, func(a, b store.Record) int { return depth(b) - depth(a) })
	return out, err
}

// list runs a query for every type until limit records are found.
func (e *Engine) list(ctx context.Context, r store.Reader, q store.Query, limit int) ([]store.Record, error) {
	var out []store.Record
	for _, t := range e.Registry.All() {
		if t.FullType() == TypeSubscription || len(out) >= limit {
			continue
		}
		q.Type, q.Limit, q.IncludeArchived = t.FullType(), min(limit-len(out), 1000), true
		recs, err := r.List(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("listing %s in %s: %w", q.Type, q.Parent+q.Prefix, err)
		}
		out = append(out, recs...)
	}
	return out, nil
}

func depth(rec store.Record) int { return strings.Count(rec.Key, "/") }

// cascade is the work item of a deletion that waits for nested resources, kept as a record of TypeCascade.
type cascade struct {
	Key       string             `json:"key"`
	Operation string             `json:"operation"`
	Principal resource.Principal `json:"principal"`
	Force     bool               `json:"force"`
	// Wait says that the type's reconciler finishes the deletion once nothing is inside.
	Wait bool `json:"wait"`
}

func (d *deletion) beginCascade(ctx context.Context, rec store.Record, op store.Operation, wait bool) error {
	if err := d.markDeleting(ctx, rec.Key, op); err != nil {
		return err
	}
	body, err := json.Marshal(cascade{Key: rec.Key, Operation: op.ID, Principal: d.req.Principal, Force: d.req.Force, Wait: wait})
	if err != nil {
		return fmt.Errorf("encoding deletion of %s: %w", rec.Key, err)
	}
	key, now, by := "/internal/cascades/"+op.ID, d.e.now(), resource.Author(d.req.Principal)
	_, err = d.tx.Put(ctx, store.Record{Key: key, ID: key, Type: TypeCascade, Name: op.ID, Body: body, CreatedAt: now, UpdatedAt: now, CreatedBy: by, UpdatedBy: by})
	if err != nil {
		return fmt.Errorf("writing deletion of %s: %w", rec.Key, err)
	}
	d.touched = append(d.touched, TypeCascade)
	d.res.Operation = &op
	return nil
}
