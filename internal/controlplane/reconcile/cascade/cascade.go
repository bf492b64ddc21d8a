// Package cascade deletes what is nested in a resource that is being deleted, and then the resource.
package cascade

import (
	"context"
	"fmt"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/reconcile"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// pause is how long to wait for other reconcilers before looking again.
const pause = time.Second

// Controller works on the records of engine.TypeCascade.
type Controller struct{ engine *engine.Engine }

// New makes the controller.
func New(e *engine.Engine) *Controller { return &Controller{engine: e} }

// Name is "cascade".
func (c *Controller) Name() string { return "cascade" }

// Keys picks new deletions.
func (c *Controller) Keys(ch store.Change) []string {
	if ch.Kind == "resource" && ch.Type == engine.TypeCascade && !ch.Deleted {
		return []string{ch.Key}
	}
	return nil
}

// All lists the deletions that have not finished.
func (c *Controller) All(ctx context.Context) ([]string, error) {
	var keys []string
	for after := int64(0); ; {
		recs, err := c.engine.Store.List(ctx, store.Query{Type: engine.TypeCascade, AnyParent: true, After: after, Limit: 1000})
		if err != nil {
			return nil, fmt.Errorf("listing deletions: %w", err)
		}
		for _, rec := range recs {
			keys, after = append(keys, rec.Key), rec.Seq
		}
		if len(recs) < 1000 {
			return keys, nil
		}
	}
}

// Reconcile takes one step.
func (c *Controller) Reconcile(ctx context.Context, key string) (reconcile.Result, error) {
	for {
		done, progress, err := c.engine.CascadeStep(ctx, key)
		switch {
		case err != nil:
			return reconcile.Result{}, err
		case done:
			return reconcile.Result{}, nil
		case !progress:
			return reconcile.Result{RequeueAfter: pause}, nil
		}
	}
}
