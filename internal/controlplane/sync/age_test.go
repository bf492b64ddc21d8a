package sync

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	gosync "sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/link"
)

// TestOldStreamsMove: a stream ends when it is old and is resumed over a connection of its own, not over one that posts went over and
// that leads to the same server behind a load balancer.
func TestOldStreamsMove(t *testing.T) {
	w := newWorld(t)
	var mu gosync.Mutex
	streams, posted := 0, map[string]bool{}
	h := New(Config{Store: w.st, Desired: w.desired, Authenticate: authenticate, StreamAge: 20 * time.Millisecond})
	w.srv = httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if r.Method == http.MethodPost {
			posted[r.RemoteAddr] = true
		} else if streams++; posted[r.RemoteAddr] {
			t.Errorf("stream %d came over the connection of a post", streams)
		}
		mu.Unlock()
		h.ServeHTTP(rw, r)
	}))
	t.Cleanup(w.srv.Close)
	c := w.client("agent-east", nil)
	obs := link.NewObserver(c)
	ctx, cancel := context.WithCancel(t.Context())
	var running gosync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { _ = obs.Run(ctx) })
	resets := 0
	err := c.Follow(ctx, "", func(ctx context.Context, e link.Event) error {
		mu.Lock()
		n := streams
		mu.Unlock()
		if e.Type == link.EventReset {
			resets++
		}
		if n == 4 {
			cancel()
		}
		if err := obs.Set(link.KeyNodes, map[string]int{"n": n}); err != nil {
			return err
		}
		return obs.Flush(ctx)
	})
	if !errors.Is(err, context.Canceled) || resets != 1 {
		t.Errorf("%v, %d snapshots; later streams go on after the last event", err, resets)
	}
}
