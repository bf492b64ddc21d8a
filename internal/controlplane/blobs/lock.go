package blobs

import (
	"context"
	"fmt"
	"sync"
)

// lock orders the writes of one blob, in this process and in others on the same bucket. Nothing may be written of what was found
// before it was taken.
func (f *Front) lock(ctx context.Context, n blobName) (unlock func(), err error) {
	here := f.locks.lock(n.blockKey())
	if f.cfg.Lock == nil {
		return here, nil
	}
	elsewhere, err := f.cfg.Lock(ctx, "blob "+n.String())
	if err != nil {
		here()
		return nil, errBusy(fmt.Errorf("locking %s: %w", n, err))
	}
	return func() {
		elsewhere()
		here()
	}, nil
}

// keyLocks is a mutex per key; entries live only while someone holds or awaits them.
type keyLocks struct {
	mu sync.Mutex
	m  map[string]*keyLock
}

type keyLock struct {
	mu   sync.Mutex
	refs int
}

// lock returns the unlock function.
func (l *keyLocks) lock(key string) func() {
	l.mu.Lock()
	if l.m == nil {
		l.m = make(map[string]*keyLock)
	}
	k := l.m[key]
	if k == nil {
		k = &keyLock{}
		l.m[key] = k
	}
	k.refs++
	l.mu.Unlock()
	k.mu.Lock()
	return func() {
		k.mu.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if k.refs--; k.refs == 0 {
			delete(l.m, key)
		}
	}
}
