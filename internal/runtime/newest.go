package runtime

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/runtime/blobclient"
)

// newestFor is how long an answer to "is this attempt still the newest?" is believed.
const newestFor = 5 * time.Second

// newest guards what all attempts of a job write to. A pod may live on unseen on a node that the cluster has given up; by the
// claim of the attempt after its own it knows that what it would upload is no longer wanted.
type newest struct {
	blobs *blobclient.Client
	// next is the claim of the next attempt, of the same rank.
	next string

	mu    sync.Mutex
	asked time.Time
	err   error
}

func newNewest(blobs *blobclient.Client, artifacts string, c Config) *newest {
	return &newest{blobs: blobs, next: claimBlob(artifacts, c.Attempt+1, c.Rank)}
}

// check is an error once another attempt has begun.
func (n *newest) check(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.asked.IsZero() && time.Since(n.asked) < newestFor {
		return n.err
	}
	_, err := n.blobs.Head(ctx, n.next)
	switch {
	case blobclient.IsNotFound(err):
		n.err = nil
	case err != nil:
		return fmt.Errorf("asking for a newer attempt: %w", err)
	default:
		n.err = fail(CodeSuperseded, errors.New("the cluster lost sight of this pod's node and has started the job again; this attempt's outputs are not uploaded"))
	}
	n.asked = time.Now()
	return n.err
}
