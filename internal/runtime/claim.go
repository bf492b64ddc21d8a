package runtime

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"fairlead.dev/fairlead/internal/runtime/blobclient"
)

// claim makes this process the one that runs the attempt: the blob system_logs/claim-<attempt>-<rank> is created by whoever
// comes first and holds "<pod uid> <nonce of the process>". A process that meets its own claim lost the answer to an earlier
// try and goes on; the same pod with another nonce is a container that the kubelet started again. Earlier attempts that nobody
// claimed are closed first, so that a pod of theirs that comes late runs nothing.
func claim(ctx context.Context, blobs *blobclient.Client, artifacts string, c Config) error {
	own := c.PodUID + " " + c.Nonce
	for attempt := range c.Attempt {
		if _, err := create(ctx, blobs, claimBlob(artifacts, attempt, c.Rank), own); err != nil {
			return err
		}
	}
	blob := claimBlob(artifacts, c.Attempt, c.Rank)
	first, err := create(ctx, blobs, blob, own)
	if first || err != nil {
		return err
	}
	b, err := blobs.ReadSmall(ctx, blob, 1<<10)
	if err != nil {
		return fmt.Errorf("reading who claimed the attempt: %w", err)
	}
	holder, _, _ := strings.Cut(string(b), " ")
	switch {
	case string(b) == own:
		return nil
	case holder == c.PodUID && c.PodUID != "":
		return fail(CodeAlreadyClaimed, fmt.Errorf("the container of this pod, %s, was started a second time, and attempt %d of rank %d had begun in it before; this time it runs nothing, so that the command does not run twice. Submit the job anew",
			holder, c.Attempt, c.Rank))
	}
	return fail(CodeAlreadyClaimed, fmt.Errorf("attempt %d of rank %d was already started by pod %s; this pod runs nothing, so that the command does not run twice",
		c.Attempt, c.Rank, holder))
}

func claimBlob(artifacts string, attempt, rank int) string {
	return blobclient.Join(artifacts, fmt.Sprintf("system_logs/claim-%d-%d", attempt, rank))
}

// create writes a blob; first is false when it was there before.
func create(ctx context.Context, blobs *blobclient.Client, blob, content string) (first bool, err error) {
	err = blobs.Create(ctx, blob, []byte(content))
	var se *blobclient.StatusError
	if errors.As(err, &se) && se.Exists() {
		return false, nil
	}
	return err == nil, err
}
