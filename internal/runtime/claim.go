package runtime

import (
	"context"
	"errors"
	"fmt"

	"fairlead.dev/fairlead/internal/runtime/blobclient"
)

// claim makes this pod the one that runs the attempt: the blob system_logs/claim-<attempt>-<rank> is created by whoever
// comes first and holds that pod's uid. A pod that meets its own claim lost the answer to an earlier try and goes on.
func claim(ctx context.Context, blobs *blobclient.Client, artifacts string, c Config) error {
	blob := blobclient.Join(artifacts, fmt.Sprintf("system_logs/claim-%d-%d", c.Attempt, c.Rank))
	err := blobs.Create(ctx, blob, []byte(c.PodUID))
	var se *blobclient.StatusError
	if err == nil || !errors.As(err, &se) || !se.Exists() {
		return err
	}
	holder, err := blobs.ReadSmall(ctx, blob, 1<<10)
	if err != nil {
		return fmt.Errorf("reading who claimed the attempt: %w", err)
	}
	if string(holder) != c.PodUID || c.PodUID == "" {
		return fail(CodeAlreadyClaimed, fmt.Errorf("attempt %d of rank %d was already started by pod %s; this pod runs nothing, so that the command does not run twice",
			c.Attempt, c.Rank, holder))
	}
	return nil
}
