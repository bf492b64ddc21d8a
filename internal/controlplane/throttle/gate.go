package throttle

import (
	"context"
	"errors"
)

// ErrFull: as many wait as may; the caller tells its client to come back later.
var ErrFull = errors.New("too many wait")

// How many secrets are checked at a time, for a check takes memory, and how many wait for that.
const MaxChecks, MaxWaiting = 4, 64

// Gate lets a few in at a time, and a few wait. Checks of secrets pass through one.
type Gate struct{ inside, queue chan struct{} }

// NewGate makes a gate for checks of secrets.
func NewGate() *Gate {
	return &Gate{inside: make(chan struct{}, MaxChecks), queue: make(chan struct{}, MaxChecks+MaxWaiting)}
}

// Enter waits for a turn; the caller then calls Leave. The error is ErrFull or the context's.
func (g *Gate) Enter(ctx context.Context) error {
	select {
	case g.queue <- struct{}{}:
	default:
		return ErrFull
	}
	select {
	case g.inside <- struct{}{}:
		return nil
	case <-ctx.Done():
		<-g.queue
		return ctx.Err()
	}
}

// Len is how many are inside or wait.
func (g *Gate) Len() int { return len(g.queue) }

// Leave lets the next one in.
func (g *Gate) Leave() {
	<-g.inside
	<-g.queue
}
