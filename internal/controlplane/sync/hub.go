package sync

import (
	"context"
	"errors"
	"log/slog"
	gosync "sync"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// hub follows the change log once for all streams, and wakes those of the clusters that a change touches: without it,
// every change would wake every cluster's stream. It runs while there are streams.
//
// Invariant, under mu: every desired change up to pos of a follower's cluster has either been read by it or set its dirty.
type hub struct {
	store store.Store
	log   *slog.Logger

	mu        gosync.Mutex
	followers map[string]map[*follower]bool // by cluster
	n         int
	pos       int64
	stop      context.CancelFunc
}

// follower is one stream's place in the hub.
type follower struct {
	h       *hub
	cluster string
	wake    chan struct{} // of capacity 1
	dirty   bool
	gone    bool // the cluster was deleted, or the store closed
}

func newHub(s store.Store, log *slog.Logger) *hub {
	return &hub{store: s, log: log, followers: make(map[string]map[*follower]bool)}
}

// join adds a follower, dirty from the start.
func (h *hub) join(ctx context.Context, cluster string) (*follower, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n == 0 {
		pos, err := h.store.LastChange(ctx)
		if err != nil {
			return nil, err
		}
		h.pos = pos
		ctx, cancel := context.WithCancel(context.Background())
		h.stop = cancel
		go h.run(ctx, pos) // ends when the last follower leaves
	}
	f := &follower{h: h, cluster: cluster, wake: make(chan struct{}, 1), dirty: true}
	if h.followers[cluster] == nil {
		h.followers[cluster] = make(map[*follower]bool)
	}
	h.followers[cluster][f] = true
	h.n++
	return f, nil
}

func (f *follower) leave() {
	h := f.h
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.followers[f.cluster], f)
	if len(h.followers[f.cluster]) == 0 {
		delete(h.followers, f.cluster)
	}
	if h.n--; h.n == 0 {
		h.stop()
	}
}

// take says how far the log is known and whether there is something to read since the last take.
func (f *follower) take() (pos int64, dirty, gone bool) {
	f.h.mu.Lock()
	defer f.h.mu.Unlock()
	dirty, f.dirty = f.dirty, false
	return f.h.pos, dirty, f.gone
}

// mark needs mu.
func (f *follower) mark(gone bool) {
	f.dirty, f.gone = true, f.gone || gone
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (h *hub) run(ctx context.Context, pos int64) {
	for ctx.Err() == nil {
		changes, err := h.store.Changes(ctx, pos, 1000)
		switch {
		case errors.Is(err, store.ErrCompacted):
			if pos, err = h.store.LastChange(ctx); err == nil {
				h.everyone(ctx, pos, false)
			}
		case err == nil && len(changes) > 0:
			pos = changes[len(changes)-1].Seq
			h.publish(ctx, changes, pos)
		case err == nil:
			err = h.store.Wait(ctx, pos)
		}
		if errors.Is(err, store.ErrClosed) {
			h.everyone(ctx, pos, true)
			return
		}
		if err != nil && ctx.Err() == nil {
			h.log.Warn("following the change log for the link", "err", err)
			pause(ctx, time.Second)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (h *hub) publish(ctx context.Context, changes []store.Change, pos int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil { // another run may have begun
		return
	}
	h.pos = pos
	for _, c := range changes {
		deleted := c.Kind == "resource" && c.Deleted
		if c.Kind != "desired" && !deleted {
			continue
		}
		for f := range h.followers[c.Key] {
			f.mark(deleted)
		}
	}
}

func (h *hub) everyone(ctx context.Context, pos int64, gone bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ctx.Err() != nil {
		return
	}
	h.pos = pos
	for _, fs := range h.followers {
		for f := range fs {
			f.mark(gone)
		}
	}
}
