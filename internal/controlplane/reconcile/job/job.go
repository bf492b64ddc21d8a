// Package job moves jobs through their states: it tells the cluster of a job in the transaction that records it as queued,
// takes over what the cluster says of it, and lets the cluster forget it ten minutes after its end.
//
//	NotStarted ─▶ Queued ─▶ Preparing ─▶ Running ─▶ Finalizing ─▶ Completed | Failed | Canceled
//	     └──────────── any ──cancel──▶ CancelRequested ─────────────────┘
//
// Between Queued and the end the cluster's newest word counts, so a gang that starts again may go back to Queued.
package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/controlplane/desired"
	"fairlead.dev/fairlead/internal/controlplane/reconcile"
	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/controlplane/types/scan"
	"fairlead.dev/fairlead/internal/controlplane/types/trackedjob"
	"fairlead.dev/fairlead/internal/link"
)

// Keys of the work queue that are not a job's Key.
const (
	clusterPrefix  = "cluster:"  // + cluster: all its jobs
	observedPrefix = "observed:" // + cluster + " " + job/<id>
)

// Controller is the reconciler of jobs.
type Controller struct {
	d     types.Deps
	blobs Blobs
}

// New makes the controller; it uses Store, Clock, Desired, IssueRunToken and CA.
func New(d types.Deps, b Blobs) *Controller { return &Controller{d: d, blobs: b} }

var _ reconcile.Controller = (*Controller)(nil)

// Name is job.
func (c *Controller) Name() string { return "job" }

// Keys are jobs written, jobs of which a cluster spoke, and clusters whose state or extension changed.
func (c *Controller) Keys(ch store.Change) []string {
	switch {
	case ch.Kind == "observed" && !ch.Deleted && strings.HasPrefix(ch.Type, link.PrefixJob):
		return []string{observedPrefix + ch.Key + " " + ch.Type}
	case ch.Kind == "resource" && !ch.Deleted && ch.Type == runstate.JobType:
		return []string{ch.Key}
	}
	if cluster, ok := clusterstate.Changed(ch); ok {
		return []string{clusterPrefix + cluster}
	}
	return nil
}

// All lists the jobs that no cluster was told of yet and those that clusters know; it does not read those long ended.
func (c *Controller) All(ctx context.Context) ([]string, error) {
	keys, err := c.inMap(ctx, runstate.Outbox)
	if err != nil {
		return nil, err
	}
	connected, err1 := scan.Keys(ctx, c.d.Store, clusterstate.ClusterType)
	managed, err2 := scan.Keys(ctx, c.d.Store, clusterstate.ManagedType)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	for _, cluster := range slices.Concat(connected, managed) {
		more, err := c.inMap(ctx, cluster)
		if err != nil {
			return nil, err
		}
		keys = append(keys, more...)
	}
	return keys, nil
}

// inMap lists the jobs in a cluster's desired map, or in the outbox.
func (c *Controller) inMap(ctx context.Context, cluster string) ([]string, error) {
	entries, err := c.d.Store.Desired(ctx, cluster, link.PrefixJob, 0)
	if err != nil {
		return nil, fmt.Errorf("reading jobs of %s: %w", cluster, err)
	}
	keys := make([]string, 0, len(entries))
	for _, e := range entries {
		key, err := resourceOf(cluster, e)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// resourceOf is the Key of the job that an entry of a map speaks of. It needs no opening.
func resourceOf(cluster string, e store.Entry) (string, error) {
	var v struct{ Resource, Job string } // link.Job, sealed or not, or runstate.OutboxEntry
	if err := json.Unmarshal(e.Value, &v); err != nil {
		return "", fmt.Errorf("decoding %s of %s: %w", e.Key, cluster, err)
	}
	return strings.ToLower(v.Resource + v.Job), nil
}

// Reconcile takes the next step of one job, or of all jobs of a cluster.
func (c *Controller) Reconcile(ctx context.Context, key string) (reconcile.Result, error) {
	if cluster, ok := strings.CutPrefix(key, clusterPrefix); ok {
		keys, err := c.inMap(ctx, cluster)
		errs := []error{err}
		for _, k := range keys {
			_, err := c.one(ctx, k)
			errs = append(errs, err)
		}
		return reconcile.Result{}, errors.Join(errs...)
	}
	if rest, ok := strings.CutPrefix(key, observedPrefix); ok {
		return c.heard(ctx, rest)
	}
	return c.one(ctx, key)
}

// heard finds the job that a cluster spoke of. What it says of a job that it shall forget is dropped.
func (c *Controller) heard(ctx context.Context, rest string) (reconcile.Result, error) {
	cluster, key, _ := strings.Cut(rest, " "+link.PrefixJob)
	e, err := desired.Find(ctx, c.d.Store, cluster, link.PrefixJob+key)
	if err == nil {
		job, err := resourceOf(cluster, e)
		if err != nil {
			return reconcile.Result{}, err
		}
		return c.one(ctx, job)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, c.d.Store.Update(ctx, func(tx store.Tx) error {
		if _, err := desired.Find(ctx, tx, cluster, link.PrefixJob+key); !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return tx.DeleteObserved(ctx, cluster, link.PrefixJob+key)
	})
}

func (c *Controller) one(ctx context.Context, key string) (reconcile.Result, error) {
	rec, err := c.d.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading job %s: %w", key, err)
	}
	in, err := c.observe(ctx, rec)
	if err != nil {
		return reconcile.Result{}, err
	}
	out := plan(in)
	if out.clear {
		switch more, err := c.clear(ctx, rec, in.state); {
		case err != nil:
			return reconcile.Result{}, fmt.Errorf("deleting what pods of job %s shared: %w", key, err)
		case more: // other jobs first
			return reconcile.Result{RequeueAfter: clearAgain}, nil
		}
	}
	var secret map[string]string
	if out.token {
		if secret, err = c.secrets(ctx, rec, in.state, out.state.JobID); err != nil {
			return reconcile.Result{}, fmt.Errorf("preparing job %s: %w", key, err)
		}
	}
	if err := c.apply(ctx, rec, in, out, secret); err != nil {
		return reconcile.Result{}, fmt.Errorf("writing job %s: %w", key, err)
	}
	return reconcile.Result{RequeueAfter: out.again}, nil
}

func (c *Controller) observe(ctx context.Context, rec store.Record) (input, error) {
	in := input{now: c.d.Clock(), id: runstate.ID(rec.Key, rec.Seq)}
	var err error
	if in.state, err = runstate.Decode(rec); err != nil {
		return in, err
	}
	if in.view, err = runstate.Read(rec); err != nil {
		return in, err
	}
	if in.facts, err = clusterstate.State(ctx, c.d.Store, in.state.Cluster, in.now); err != nil {
		return in, err
	}
	if in.state.JobID == "" {
		return in, nil
	}
	if _, err := desired.Find(ctx, c.d.Store, in.state.Cluster, link.PrefixJob+in.id); errors.Is(err, store.ErrNotFound) {
		in.lost = true
	} else if err != nil {
		return in, err
	}
	e, err := c.d.Store.Observed(ctx, in.state.Cluster, link.PrefixJob+in.id)
	if errors.Is(err, store.ErrNotFound) {
		return in, nil
	}
	if err != nil {
		return in, fmt.Errorf("reading status of job %s: %w", rec.Key, err)
	}
	in.observed = &link.JobStatus{}
	if err := json.Unmarshal(e.Value, in.observed); err != nil {
		return in, fmt.Errorf("decoding status of job %s: %w", rec.Key, err)
	}
	return in, nil
}

// apply writes the job and what the cluster shall know of it in one transaction.
func (c *Controller) apply(ctx context.Context, rec store.Record, in input, out output, secret map[string]string) error {
	next, changed, err := runstate.Write(rec, out.state, out.view)
	if err != nil {
		return err
	}
	if !changed && secret == nil && !out.cancel && !out.remove {
		return nil
	}
	if secret != nil { // the cluster is told of it
		if err := trackedjob.Revive(ctx, c.d.Store, rec.Name, out.state); err != nil {
			return fmt.Errorf("restoring the experiment of job %s: %w", rec.Key, err)
		}
	}
	return c.d.Store.Update(ctx, func(tx store.Tx) error {
		if changed {
			next := next
			next.UpdatedAt = in.now.UTC()
			if _, err := tx.Put(ctx, next); err != nil {
				return err
			}
			if err := trackedjob.State(ctx, tx, next, out.state, out.view.Status); err != nil {
				return err
			}
		}
		return c.tell(ctx, tx, rec, out, secret)
	})
}

// tell brings the cluster's desired map in line.
func (c *Controller) tell(ctx context.Context, tx store.Tx, rec store.Record, out output, secret map[string]string) error {
	cluster, key := out.state.Cluster, link.PrefixJob+out.state.JobID
	if secret == nil && (out.cancel || out.started) {
		j, err := c.desired(ctx, tx, cluster, out.state.JobID)
		if err != nil && (out.cancel || !errors.Is(err, seal.ErrSealed)) { // that it has started can be told without
			return err
		}
		secret = j.Secret
	}
	if secret != nil {
		value, err := build(rec, out.state, secret)
		if err != nil {
			return err
		}
		if err := c.d.Desired.Put(ctx, tx, cluster, key, value); err != nil {
			return err
		}
	}
	if out.remove && out.state.JobID != "" {
		if err := errors.Join(tx.DeleteDesired(ctx, cluster, key), tx.DeleteObserved(ctx, cluster, key)); err != nil {
			return err
		}
	}
	if secret != nil || out.remove {
		return tx.DeleteDesired(ctx, runstate.Outbox, runstate.OutboxKey(rec.Key))
	}
	return nil
}
