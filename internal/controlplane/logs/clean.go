package logs

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// cleanEvery is how often Run looks for what is to go.
const cleanEvery = time.Minute

// cleanBatch bounds the objects that are looked up at once.
const cleanBatch = 200

// Run deletes what is too old or too much until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(cleanEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := k.Clean(ctx); err != nil && ctx.Err() == nil {
			k.cfg.Log.Warn("deleting old logs; trying again later", "err", err)
		}
	}
}

// Clean deletes what is older than Retention, the oldest of a cluster that has more than MaxBytes, and all of a cluster that
// does not exist any more.
func (k *Keeper) Clean(ctx context.Context) error {
	usage, err := k.cfg.Store.LogUsage(ctx)
	if err != nil {
		return err
	}
	now := k.cfg.Clock()
	for _, u := range usage {
		exists, err := k.exists(ctx, u.Owner)
		if err != nil {
			return err
		}
		before, tooMuch := now.Add(-Retention), u.Bytes-k.cfg.MaxBytes
		if !exists {
			before = now.Add(time.Hour)
		}
		if err := k.cleanOwner(ctx, u.Owner, before, tooMuch); err != nil {
			return err
		}
	}
	return nil
}

func (k *Keeper) exists(ctx context.Context, owner string) (bool, error) {
	cluster, seq := clusterOf(owner)
	rec, err := k.cfg.Store.Get(ctx, cluster)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return strconv.FormatInt(rec.Seq, 10) == seq, err
}

// cleanOwner deletes objects last written before a time, and more, oldest first, until tooMuch bytes are gone.
func (k *Keeper) cleanOwner(ctx context.Context, owner string, before time.Time, tooMuch int64) error {
	for {
		old, err := k.cfg.Store.OldLogs(ctx, owner, k.cfg.Clock().Add(time.Hour), cleanBatch)
		if err != nil {
			return err
		}
		gone := 0
		for _, o := range old {
			if !o.Updated.Before(before) && tooMuch <= 0 {
				break
			}
			if err := k.delete(ctx, o); err != nil {
				return err
			}
			gone, tooMuch = gone+1, tooMuch-o.Bytes
		}
		if gone < cleanBatch {
			return k.cfg.Store.Update(ctx, func(tx store.Tx) error { return tx.DeleteLogStreams(ctx, owner, before) })
		}
	}
}

// delete removes the blob before its row.
func (k *Keeper) delete(ctx context.Context, o store.LogObject) error {
	if err := k.cfg.Blobs.Delete(ctx, blobAccount, container(o.Owner), o.ID); err != nil {
		return fmt.Errorf("deleting lines of %s: %w", o.Owner, err)
	}
	return k.cfg.Store.Update(ctx, func(tx store.Tx) error { return tx.DeleteLogObject(ctx, o.Owner, o.ID) })
}
