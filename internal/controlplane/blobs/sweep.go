package blobs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"gocloud.dev/blob"
)

// Ages at which leftovers are removed.
const (
	stagedAge = 7 * 24 * time.Hour // blocks never committed
	tempAge   = 24 * time.Hour     // temporary files of writes that a crash cut short
)

// Sweep removes staged blocks older than a week and temporary files older than a day.
func (f *Front) Sweep(ctx context.Context) error {
	now := f.cfg.Clock()
	it := f.cfg.Bucket.List(nil)
	for {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("sweeping blobs: %w", err)
		}
		if !leftover(o, now) {
			continue
		}
		if err := f.cfg.Bucket.Delete(ctx, o.Key); err != nil && !isNotFound(err) {
			return fmt.Errorf("sweeping blobs: %w", err)
		}
	}
}

func leftover(o *blob.ListObject, now time.Time) bool {
	age := now.Sub(o.ModTime)
	return (strings.HasPrefix(o.Key, "u/") && age > stagedAge) || (strings.HasSuffix(o.Key, ".tmp") && age > tempAge)
}

// Run sweeps every six hours until ctx ends.
func (f *Front) Run(ctx context.Context) error {
	t := time.NewTicker(6 * time.Hour)
	defer t.Stop()
	for {
		if err := f.Sweep(ctx); err != nil && ctx.Err() == nil {
			f.cfg.Log.Warn("sweeping", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}
