// Package extension follows the installation of extensions and ends their operations:
//
//	Creating|Updating ──Installed──▶ Succeeded      Deleting ──Removed──▶ gone
//	                  ──Failed─────▶ Failed                  ──15 min──▶ Failed
//	                  ──48 h───────▶ Failed
//
// The transaction that accepted a PUT or DELETE has already written what the cluster shall have.
package extension

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/operation"
	"fairlead.dev/fairlead/internal/controlplane/reconcile"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/scan"
	"fairlead.dev/fairlead/internal/link"
)

const clusterPrefix = "cluster:"

// Controller is the reconciler of extensions.
type Controller struct{ d types.Deps }

// New makes the controller; it uses Store and Clock.
func New(d types.Deps) *Controller { return &Controller{d: d} }

var _ reconcile.Controller = (*Controller)(nil)

// Name is extension.
func (c *Controller) Name() string { return "extension" }

// Keys are extensions written, extensions of which a cluster spoke, and clusters whose state changed.
func (c *Controller) Keys(ch store.Change) []string {
	switch {
	case ch.Kind == "observed" && strings.HasPrefix(ch.Type, link.PrefixExtension):
		return []string{clusterstate.ExtensionKey(ch.Key, strings.TrimPrefix(ch.Type, link.PrefixExtension))}
	case ch.Deleted || ch.Kind != "resource":
	case ch.Type == clusterstate.ExtensionType:
		return []string{ch.Key}
	case clusterstate.IsCluster(ch.Type):
		return []string{clusterPrefix + ch.Key}
	}
	return nil
}

// All lists every extension.
func (c *Controller) All(ctx context.Context) ([]string, error) {
	return scan.Keys(ctx, c.d.Store, clusterstate.ExtensionType)
}

// Reconcile follows one extension, or all of one cluster.
func (c *Controller) Reconcile(ctx context.Context, key string) (reconcile.Result, error) {
	cluster, ok := strings.CutPrefix(key, clusterPrefix)
	if !ok {
		return c.one(ctx, key)
	}
	recs, err := c.d.Store.List(ctx, store.Query{Type: clusterstate.ExtensionType, Parent: cluster, Limit: 1000})
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("listing extensions of %s: %w", cluster, err)
	}
	var errs []error
	for _, rec := range recs {
		_, err := c.one(ctx, rec.Key)
		errs = append(errs, err)
	}
	return reconcile.Result{}, errors.Join(errs...)
}

func (c *Controller) one(ctx context.Context, key string) (reconcile.Result, error) {
	rec, err := c.d.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading extension %s: %w", key, err)
	}
	in, err := c.observe(ctx, rec)
	if err != nil {
		return reconcile.Result{}, err
	}
	out := plan(in)
	if err := c.apply(ctx, rec, in, out); err != nil {
		return reconcile.Result{}, fmt.Errorf("writing extension %s: %w", key, err)
	}
	return reconcile.Result{RequeueAfter: out.again}, nil
}

func (c *Controller) observe(ctx context.Context, rec store.Record) (input, error) {
	in := input{now: c.d.Clock(), state: operation.State(rec.Body), since: rec.UpdatedAt}
	ops, err := operation.Pending(ctx, c.d.Store, rec.Key)
	if err != nil {
		return in, err
	}
	if len(ops) > 0 {
		in.since = ops[len(ops)-1].StartedAt
	}
	var internal types.ExtensionInternal
	if err := json.Unmarshal(rec.Internal, &internal); err != nil {
		return in, fmt.Errorf("decoding state of %s: %w", rec.Key, err)
	}
	in.generation = internal.Generation
	facts, err := clusterstate.State(ctx, c.d.Store, rec.Parent, in.now)
	if err != nil {
		return in, err
	}
	in.offline = facts.OfflineSince()
	e, err := c.d.Store.Observed(ctx, rec.Parent, link.PrefixExtension+strings.ToLower(rec.Name))
	if errors.Is(err, store.ErrNotFound) {
		return in, nil
	}
	if err != nil {
		return in, fmt.Errorf("reading status of %s: %w", rec.Key, err)
	}
	in.observed = &link.ExtensionStatus{}
	if err := json.Unmarshal(e.Value, in.observed); err != nil {
		return in, fmt.Errorf("decoding status of %s: %w", rec.Key, err)
	}
	return in, nil
}

func (c *Controller) apply(ctx context.Context, rec store.Record, in input, out output) error {
	return c.d.Store.Update(ctx, func(tx store.Tx) error {
		if out.gone {
			if err := tx.DeleteObserved(ctx, rec.Parent, link.PrefixExtension+strings.ToLower(rec.Name)); err != nil {
				return err
			}
			if err := types.ReleaseChannel(ctx, tx, rec, in.now); err != nil {
				return err
			}
			return operation.FinishDeleteAt(ctx, tx, rec, in.now)
		}
		body, changed, err := merge(rec, out)
		if err != nil {
			return err
		}
		rec := rec
		rec.Body = body
		if arm.Terminal(out.state) && out.state != in.state {
			_, err := operation.FinishAt(ctx, tx, rec, "", out.state, out.cause, in.now)
			return err
		}
		if !changed {
			return nil
		}
		rec.UpdatedAt = in.now.UTC()
		_, err = tx.Put(ctx, rec)
		return err
	})
}

// merge puts the outcome into a record's body.
func merge(rec store.Record, out output) (json.RawMessage, bool, error) {
	var body, before map[string]any
	if err := errors.Join(json.Unmarshal(rec.Body, &body), json.Unmarshal(rec.Body, &before)); err != nil {
		return nil, false, fmt.Errorf("decoding extension %s: %w", rec.Key, err)
	}
	props, ok := body["properties"].(map[string]any)
	if !ok {
		return nil, false, fmt.Errorf("extension %s has no properties", rec.Key)
	}
	props["installState"], props["statuses"], props["errorInfo"] = out.installState, out.statuses, out.errorInfo
	if out.version != "" {
		props["currentVersion"] = out.version
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, false, fmt.Errorf("encoding extension %s: %w", rec.Key, err)
	}
	var after map[string]any
	if err := json.Unmarshal(raw, &after); err != nil {
		return nil, false, fmt.Errorf("decoding extension %s: %w", rec.Key, err)
	}
	return raw, !reflect.DeepEqual(before, after), nil
}

// patience is when something that does not happen is given up.
const (
	// patienceInstall: the reference's limit for a cluster that stays away.
	patienceInstall = 48 * time.Hour
	patienceRemove  = 15 * time.Minute
	// patienceUnknown: a cluster that is online and says nothing of an extension being deleted does not have it.
	patienceUnknown = time.Minute
)
