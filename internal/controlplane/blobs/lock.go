package blobs

import (
	"context"
	"fmt"
	"sync"
)

// lock orders the writes of one blob, in this process and in others on the same bucket. Nothing may be written of what was found
// before it was taken, nor when held says that it was lost, which is asked right before what was written becomes visible.
func (f *Front) lock(ctx context.Context, n blobName) (held func() error, unlock func(), err error) {
	here, err := f.locks.lock(ctx, n.blockKey())
	if err != nil {
		return nil, nil, errBusy(fmt.Errorf("waiting for %s: %w", n, err))
	}
	if f.cfg.Lock == nil {
		return func() error { return nil }, here, nil
	}
	still, elsewhere, err := f.cfg.Lock(ctx, "blob "+n.String())
	if err != nil {
		here()
		return nil, nil, errBusy(fmt.Errorf("locking %s: %w", n, err))
	}
	held = func() error {
		if err := still(); err != nil {
			return errBusy(fmt.Errorf("writing %s: %w", n, err))
		}
		return nil
	}
	return held, func() {
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
	taken chan struct{} // has room for one
	refs  int
}

// lock returns the unlock function, or an error when ctx ends first.
func (l *keyLocks) lock(ctx context.Context, key string) (func(), error) {
	k := l.enter(key)
	select {
	case k.taken <- struct{}{}:
		return func() {
			<-k.taken
			l.leave(key, k)
		}, nil
	case <-ctx.Done():
		l.leave(key, k)
		return nil, ctx.Err()
	}
}

func (l *keyLocks) enter(key string) *keyLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m == nil {
		l.m = make(map[string]*keyLock)
	}
	k := l.m[key]
	if k == nil {
		k = &keyLock{taken: make(chan struct{}, 1)}
		l.m[key] = k
	}
	k.refs++
	return k
}

func (l *keyLocks) leave(key string, k *keyLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if k.refs--; k.refs == 0 {
		delete(l.m, key)
	}
}
