package front

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/router/gate"
)

// maxTries is at how many pods a request is tried.
const maxTries = 3

// attempt is a request at pods: the ticket of the one that it is at, and how it went there.
type attempt struct {
	*call
	ticket  *gate.Ticket
	outcome gate.Outcome
	broken  atomic.Bool // the pod's answer broke off
}

func (a *attempt) release() {
	if a.ticket == nil {
		return
	}
	if a.broken.Load() {
		a.outcome = gate.Failed
	}
	a.ticket.Release(a.outcome)
	a.ticket = nil
}

// deliver waits for a pod and has the request tried there, and at others where that is safe: the connection was refused, or the method
// may reach two pods; and repeatable says that the request can be told again. When try succeeds, the ticket is the attempt's until release.
func (a *attempt) deliver(ctx context.Context, try func(addr string) error, repeatable func() bool) error {
	var avoid []string
	for {
		ticket, err := a.admit(ctx, avoid)
		if err != nil {
			return err
		}
		a.ticket, a.outcome, a.pod = ticket, gate.Unused, ticket.Addr
		a.tries++
		if err = try(ticket.Addr); err == nil {
			a.outcome = gate.Answered
			return nil
		}
		a.outcome = a.failure(ctx, err)
		a.release()
		if a.tries >= maxTries || ctx.Err() != nil || !repeatable() || !isDial(err) && !idempotent(a.method) {
			return err
		}
		avoid = append(avoid, ticket.Addr)
	}
}

// admit waits for a pod, and counts for how long.
func (a *attempt) admit(ctx context.Context, avoid []string) (*gate.Ticket, error) {
	if t := a.deployment.Gate.Try(avoid...); t != nil {
		return t, nil
	}
	begun := time.Now()
	t, err := a.deployment.Gate.Acquire(ctx, avoid...)
	a.queued += time.Since(begun)
	return t, err
}

// failure is what an error says of the pod: nothing when the caller was slow, or has left.
func (a *attempt) failure(ctx context.Context, err error) gate.Outcome {
	switch {
	case a.uploadFailed.Load():
		return gate.Unused
	case isDial(err) && ctx.Err() == nil:
		return gate.Refused
	case ctx.Err() == nil, errors.Is(context.Cause(ctx), errTimeout):
		return gate.Failed
	}
	return gate.Unused
}

// idempotent says whether a request may reach two pods (RFC 9110, 9.2.2).
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}
