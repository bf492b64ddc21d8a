// Package logs keeps what containers of clusters wrote, so that it can be listed, searched and followed after their pods are gone.
//
//	collector ─▶ Take ─▶ blob (lines as JSON, appended) + one transaction (how far a stream is kept, how many bytes count)
//	reader    ◀─ Serve ◀─ objects by time, newest first ◀─ follow: what was written since the last look
//
// A stream is the log of one container from its start to its end; its lines are in objects of at most a day. What an object
// holds beyond the bytes that the database counts was never confirmed to the collector and comes again elsewhere.
package logs

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// Retention is how long lines are kept.
const Retention = 30 * 24 * time.Hour

// MaxBytes is how much is kept of one cluster's logs.
const MaxBytes = 5 << 30

const (
	// blobAccount is no workspace's account, so nobody reaches it through the blob front.
	blobAccount = "fairleadlogs"
	// maxObject ends an object.
	maxObject = 16 << 20
)

// Blobs is the part of the blob front that holds lines.
type Blobs interface {
	Append(ctx context.Context, account, container, name string, at int64, data []byte) error
	NewReader(ctx context.Context, account, container, name string, offset int64) (io.ReadCloser, int64, error)
	Delete(ctx context.Context, account, container, name string) error
}

// Config is what New needs; all but Store and Blobs may be left out.
type Config struct {
	Store store.Store
	Blobs Blobs
	Clock func() time.Time
	Log   *slog.Logger
	// Poll is how often a follower looks; 0 means 1 s.
	Poll time.Duration
	// MaxBytes bounds what is kept of one cluster; 0 means MaxBytes.
	MaxBytes int64
}

// Keeper keeps logs. It is safe for concurrent use.
type Keeper struct {
	cfg Config
}

// New makes a Keeper.
func New(cfg Config) *Keeper {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Poll == 0 {
		cfg.Poll = time.Second
	}
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = MaxBytes
	}
	return &Keeper{cfg: cfg}
}

// Owner is what a cluster's logs are kept under: one that is made again under the same name has another.
func Owner(cluster string, seq int64) string { return fmt.Sprintf("%s#%d", cluster, seq) }

// clusterOf undoes Owner.
func clusterOf(owner string) (cluster, seq string) {
	i := strings.LastIndexByte(owner, '#')
	return owner[:max(i, 0)], owner[i+1:]
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:16])
}

// container is where an owner's objects are.
func container(owner string) string { return hash(owner) }
