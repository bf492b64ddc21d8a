package blobmount

import (
	"context"
	"sync"
)

// addresses says whose the addresses are that this mount writes to, so that a file which was renamed does not delete what another has
// stored at the address that it left.
type addresses struct {
	mu sync.Mutex
	// owner is the file that was made at an address, or moved there, and has it still.
	owner map[string]*file
	// busy are those at which something is stored or deleted; each channel is closed when that has ended.
	busy map[string]chan struct{}
}

// take makes an address a file's.
func (a *addresses) take(url string, f *file) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.owner[url] = f
}

// leave gives an address up, if it is the file's.
func (a *addresses) leave(url string, f *file) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.owner[url] == f {
		delete(a.owner, url)
	}
}

// lock waits until nobody else stores or deletes at an address, and keeps others from it until unlock.
func (a *addresses) lock(ctx context.Context, url string) (unlock func(), err error) {
	for {
		a.mu.Lock()
		wait, taken := a.busy[url]
		if !taken {
			done := make(chan struct{})
			a.busy[url] = done
			a.mu.Unlock()
			return func() {
				a.mu.Lock()
				delete(a.busy, url)
				a.mu.Unlock()
				close(done)
			}, nil
		}
		a.mu.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// adopt makes what is stored at a file's address the file's, whose upload overwrites it; false when the file has left the address.
func (f *file) adopt(url string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.retired || f.url != url {
		return false
	}
	if f.stored == "" {
		f.stored = url
	}
	return true
}

// discard deletes the blob of an address that a file has no more, unless it is another's by now.
func (m *Mount) discard(ctx context.Context, url string) error {
	unlock, err := m.addresses.lock(ctx, url)
	if err != nil {
		return err
	}
	defer unlock()
	m.addresses.mu.Lock()
	owner := m.addresses.owner[url]
	m.addresses.mu.Unlock()
	if owner != nil && owner.adopt(url) {
		return nil
	}
	return m.cfg.Blobs.Delete(ctx, url)
}
