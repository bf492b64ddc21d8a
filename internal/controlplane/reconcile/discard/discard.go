// Package discard deletes what deleted jobs and workspaces left in the blob front: a job's artifacts at once, unless a model
// or data asset names them; a workspace's account when the last signature for it has expired. Nothing waits for it: names
// that are used again get other folders and accounts.
package discard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/reconcile"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/account"
	"fairlead.dev/fairlead/internal/controlplane/types/scan"
)

// Blobs is the part of the blob front that deletes.
type Blobs interface {
	DeleteFolder(ctx context.Context, account, container, folder string) error
	DeleteAccount(ctx context.Context, account string) error
}

// Controller works on the records of package account.
type Controller struct {
	store store.Store
	blobs Blobs
	clock func() time.Time
}

// New makes the controller.
func New(s store.Store, b Blobs, clock func() time.Time) *Controller {
	return &Controller{store: s, blobs: b, clock: clock}
}

var _ reconcile.Controller = (*Controller)(nil)

// Name is discard.
func (c *Controller) Name() string { return "discard" }

// Keys are accounts and names of deleted jobs that were written.
func (c *Controller) Keys(ch store.Change) []string {
	if ch.Kind == "resource" && !ch.Deleted && (ch.Type == account.Type || ch.Type == account.TypeUse) {
		return []string{ch.Key}
	}
	return nil
}

// All lists the accounts of deleted workspaces and the names that have something to discard.
func (c *Controller) All(ctx context.Context) ([]string, error) {
	var keys []string
	for _, q := range []store.Query{{Type: account.Type, OnlyArchived: true}, {Type: account.TypeUse}} {
		for q.AnyParent, q.Limit = true, 1000; ; {
			recs, err := c.store.List(ctx, q)
			if err != nil {
				return nil, fmt.Errorf("listing %s: %w", q.Type, err)
			}
			for _, rec := range recs {
				keys, q.After = append(keys, rec.Key), rec.Seq
			}
			if len(recs) < q.Limit {
				break
			}
		}
	}
	return keys, nil
}

// Reconcile deletes what one record speaks of.
func (c *Controller) Reconcile(ctx context.Context, key string) (reconcile.Result, error) {
	rec, err := c.store.Get(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return reconcile.Result{}, nil
	case err != nil:
		return reconcile.Result{}, fmt.Errorf("reading %s: %w", key, err)
	case rec.Type == account.TypeUse:
		return reconcile.Result{}, c.artifacts(ctx, rec)
	case rec.Archived:
		return c.account(ctx, rec)
	}
	return reconcile.Result{}, nil
}

// artifacts deletes those of deleted jobs. Outputs stay: data assets and other jobs use them as places of their own.
func (c *Controller) artifacts(ctx context.Context, rec store.Record) error {
	acct, folders, err := account.ToDiscard(rec)
	if err != nil || len(folders) == 0 {
		return err
	}
	workspace, err := account.Workspace(ctx, c.store, acct)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	for _, f := range folders {
		at := types.ArtifactsPath(f)
		named, err := c.named(ctx, workspace, at+"/", at+`"`, "azureml://jobs/"+rec.Name+"/")
		if err == nil && !named && workspace != "" { // without workspace all of the account goes
			err = c.blobs.DeleteFolder(ctx, acct, types.ArtifactContainer, at)
		}
		if err != nil {
			return fmt.Errorf("discarding artifacts of run %s: %w", rec.Name, err)
		}
	}
	return c.store.Update(ctx, func(tx store.Tx) error { return account.Discarded(ctx, tx, rec.Key, folders, c.clock().UTC()) })
}

// named reports whether a model or data asset of the workspace speaks of the artifacts in one of these ways.
func (c *Controller) named(ctx context.Context, workspace string, ways ...string) (bool, error) {
	found := false
	for _, t := range []string{"models", "data"} {
		q := store.Query{Type: "microsoft.machinelearningservices/workspaces/" + t + "/versions", AnyParent: true, Prefix: workspace + "/"}
		err := scan.Each(ctx, c.store, q, func(rec store.Record) (bool, error) {
			body := string(rec.Body)
			found = slices.ContainsFunc(ways, func(s string) bool { return strings.Contains(body, s) })
			return !found, nil
		})
		if found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// account deletes the storage of a deleted workspace.
func (c *Controller) account(ctx context.Context, rec store.Record) (reconcile.Result, error) {
	if left := types.SASTTL - c.clock().Sub(rec.UpdatedAt); left > 0 {
		return reconcile.Result{RequeueAfter: left}, nil
	}
	owner, err := account.Owner(rec)
	if err != nil {
		return reconcile.Result{}, err
	}
	ws, err := c.store.Get(ctx, owner)
	if err == nil && types.StorageAccountOf(ws) == rec.Name { // its deletion has not finished, or failed
		return reconcile.Result{RequeueAfter: types.SASTTL}, nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return reconcile.Result{}, fmt.Errorf("reading workspace %s: %w", owner, err)
	}
	if err := c.blobs.DeleteAccount(ctx, rec.Name); err != nil {
		return reconcile.Result{}, err
	}
	var names []string
	err = scan.Each(ctx, c.store, store.Query{Type: account.TypeUse, Parent: rec.Key}, func(r store.Record) (bool, error) {
		names = append(names, r.Key)
		return true, nil
	})
	if err != nil {
		return reconcile.Result{}, err
	}
	for _, key := range append(names, rec.Key) {
		err := c.store.Update(ctx, func(tx store.Tx) error { return tx.Delete(ctx, key) })
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return reconcile.Result{}, fmt.Errorf("deleting %s: %w", key, err)
		}
	}
	return reconcile.Result{}, nil
}
