// Package desired follows one prefix of the control plane's desired map on behalf of a component: it turns the events of the
// stream into "this key has this value", "this key is gone" and "everything has been said".
package desired

import (
	"context"
	"encoding/json"

	"fairlead.dev/fairlead/internal/link"
)

// Handler hears of changes. Its functions are called one at a time; an error makes the link deliver the event again.
type Handler struct {
	Put    func(key string, value json.RawMessage) error
	Delete func(key string) error
	// Synced is called at the end of every snapshot, after Delete for each key that was known before and is not in it.
	Synced func() error
}

// Follower is the state between two events.
type Follower struct {
	handler Handler
	known   map[string]bool
	// seen holds the keys of the snapshot that is arriving; nil outside of one.
	seen map[string]bool
}

// NewFollower makes a Follower whose Apply is given to link.Client.Follow.
func NewFollower(h Handler) *Follower {
	return &Follower{handler: h, known: map[string]bool{}}
}

// Apply takes one event.
func (f *Follower) Apply(_ context.Context, e link.Event) error {
	switch e.Type {
	case link.EventReset:
		f.seen = map[string]bool{}
	case link.EventPut:
		if err := f.handler.Put(e.Key, e.Value); err != nil {
			return err
		}
		f.known[e.Key] = true
		if f.seen != nil {
			f.seen[e.Key] = true
		}
	case link.EventDelete:
		return f.delete(e.Key)
	case link.EventBookmark:
		return f.bookmark()
	}
	return nil
}

// bookmark ends a snapshot; any other one says only that the stream lives.
func (f *Follower) bookmark() error {
	if f.seen == nil {
		return nil
	}
	for key := range f.known {
		if !f.seen[key] {
			if err := f.delete(key); err != nil {
				return err
			}
		}
	}
	if err := f.handler.Synced(); err != nil {
		return err
	}
	f.seen = nil
	return nil
}

func (f *Follower) delete(key string) error {
	if err := f.handler.Delete(key); err != nil {
		return err
	}
	delete(f.known, key)
	delete(f.seen, key)
	return nil
}
