// Package cluster keeps clusters' records up to date with their heartbeats:
//
//	Connecting ──heartbeat──▶ Connected ──30 s without──▶ Offline ──heartbeat──▶ Connected
//	                          any of them ──certificate's end──▶ Expired
//
// The record is written when the state or the cluster's figures change, not at each heartbeat; a GET computes the state anew.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/hybridkubernetes"
	"fairlead.dev/fairlead/internal/controlplane/reconcile"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/scan"
	"fairlead.dev/fairlead/internal/link"
)

// pollOffline is how often an offline cluster is looked at: a heartbeat equal to the last one before logs no change.
const pollOffline = 5 * time.Second

// Controller is the reconciler of connected and managed clusters.
type Controller struct{ d types.Deps }

// New makes the controller; it uses Store and Clock.
func New(d types.Deps) *Controller { return &Controller{d: d} }

var _ reconcile.Controller = (*Controller)(nil)

// Name is cluster.
func (c *Controller) Name() string { return "cluster" }

// Keys are clusters written and clusters whose heartbeat changed.
func (c *Controller) Keys(ch store.Change) []string {
	switch {
	case ch.Deleted:
	case ch.Kind == "resource" && clusterstate.IsCluster(ch.Type), ch.Kind == "observed" && ch.Type == link.KeyCluster:
		return []string{ch.Key}
	}
	return nil
}

// All lists every cluster.
func (c *Controller) All(ctx context.Context) ([]string, error) {
	connected, err1 := scan.Keys(ctx, c.d.Store, clusterstate.ClusterType)
	managed, err2 := scan.Keys(ctx, c.d.Store, clusterstate.ManagedType)
	return append(connected, managed...), errors.Join(err1, err2)
}

// plan decides the state and when to look again; 0 is at the next change only.
func plan(now, seen, certEnd time.Time) (state string, again time.Duration) {
	state = clusterstate.Connectivity(now, seen, certEnd)
	switch state {
	case hybridkubernetes.Connected:
		again = seen.Add(clusterstate.OfflineAfter).Sub(now)
	case hybridkubernetes.Offline:
		again = pollOffline
	case hybridkubernetes.Expired:
		return state, 0
	}
	if left := certEnd.Sub(now); !certEnd.IsZero() && (again == 0 || left < again) {
		again = left
	}
	return state, again
}

// Reconcile writes the state and figures of one cluster when they changed.
func (c *Controller) Reconcile(ctx context.Context, key string) (reconcile.Result, error) {
	rec, err := c.d.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading cluster %s: %w", key, err)
	}
	st, seen, err := clusterstate.Heartbeat(ctx, c.d.Store, key)
	if err != nil {
		return reconcile.Result{}, err
	}
	state, again := plan(c.d.Clock(), seen, clusterstate.CertificateEnd(rec))
	body, changed, err := merge(rec, state, st, seen)
	if err != nil {
		return reconcile.Result{}, err
	}
	if changed {
		rec.Body, rec.UpdatedAt = body, c.d.Clock().UTC()
		if err := c.d.Store.Update(ctx, func(tx store.Tx) error {
			_, err := tx.Put(ctx, rec)
			return err
		}); err != nil {
			return reconcile.Result{}, fmt.Errorf("writing cluster %s: %w", key, err)
		}
	}
	return reconcile.Result{RequeueAfter: again}, nil
}

// merge puts state and figures into a record's body.
func merge(rec store.Record, state string, st link.ClusterStatus, seen time.Time) (json.RawMessage, bool, error) {
	var body map[string]any
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		return nil, false, fmt.Errorf("decoding cluster %s: %w", rec.Key, err)
	}
	props, ok := body["properties"].(map[string]any)
	if !ok {
		return nil, false, fmt.Errorf("cluster %s has no properties", rec.Key)
	}
	want := map[string]any{"connectivityStatus": state}
	if !seen.IsZero() {
		for k, v := range types.ClusterFields(st) {
			want[k] = v
		}
	}
	changed := false
	for k, v := range want {
		if n, ok := v.(int); ok {
			v = float64(n)
		}
		if !reflect.DeepEqual(props[k], v) {
			props[k], changed = v, true
		}
	}
	if !changed {
		return rec.Body, false, nil
	}
	if !seen.IsZero() {
		props["lastConnectivityTime"] = arm.FormatTime(seen)
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, false, fmt.Errorf("encoding cluster %s: %w", rec.Key, err)
	}
	return raw, true, nil
}
