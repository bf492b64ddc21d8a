// Package throttle bounds what strangers can ask of the control plane: how often, from where, and how much memory at a time.
package throttle

import (
	"crypto/sha256"
	"math"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// maxBuckets bounds the memory that made-up keys can take.
const maxBuckets = 20_000

// Limiter keeps a token bucket per key. It is safe for use by many goroutines.
type Limiter struct {
	now              func() time.Time
	burst, perSecond float64
	mu               sync.Mutex
	buckets          map[string]*bucket
}

type bucket struct {
	left float64
	at   time.Time
}

// Guesses of a secret that may be wrong: at once, and in the long run.
const GuessBurst, GuessPerSecond = 10, 0.2

// Guesses makes a limiter of wrong secrets.
func Guesses(now func() time.Time) *Limiter { return New(now, GuessBurst, GuessPerSecond) }

// New makes a limiter that allows burst at once and perSecond in the long run, for each key.
func New(now func() time.Time, burst, perSecond float64) *Limiter {
	return &Limiter{now: now, burst: burst, perSecond: perSecond, buckets: map[string]*bucket{}}
}

// maxKey is the length of a key, in bytes, from which its hash stands for it: strangers choose names, which are kept.
const maxKey = 200

// get needs mu.
func (l *Limiter) get(key string) *bucket {
	if len(key) > maxKey {
		sum := sha256.Sum256([]byte(key))
		key = string(sum[:])
	}
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
func (l *Limiter) drop(now time.Time) {
	for k, b := range l.buckets {
		if now.Sub(b.at).Seconds() > l.burst/l.perSecond {
			delete(l.buckets, k)
		}
	}
	if len(l.buckets) >= maxBuckets {
		clear(l.buckets)
	}
}

// Take takes one from the key's bucket; when it is empty it says after how long there will be one.
func (l *Limiter) Take(key string) (ok bool, retry time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.get(key)
	if b.left < 1 {
		return false, time.Duration((1 - b.left) / l.perSecond * float64(time.Second))
	}
	b.left--
	return true, 0
}

// GiveBack undoes a Take.
func (l *Limiter) GiveBack(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.get(key)
	b.left = math.Min(l.burst, b.left+1)
}

// Origin is the address that a request comes from; of IPv6 the network, of which one host can have all addresses.
func Origin(r *http.Request) string {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	addr := ap.Addr().Unmap().WithZone("")
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil {
			return p.String()
		}
	}
	return addr.String()
}
