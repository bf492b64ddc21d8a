package component

import (
	"context"
	"errors"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// Main is a component's work: it calls ready once it can serve, and returns when ctx ends.
type Main func(ctx context.Context, ready func()) error

// errStarting is the readiness probe's answer before a component is ready.
var errStarting = errors.New("starting")

// WithHealth runs a component beside its probes until ctx or one of them ends.
func WithHealth(ctx context.Context, addr string, main Main) error {
	var isReady atomic.Bool
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return ServeHealth(ctx, addr, func() error {
			if !isReady.Load() {
				return errStarting
			}
			return nil
		})
	})
	group.Go(func() error { return main(ctx, func() { isReady.Store(true) }) })
	return group.Wait()
}
