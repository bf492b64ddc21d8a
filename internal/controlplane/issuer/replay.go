package issuer

import (
	"sync"
	"time"
)

// replayCache remembers ids until they expire. It is this process's own: with several replicas an assertion could be used
// once at each of them within its ten minutes, by whoever could read it inside TLS.
type replayCache struct {
	now  func() time.Time
	mu   sync.Mutex
	seen map[string]time.Time
	// sweep is when expired ids are dropped next.
	sweep time.Time
}

func newReplayCache(now func() time.Time) *replayCache {
	return &replayCache{now: now, seen: map[string]time.Time{}}
}

// first reports whether id is new, and remembers it until expires.
func (c *replayCache) first(id string, expires time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.After(c.sweep) {
		for k, exp := range c.seen {
			if now.After(exp) {
				delete(c.seen, k)
			}
		}
		c.sweep = now.Add(time.Minute)
	}
	if exp, ok := c.seen[id]; ok && !now.After(exp) {
		return false
	}
	c.seen[id] = expires
	return true
}
