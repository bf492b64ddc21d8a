package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
)

const (
	// clearAtOnce is how many blobs are deleted at the same time, half of what a server may lock at once; clearStep how many in one step,
	// which takes seconds even in a bucket that is far away; clearAgain the pause between steps.
	clearAtOnce = 8
	clearStep   = 1000
	clearAgain  = 10 * time.Millisecond
)

// Blobs is the part of the blob front that deletes.
type Blobs interface {
	List(ctx context.Context, account, container, prefix string) ([]blobs.Item, error)
	Delete(ctx context.Context, account, container, name string) error
}

// clear deletes what the pods of a batch job shared, for its results are in its output. It reports whether there is more.
func (c *Controller) clear(ctx context.Context, rec store.Record, st runstate.State) (more bool, err error) {
	ws, err := c.d.Store.Get(ctx, rec.Parent)
	if errors.Is(err, store.ErrNotFound) { // its storage goes as a whole
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading workspace %s: %w", rec.Parent, err)
	}
	account, folder := types.StorageAccountOf(ws), types.ArtifactsPath(st.RunFolder(rec.Name))+"/"+commonruntime.BatchFolder
	items, err := c.blobs.List(ctx, account, types.ArtifactContainer, folder+"/")
	if err != nil {
		return false, fmt.Errorf("listing %s: %w", folder, err)
	}
	deletes, ctx := errgroup.WithContext(ctx)
	deletes.SetLimit(clearAtOnce)
	for _, it := range items[:min(len(items), clearStep)] {
		deletes.Go(func() error { return c.blobs.Delete(ctx, account, types.ArtifactContainer, it.Name) })
	}
	return len(items) > clearStep, deletes.Wait()
}
