// Package desired reads and writes the values of clusters' desired maps, which hold protected settings, run tokens and log
// keys, and therefore are encrypted at rest. Whoever writes or reads such a value does it here; the link carries it opened.
//
//	stored = {"resource":"<the value's own resource, in clear>","sealed":"<base64 of the sealed value>"}
//
// A sealed value is bound to its cluster and its key. The resource stays in clear, so that the jobs of a cluster can be
// listed without opening them, also when one of them does not open.
package desired

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// Map seals and opens values.
type Map struct{ box *seal.Box }

// New makes a Map whose values box seals.
func New(box *seal.Box) *Map { return &Map{box: box} }

// envelope is a stored value.
type envelope struct {
	Resource string `json:"resource,omitempty"`
	Sealed   []byte `json:"sealed,omitempty"`
}

// Put sets a key to value, a JSON object, in a transaction. A value equal to the stored one is not sealed again, so that
// nothing changes, unless it is still sealed with an older key. A stored value that does not open is replaced.
func (m *Map) Put(ctx context.Context, tx store.Tx, cluster, key string, value json.RawMessage) error {
	old, found, err := find(ctx, tx, cluster, key)
	if err != nil {
		return err
	}
	if found && m.holds(cluster, old, value) {
		return nil
	}
	var e envelope
	if err := json.Unmarshal(value, &e); err != nil {
		return fmt.Errorf("decoding %s: %w", key, err)
	}
	e.Sealed = m.box.Seal(value, aad(cluster, key))
	raw, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", key, err)
	}
	return tx.PutDesired(ctx, cluster, key, raw)
}

// holds reports whether an entry is value, sealed with the newest key.
func (m *Map) holds(cluster string, e store.Entry, value json.RawMessage) bool {
	var env envelope
	if json.Unmarshal(e.Value, &env) != nil || m.box.Stale(env.Sealed) {
		return false
	}
	opened, err := m.box.Open(env.Sealed, aad(cluster, e.Key))
	return err == nil && bytes.Equal(opened, value)
}

// Get returns the opened value of a key; store.ErrNotFound when there is none.
func (m *Map) Get(ctx context.Context, r store.Reader, cluster, key string) (json.RawMessage, error) {
	e, err := Find(ctx, r, cluster, key)
	if err != nil {
		return nil, err
	}
	return m.Open(cluster, e)
}

// Open returns the value of an entry of a cluster's map. The error of one that does not open names the key, and is
// seal.ErrKey or seal.ErrSealed.
func (m *Map) Open(cluster string, e store.Entry) (json.RawMessage, error) {
	var env envelope
	if err := json.Unmarshal(e.Value, &env); err != nil {
		return nil, fmt.Errorf("opening desired %s of %s: %w: %w", e.Key, cluster, seal.ErrSealed, err)
	}
	value, err := m.box.Open(env.Sealed, aad(cluster, e.Key))
	if err != nil {
		return nil, fmt.Errorf("opening desired %s of %s: %w", e.Key, cluster, err)
	}
	return value, nil
}

// Find returns the entry of a key as it is stored; store.ErrNotFound when there is none.
func Find(ctx context.Context, r store.Reader, cluster, key string) (store.Entry, error) {
	e, found, err := find(ctx, r, cluster, key)
	if err == nil && !found {
		err = fmt.Errorf("desired %s of %s: %w", key, cluster, store.ErrNotFound)
	}
	return e, err
}

func find(ctx context.Context, r store.Reader, cluster, key string) (store.Entry, bool, error) {
	entries, err := r.Desired(ctx, cluster, key, 0)
	if err != nil {
		return store.Entry{}, false, fmt.Errorf("reading desired %s of %s: %w", key, cluster, err)
	}
	for _, e := range entries { // key is a prefix of others' keys, too
		if e.Key == key && !e.Deleted {
			return e, true, nil
		}
	}
	return store.Entry{}, false, nil
}

// aad says what is sealed and whose it is. Neither part holds a zero byte.
func aad(cluster, key string) []byte {
	return []byte("fairlead/desired\x00" + cluster + "\x00" + key)
}
