package issuer

import (
	"math"
	"sync"
	"time"
)

// Rates per client id: tokens asked for, and failures, which cost an attacker's guess each.
const (
	askBurst, askPerSecond   = 60, 2.0
	failBurst, failPerSecond = 10, 0.2
	// maxClients bounds the memory that made-up client ids can take.
	maxClients = 20_000
)

// limiter keeps two token buckets per client id.
type limiter struct {
	now     func() time.Time
	mu      sync.Mutex
	clients map[string]*buckets
}

type buckets struct {
	ask, fail float64
	at        time.Time
}

func newLimiter(now func() time.Time) *limiter {
	return &limiter{now: now, clients: map[string]*buckets{}}
}

func (l *limiter) get(client string) *buckets {
	now := l.now()
	b, ok := l.clients[client]
	if !ok {
		if len(l.clients) >= maxClients {
			l.drop(now)
		}
		b = &buckets{ask: askBurst, fail: failBurst, at: now}
		l.clients[client] = b
	}
	if dt := now.Sub(b.at).Seconds(); dt > 0 {
		b.ask = math.Min(askBurst, b.ask+dt*askPerSecond)
		b.fail = math.Min(failBurst, b.fail+dt*failPerSecond)
		b.at = now
	}
	return b
}

// drop forgets clients whose buckets are full again by now, and all when none is.
func (l *limiter) drop(now time.Time) {
	for k, b := range l.clients {
		if now.Sub(b.at).Seconds() > failBurst/failPerSecond {
			delete(l.clients, k)
		}
	}
	if len(l.clients) >= maxClients {
		clear(l.clients)
	}
}

// allow takes one token of the client; when there is none it says after how long there will be.
func (l *limiter) allow(client string) (ok bool, retry time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.get(client)
	switch {
	case b.fail < 1:
		return false, time.Duration((1 - b.fail) / failPerSecond * float64(time.Second))
	case b.ask < 1:
		return false, time.Duration((1 - b.ask) / askPerSecond * float64(time.Second))
	}
	b.ask--
	return true, 0
}

func (l *limiter) failed(client string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.get(client).fail--
}
