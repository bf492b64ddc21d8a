package issuer

import (
	"math"
	"sync"
	"time"
)

// Rates: tokens issued to a client id, and wrong secrets for a client id from one address.
const (
	askBurst, askPerSecond   = 60, 2.0
	failBurst, failPerSecond = 10, 0.2
	// maxChecks bounds how many secrets are checked at a time, for a check takes memory, and maxWaiting how many wait for that.
	maxChecks, maxWaiting = 4, 64
	// maxBuckets bounds the memory that made-up client ids can take.
	maxBuckets = 20_000
)

// limiter keeps a token bucket per key.
type limiter struct {
	now              func() time.Time
	burst, perSecond float64
	mu               sync.Mutex
	buckets          map[string]*bucket
}

type bucket struct {
	left float64
	at   time.Time
}

func newLimiter(now func() time.Time, burst, perSecond float64) *limiter {
	return &limiter{now: now, burst: burst, perSecond: perSecond, buckets: map[string]*bucket{}}
}

// get needs mu.
func (l *limiter) get(key string) *bucket {
	now := l.now()
	b, ok := l.buckets[key]
	if !ok {
		if len(l.buckets) >= maxBuckets {
			l.drop(now)
		}
		b = &bucket{left: l.burst, at: now}
		l.buckets[key] = b
	}
	if dt := now.Sub(b.at).Seconds(); dt > 0 {
		b.left = math.Min(l.burst, b.left+dt*l.perSecond)
		b.at = now
	}
	return b
}

// drop forgets buckets that are full again by now, and all when none is.
func (l *limiter) drop(now time.Time) {
	for k, b := range l.buckets {
		if now.Sub(b.at).Seconds() > l.burst/l.perSecond {
			delete(l.buckets, k)
		}
	}
	if len(l.buckets) >= maxBuckets {
		clear(l.buckets)
	}
}

// take takes one from the key's bucket; when it is empty it says after how long there will be one.
func (l *limiter) take(key string) (ok bool, retry time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.get(key)
	if b.left < 1 {
		return false, time.Duration((1 - b.left) / l.perSecond * float64(time.Second))
	}
	b.left--
	return true, 0
}

// giveBack undoes a take.
func (l *limiter) giveBack(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.get(key)
	b.left = math.Min(l.burst, b.left+1)
}
