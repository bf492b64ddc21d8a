// Package rollout follows what a cluster makes of something that serves, an online endpoint or a deployment, and ends its operations:
//
//	Creating|Updating ──Succeeded in the cluster──▶ Succeeded ◀──mended there──┐
//	                  ──Failed there, or 20 min───▶ Failed ────────────────────┘
//
// It writes the cluster's desired value as often as that is not what it should be. A removal needs nobody: the transaction of the
// DELETE takes the value away.
package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/desired"
	"fairlead.dev/fairlead/internal/controlplane/operation"
	"fairlead.dev/fairlead/internal/controlplane/reconcile"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/scan"
	"fairlead.dev/fairlead/internal/link"
)

// Keys of the work queue that are not a record's Key.
const (
	clusterPrefix  = "cluster:"  // + cluster: all that serves in it
	observedPrefix = "observed:" // + cluster + " " + key of its maps
)

// Told is what a record's state says of its place in a cluster's maps.
type Told struct{ Cluster, Key, Revision string }

// Kind is what differs between what is followed.
type Kind struct {
	// Name is the controller's, Type the full type of the records, lower case, Prefix that of their keys in clusters' maps.
	Name, Type, Prefix string
	// Told reads a record's state.
	Told func(rec store.Record) (Told, error)
	// Tell prepares the desired value outside of a transaction, given the one that is told (nil: none), and returns what writes it in one
	// and gives the record with its new state.
	Tell func(ctx context.Context, rec store.Record, old json.RawMessage) (func(ctx context.Context, tx store.Tx, rec store.Record) (store.Record, error), error)
	// Refresh is how often what is told is looked at again though nothing has changed.
	Refresh time.Duration
}

// Controller is the reconciler of one kind.
type Controller struct {
	d types.Deps
	Kind
}

// New makes a controller; it uses Store, Clock and Desired, and what the kind uses.
func New(d types.Deps, k Kind) *Controller { return &Controller{d: d, Kind: k} }

var _ reconcile.Controller = (*Controller)(nil)

// Name is the kind's.
func (c *Controller) Name() string { return c.Kind.Name }

// Keys are records written, those of which a cluster spoke, and clusters whose state or extension changed.
func (c *Controller) Keys(ch store.Change) []string {
	switch {
	case ch.Kind == "observed" && !ch.Deleted && strings.HasPrefix(ch.Type, c.Prefix):
		return []string{observedPrefix + ch.Key + " " + ch.Type}
	case ch.Kind == "resource" && ch.Type == c.Type && !ch.Deleted:
		return []string{ch.Key}
	}
	if cluster, ok := clusterstate.Changed(ch); ok {
		return []string{clusterPrefix + cluster}
	}
	return nil
}

// All lists every record.
func (c *Controller) All(ctx context.Context) ([]string, error) {
	return scan.Keys(ctx, c.d.Store, c.Type)
}

// Reconcile takes the next step of one record, or of all of a cluster.
func (c *Controller) Reconcile(ctx context.Context, key string) (reconcile.Result, error) {
	if cluster, ok := strings.CutPrefix(key, clusterPrefix); ok {
		return reconcile.Result{}, c.all(ctx, cluster)
	}
	if rest, ok := strings.CutPrefix(key, observedPrefix); ok {
		cluster, key, _ := strings.Cut(rest, " ")
		return c.heard(ctx, cluster, key)
	}
	return c.one(ctx, key)
}

func (c *Controller) all(ctx context.Context, cluster string) error {
	var errs []error
	err := scan.Each(ctx, c.d.Store, store.Query{Type: c.Type, AnyParent: true}, func(rec store.Record) (bool, error) {
		if told, err := c.Told(rec); err != nil || told.Cluster != cluster {
			return true, err
		}
		_, err := c.one(ctx, rec.Key)
		errs = append(errs, err)
		return true, nil
	})
	return errors.Join(append(errs, err)...)
}

// heard finds what a cluster spoke of. What it says of something that it shall forget is dropped.
func (c *Controller) heard(ctx context.Context, cluster, key string) (reconcile.Result, error) {
	e, err := desired.Find(ctx, c.d.Store, cluster, key)
	if err == nil {
		var v struct{ Resource string }
		if err := json.Unmarshal(e.Value, &v); err != nil {
			return reconcile.Result{}, fmt.Errorf("decoding %s of %s: %w", key, cluster, err)
		}
		resource := strings.ToLower(v.Resource)
		if _, err := c.d.Store.Get(ctx, resource); errors.Is(err, store.ErrNotFound) {
			return reconcile.Result{}, c.forget(ctx, cluster, key, resource)
		}
		return c.one(ctx, resource)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, c.forget(ctx, cluster, key, "")
}

// forget takes out of a cluster's maps what stands for no record: a value that names one (resource) that is not there, and what the
// cluster says of it, or of something that it was told of no more.
func (c *Controller) forget(ctx context.Context, cluster, key, resource string) error {
	return c.d.Store.Update(ctx, func(tx store.Tx) error {
		_, err := desired.Find(ctx, tx, cluster, key)
		if resource != "" && err == nil {
			if _, err := tx.Get(ctx, resource); !errors.Is(err, store.ErrNotFound) {
				return err
			}
			err = tx.DeleteDesired(ctx, cluster, key)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) || err == nil && resource == "" {
			return err
		}
		return tx.DeleteObserved(ctx, cluster, key)
	})
}

func (c *Controller) one(ctx context.Context, key string) (reconcile.Result, error) {
	rec, err := c.d.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading %s: %w", key, err)
	}
	if operation.State(rec.Body) == arm.StateDeleting {
		return reconcile.Result{}, nil
	}
	told, err := c.Told(rec)
	if err != nil {
		return reconcile.Result{}, err
	}
	in, err := c.observe(ctx, rec, told)
	if err != nil {
		return reconcile.Result{}, err
	}
	write := func(_ context.Context, _ store.Tx, rec store.Record) (store.Record, error) { return rec, nil }
	if in.facts.Exists {
		old, err := c.d.Desired.Get(ctx, c.d.Store, told.Cluster, told.Key)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			old = nil // one that does not open is replaced
		}
		if write, err = c.Tell(ctx, rec, old); err != nil {
			return reconcile.Result{}, fmt.Errorf("preparing %s: %w", key, err)
		}
	}
	again, err := c.apply(ctx, rec, in, write)
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("writing %s: %w", key, err)
	}
	return reconcile.Result{RequeueAfter: again}, nil
}

func (c *Controller) observe(ctx context.Context, rec store.Record, told Told) (input, error) {
	in := input{now: c.d.Clock(), state: operation.State(rec.Body), since: rec.UpdatedAt, what: c.Kind.Name}
	ops, err := operation.Pending(ctx, c.d.Store, rec.Key)
	if err != nil {
		return in, err
	}
	if len(ops) > 0 {
		in.since = ops[len(ops)-1].StartedAt
	}
	if in.facts, err = clusterstate.State(ctx, c.d.Store, told.Cluster, in.now); err != nil {
		return in, err
	}
	e, err := c.d.Store.Observed(ctx, told.Cluster, told.Key)
	if errors.Is(err, store.ErrNotFound) {
		return in, nil
	}
	if err != nil {
		return in, fmt.Errorf("reading status of %s: %w", rec.Key, err)
	}
	in.observed, in.observedAt = &link.ServingStatus{}, e.At
	if err := json.Unmarshal(e.Value, in.observed); err != nil {
		return in, fmt.Errorf("decoding status of %s: %w", rec.Key, err)
	}
	return in, nil
}

// apply writes what the cluster shall have, the record and the end of its operation in one transaction, if the record is still as it was read.
func (c *Controller) apply(ctx context.Context, rec store.Record, in input, write func(context.Context, store.Tx, store.Record) (store.Record, error)) (again time.Duration, err error) {
	err = c.d.Store.Update(ctx, func(tx store.Tx) error {
		now, err := tx.Get(ctx, rec.Key)
		if errors.Is(err, store.ErrNotFound) {
			return nil // deleted meanwhile: the cluster shall not be told of it again
		}
		if err == nil && (now.Version != rec.Version || now.Seq != rec.Seq) {
			err = store.ErrConflict
		}
		if err != nil {
			return err
		}
		next, err := write(ctx, tx, rec)
		if err != nil {
			return err
		}
		told, err := c.Told(next)
		if err != nil {
			return err
		}
		in := in
		in.revision = told.Revision
		out := plan(in)
		if again = c.Refresh; out.again > 0 {
			again = min(again, out.again)
		}
		body, changed, err := withReason(next, out)
		if err != nil {
			return err
		}
		next.Body = body
		if out.state != in.state {
			_, err := operation.FinishAt(ctx, tx, next, "", out.state, out.cause, in.now)
			return err
		}
		if !changed && string(next.Internal) == string(rec.Internal) {
			return nil
		}
		if next.UpdatedAt = rec.UpdatedAt; arm.Terminal(in.state) {
			next.UpdatedAt = in.now.UTC()
		}
		_, err = tx.Put(ctx, next)
		return err
	})
	return again, err
}

// withReason puts what a record waits for, or why it does not serve, where jobs have that too.
func withReason(rec store.Record, out output) (json.RawMessage, bool, error) {
	if out.keep {
		return rec.Body, false, nil
	}
	var body map[string]any
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		return nil, false, fmt.Errorf("decoding %s: %w", rec.Key, err)
	}
	props, ok := body["properties"].(map[string]any)
	if !ok {
		return nil, false, fmt.Errorf("%s has no properties", rec.Key)
	}
	inner, ok := props["properties"].(map[string]any)
	if !ok {
		inner = map[string]any{}
		props["properties"] = inner
	}
	before := map[string]any{}
	for k, v := range inner {
		before[k] = v
	}
	for name, text := range map[string]string{machinelearning.PropStatusReason: out.reason, machinelearning.PropStatusMessage: out.message} {
		if inner[name] = text; text == "" {
			delete(inner, name)
		}
	}
	if reflect.DeepEqual(before, inner) {
		return rec.Body, false, nil
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, false, fmt.Errorf("encoding %s: %w", rec.Key, err)
	}
	return raw, true, nil
}
