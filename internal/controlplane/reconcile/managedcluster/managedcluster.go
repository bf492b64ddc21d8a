// Package managedcluster takes clusters by their kubeconfigs: it installs the agent through it, once for each generation, and from
// there on the cluster is like a connected one.
//
//	PUT ──▶ Creating ──claim, inspect, key, install──▶ installed ──heartbeat──▶ Succeeded      DELETE ──▶ Deleting ──uninstall──▶ gone
//	                  └── the reason ──▶ Failed            └── 10 min: why the agent does not run ──▶ Failed   └── 15 min ──▶ Failed
//
// A claim in the record, written before anything is done, keeps the servers of one store from working on a cluster at once.
package managedcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/operation"
	"fairlead.dev/fairlead/internal/controlplane/reconcile"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/scan"
)

const (
	// work bounds one installation or removal; claim is longer, so that one that was cut off is taken over and none is doubled.
	work  = 2 * time.Minute
	claim = work + time.Minute
	// removeAgain is the pause between attempts to remove, removePatience when they end.
	removeAgain    = 15 * time.Second
	removePatience = 15 * time.Minute
)

// Controller is the reconciler of managedClusters.
type Controller struct{ d types.Deps }

// New makes the controller; it uses Store, Clock, Open, Installer and what an agent is told.
func New(d types.Deps) *Controller { return &Controller{d: d} }

var _ reconcile.Controller = (*Controller)(nil)

// Name is managedcluster.
func (c *Controller) Name() string { return "managedcluster" }

// Keys are managed clusters written.
func (c *Controller) Keys(ch store.Change) []string {
	if ch.Kind == "resource" && ch.Type == clusterstate.ManagedType && !ch.Deleted {
		return []string{ch.Key}
	}
	return nil
}

// All lists every managed cluster.
func (c *Controller) All(ctx context.Context) ([]string, error) {
	return scan.Keys(ctx, c.d.Store, clusterstate.ManagedType)
}

// Reconcile takes the next step of one cluster.
func (c *Controller) Reconcile(ctx context.Context, key string) (reconcile.Result, error) {
	rec, err := c.d.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) || c.d.Installer == nil {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading cluster %s: %w", key, err)
	}
	in := input{now: c.d.Clock(), state: operation.State(rec.Body)}
	if in.memory, err = types.ManagedState(rec); err != nil {
		return reconcile.Result{}, err
	}
	if in.key, in.heard, in.seen, err = c.agents(ctx, rec); err != nil {
		return reconcile.Result{}, err
	}
	do, again := plan(in)
	switch do {
	case install:
		err = c.install(ctx, rec)
	case succeed:
		err = c.finish(ctx, rec, nil)
	case giveUp:
		err = c.giveUp(ctx, rec)
	case uninstall:
		return c.uninstall(ctx, rec)
	case wait:
		return reconcile.Result{RequeueAfter: again}, nil
	case nothing:
		return reconcile.Result{}, nil
	}
	return reconcile.Result{}, err
}

// claimed writes the claim and gives the record with it, and the kubeconfig. store.ErrConflict: another server was quicker.
func (c *Controller) claimed(ctx context.Context, rec store.Record) (store.Record, []byte, error) {
	text, err := c.d.Open(rec.Secret)
	if err != nil {
		return rec, nil, fmt.Errorf("opening kubeconfig of %s: %w", rec.Key, err)
	}
	rec, err = c.write(ctx, rec, func(m *types.ManagedInternal, _ map[string]any) { m.Claimed = c.d.Clock().Add(claim) })
	return rec, text, err
}

// install applies the agent under the claim. The agent's key is registered before it is there, and the former one holds until an agent
// has come up with the new: an installation that fails leaves an agent that works alone.
func (c *Controller) install(ctx context.Context, rec store.Record) error {
	rec, text, err := c.claimed(ctx, rec)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, work)
	defer cancel()
	agent, cause := c.agent(rec)
	var facts types.ManagedFacts
	if cause == nil {
		facts, cause = c.inspect(limited, rec, text)
	}
	if cause == nil {
		var public string
		if agent.PrivateKeyPEM, public, cause = newKey(); cause == nil {
			if rec, err = c.write(ctx, rec, func(m *types.ManagedInternal, props map[string]any) {
				m.FormerKeys = former(m.FormerKeys, props["agentPublicKeyCertificate"])
				props["agentPublicKeyCertificate"], props["kubernetesVersion"] = public, facts.KubernetesVersion
			}); err != nil {
				return err
			}
			cause = c.d.Installer.Install(limited, text, agent)
		}
	}
	if ctx.Err() != nil { // this server stops; the next one takes over
		_, err := c.write(context.WithoutCancel(ctx), rec, func(m *types.ManagedInternal, _ map[string]any) { m.Claimed = time.Time{} })
		return errors.Join(ctx.Err(), err)
	}
	if cause != nil {
		return c.finish(ctx, rec, explain(cause, host(rec)))
	}
	_, err = c.write(ctx, rec, func(m *types.ManagedInternal, _ map[string]any) {
		m.Claimed, m.Installed, m.InstalledAt, m.UID = time.Time{}, m.Generation, c.d.Clock(), facts.UID
	})
	return err
}

func (c *Controller) inspect(ctx context.Context, rec store.Record, text []byte) (types.ManagedFacts, error) {
	facts, err := c.d.Installer.Inspect(ctx, text)
	if err != nil {
		return facts, err
	}
	m, err := types.ManagedState(rec)
	if err == nil && m.UID != "" && m.UID != facts.UID {
		err = arm.Errorf(400, "InvalidComputeNoKubernetesConfiguration", "The compute kubeconfig is invalid. It reaches another cluster than the one that %s has been until now; register that one under a name of its own.", rec.Name)
	}
	return facts, err
}

// giveUp ends an operation whose agent does not connect.
func (c *Controller) giveUp(ctx context.Context, rec store.Record) error {
	text, err := c.d.Open(rec.Secret)
	if err != nil {
		return fmt.Errorf("opening kubeconfig of %s: %w", rec.Key, err)
	}
	limited, cancel := context.WithTimeout(ctx, work)
	defer cancel()
	cause := c.d.Installer.Explain(limited, text)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return c.finish(ctx, rec, silent(cause, c.d.PublicURL))
}

// uninstall takes the agent out and ends the deletion, or tries again later.
func (c *Controller) uninstall(ctx context.Context, rec store.Record) (reconcile.Result, error) {
	rec, text, err := c.claimed(ctx, rec)
	if err != nil {
		return reconcile.Result{}, err
	}
	limited, cancel := context.WithTimeout(ctx, work)
	defer cancel()
	cause := c.d.Installer.Uninstall(limited, text, rec.ID)
	now := c.d.Clock()
	if cause == nil {
		return reconcile.Result{}, c.d.Store.Update(ctx, func(tx store.Tx) error {
			if err := types.DropMaps(ctx, tx, rec.Key); err != nil { // the agent may have spoken since
				return err
			}
			return operation.FinishDeleteAt(ctx, tx, rec, now)
		})
	}
	ops, err := operation.Pending(ctx, c.d.Store, rec.Key)
	if err != nil {
		return reconcile.Result{}, err
	}
	if len(ops) > 0 && now.Sub(ops[len(ops)-1].StartedAt) >= removePatience {
		return reconcile.Result{}, c.finish(ctx, rec, stuck(cause, host(rec)))
	}
	_, err = c.write(context.WithoutCancel(ctx), rec, func(m *types.ManagedInternal, _ map[string]any) { m.Claimed = now.Add(removeAgain) })
	return reconcile.Result{RequeueAfter: removeAgain}, err
}

// write changes a record's memory and properties.
func (c *Controller) write(ctx context.Context, rec store.Record, change func(m *types.ManagedInternal, props map[string]any)) (store.Record, error) {
	rec, err := c.changed(rec, change)
	if err != nil {
		return rec, err
	}
	err = c.d.Store.Update(ctx, func(tx store.Tx) error {
		out, err := tx.Put(ctx, rec)
		if err == nil {
			rec.Version, rec.Seq = out.Version, out.Seq
		}
		return err
	})
	if err != nil {
		return rec, fmt.Errorf("writing cluster %s: %w", rec.Key, err)
	}
	return rec, nil
}

func (c *Controller) changed(rec store.Record, change func(m *types.ManagedInternal, props map[string]any)) (store.Record, error) {
	m, err := types.ManagedState(rec)
	if err != nil {
		return rec, err
	}
	var body map[string]any
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		return rec, fmt.Errorf("decoding cluster %s: %w", rec.Key, err)
	}
	props, ok := body["properties"].(map[string]any)
	if !ok {
		return rec, fmt.Errorf("cluster %s has no properties", rec.Key)
	}
	change(&m, props)
	rawBody, err1 := json.Marshal(body)
	rawState, err2 := json.Marshal(m)
	if err := errors.Join(err1, err2); err != nil {
		return rec, fmt.Errorf("encoding cluster %s: %w", rec.Key, err)
	}
	rec.Body, rec.Internal, rec.UpdatedAt = rawBody, rawState, c.d.Clock().UTC()
	return rec, nil
}

// finish ends the operation; a nil cause is success.
func (c *Controller) finish(ctx context.Context, rec store.Record, cause *arm.Error) error {
	rec, err := c.changed(rec, func(m *types.ManagedInternal, props map[string]any) {
		m.Claimed = time.Time{}
		delete(props, "status")
		if cause != nil {
			props["status"] = map[string]any{"provisioningError": arm.ErrorBody{Error: cause}}
		} else {
			m.FormerKeys = nil
		}
	})
	if err != nil {
		return err
	}
	state, failure := arm.StateSucceeded, error(nil)
	if cause != nil {
		state, failure = arm.StateFailed, cause
	}
	return c.d.Store.Update(ctx, func(tx store.Tx) error {
		_, err := operation.FinishAt(ctx, tx, rec, "", state, failure, c.d.Clock())
		return err
	})
}
