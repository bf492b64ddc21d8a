// Package reconcile drives controllers over the change log: each change becomes a key for the controllers that asked for
// its kind; a key is worked on by one worker at a time, again after a delay when asked or on error with back-off.
package reconcile

import (
	"context"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// Controller is one reconciler. Keys says which of its keys a change touches (nil: none); Reconcile observes, decides by a
// pure function, acts and writes once.
type Controller interface {
	Name() string
	Keys(c store.Change) []string
	// All lists every key to look at on start, so that changes missed while down are not lost.
	All(ctx context.Context) ([]string, error)
	Reconcile(ctx context.Context, key string) (Result, error)
}

// Result asks to be called again; zero means only on the next change.
type Result struct{ RequeueAfter time.Duration }
