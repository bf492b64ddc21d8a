package link

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
)

// maxBatch bounds the values of one observed request.
const maxBatch = 500

// Observer posts observed values: the newest of each key, in batches, again until the control plane has them. It is safe
// for concurrent use.
type Observer struct {
	c    *Client
	wake chan struct{}

	mu     sync.Mutex
	order  []string // keys with something to send, oldest first
	values map[string]pending
	gen    uint64
	sent   chan struct{} // closed and made anew whenever something no longer waits
}

type pending struct {
	value json.RawMessage
	gen   uint64
}

// NewObserver makes an Observer over a client; Run sends.
func NewObserver(c *Client) *Observer {
	return &Observer{c: c, wake: make(chan struct{}, 1), values: make(map[string]pending), sent: make(chan struct{})}
}

// Set makes value (marshalled to JSON) the newest of key. It never waits. It errs when value cannot be marshalled or is
// larger than MaxValue.
func (o *Observer) Set(key string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("observing %q: %w", key, err)
	}
	if len(raw) > MaxValue {
		return fmt.Errorf("observing %q: the value is %d bytes; at most %d are allowed", key, len(raw), MaxValue)
	}
	o.mu.Lock()
	o.gen++
	if _, waits := o.values[key]; !waits {
		o.order = append(o.order, key)
	}
	o.values[key] = pending{raw, o.gen}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return nil
}

// Forget drops what waits to be sent for key: it is no longer so, and another observer may have a newer word. What is being sent at
// that moment is not called back.
func (o *Observer) Forget(key string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, waits := o.values[key]; !waits {
		return
	}
	delete(o.values, key)
	o.order = slices.DeleteFunc(o.order, func(k string) bool { return k == key })
	close(o.sent) // Flush need not wait for it
	o.sent = make(chan struct{})
}

// Run sends until ctx ends, whose error it returns.
func (o *Observer) Run(ctx context.Context) error {
	b := backoff{max: o.c.cfg.MaxBackoff}
	for {
		batch, gens := o.batch()
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-o.wake:
			}
			continue
		}
		err := o.send(ctx, batch)
		if err == nil {
			o.done(gens)
			b.reset()
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		o.c.cfg.Log.Warn("posting observed values", "values", len(batch), "err", err)
		if !b.wait(ctx) {
			return ctx.Err()
		}
	}
}

// Flush waits until everything set before it was taken by the control plane; Run must be running.
func (o *Observer) Flush(ctx context.Context) error {
	o.mu.Lock()
	limit := o.gen
	for {
		waits := false
		for _, p := range o.values {
			waits = waits || p.gen <= limit
		}
		sent := o.sent
		o.mu.Unlock()
		if !waits {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-sent:
		}
		o.mu.Lock()
	}
}

// batch is what to send next; it stays in the queue until done.
func (o *Observer) batch() ([]Value, map[string]uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	gens := make(map[string]uint64)
	var out []Value
	size := 0
	for _, k := range o.order {
		p := o.values[k]
		size += len(k) + len(p.value) + 64
		if len(out) > 0 && (size > MaxBody || len(out) == maxBatch) {
			break
		}
		out = append(out, Value{k, p.value})
		gens[k] = p.gen
	}
	return out, gens
}

// done forgets what was sent, but not keys that were set again meanwhile; those go to the end.
func (o *Observer) done(gens map[string]uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var rest, again []string
	for _, k := range o.order {
		gen, sent := gens[k]
		switch {
		case !sent:
			rest = append(rest, k)
		case o.values[k].gen != gen:
			again = append(again, k)
		default:
			delete(o.values, k)
		}
	}
	o.order = append(rest, again...)
	close(o.sent)
	o.sent = make(chan struct{})
}

// send posts a batch. When the control plane refuses it as wrong, each value is sent alone and the wrong ones are dropped, so
// that one bad value does not block the others for ever.
func (o *Observer) send(ctx context.Context, batch []Value) error {
	err := o.post(ctx, batch)
	var se *StatusError
	if !errors.As(err, &se) || (se.Status != http.StatusBadRequest && se.Status != http.StatusRequestEntityTooLarge) {
		return err
	}
	if len(batch) == 1 {
		o.c.cfg.Log.Error("the control plane refuses an observed value; dropping it", "key", batch[0].Key, "err", err)
		return nil
	}
	for _, v := range batch {
		if err := o.send(ctx, []Value{v}); err != nil {
			return err
		}
	}
	return nil
}

func (o *Observer) post(ctx context.Context, batch []Value) error {
	body, err := json.Marshal(ObservedRequest{Values: batch})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.c.cfg.Silence)
	defer cancel()
	res, err := o.c.request(ctx, http.MethodPost, ObservedPath, bytes.NewReader(body))
	if err != nil {
		return err
	}
	return res.Body.Close()
}
