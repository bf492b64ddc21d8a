// Package compute attaches computes: it checks, by name, all that must be there for a job to run, and ends the operation.
package compute

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/operation"
	"fairlead.dev/fairlead/internal/controlplane/reconcile"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/scan"
)

// fullType is that of computes, lower case.
const fullType = "microsoft.machinelearningservices/workspaces/computes"

// poll is how often a compute that waits for something is looked at.
const poll = time.Second

// Controller is the reconciler of computes.
type Controller struct{ d types.Deps }

// New makes the controller; it uses Store and Clock.
func New(d types.Deps) *Controller { return &Controller{d: d} }

var _ reconcile.Controller = (*Controller)(nil)

// Name is compute.
func (c *Controller) Name() string { return "compute" }

// Keys are computes written.
func (c *Controller) Keys(ch store.Change) []string {
	if ch.Kind == "resource" && ch.Type == fullType && !ch.Deleted {
		return []string{ch.Key}
	}
	return nil
}

// All lists every compute.
func (c *Controller) All(ctx context.Context) ([]string, error) {
	return scan.Keys(ctx, c.d.Store, fullType)
}

// Reconcile attaches one compute.
func (c *Controller) Reconcile(ctx context.Context, key string) (reconcile.Result, error) {
	rec, err := c.d.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading compute %s: %w", key, err)
	}
	if s := operation.State(rec.Body); s != arm.StateCreating && s != arm.StateUpdating {
		return reconcile.Result{}, nil
	}
	var body struct {
		Properties machinelearning.ComputeProperties `json:"properties"`
	}
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		return reconcile.Result{}, fmt.Errorf("decoding compute %s: %w", key, err)
	}
	now := c.d.Clock()
	in := input{resourceID: body.Properties.ResourceID, waited: now.Sub(rec.UpdatedAt)}
	if body.Properties.Properties != nil {
		in.namespace = body.Properties.Properties.Namespace
		in.instanceType = body.Properties.Properties.DefaultInstanceType
	}
	if cluster, err := clusterstate.Key(in.resourceID); err != nil {
		in.idError = err
	} else if in.facts, err = clusterstate.Read(ctx, c.d.Store, cluster, now); err != nil {
		return reconcile.Result{}, err
	}
	p := check(in)
	if p != nil && in.waited < p.wait {
		return reconcile.Result{RequeueAfter: min(poll, p.wait-in.waited)}, nil
	}
	return reconcile.Result{}, c.finish(ctx, rec, p, now)
}

// finish writes the outcome and ends the operation.
func (c *Controller) finish(ctx context.Context, rec store.Record, p *problem, now time.Time) error {
	status, provisioning := arm.StateSucceeded, []arm.ErrorBody{}
	var cause error
	if p != nil {
		status, cause = arm.StateFailed, p.err
		provisioning = append(provisioning, arm.ErrorBody{Error: p.err})
	}
	body, err := withErrors(rec, provisioning)
	if err != nil {
		return err
	}
	rec.Body = body
	return c.d.Store.Update(ctx, func(tx store.Tx) error {
		_, err := operation.FinishAt(ctx, tx, rec, "", status, cause, now)
		return err
	})
}

func withErrors(rec store.Record, errs []arm.ErrorBody) (json.RawMessage, error) {
	var body map[string]any
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		return nil, fmt.Errorf("decoding compute %s: %w", rec.Key, err)
	}
	props, ok := body["properties"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("compute %s has no properties", rec.Key)
	}
	props["provisioningErrors"] = errs
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encoding compute %s: %w", rec.Key, err)
	}
	return raw, nil
}
