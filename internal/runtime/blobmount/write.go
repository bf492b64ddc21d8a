package blobmount

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
)

// Write implements NodeWriter.
func (f *file) Write(ctx context.Context, _ gofs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.localise(ctx, f.size)
	n := 0
	if err == nil {
		n, err = f.local.WriteAt(data, off)
	}
	f.size = max(f.size, off+int64(n))
	f.changed()
	if err != nil {
		return 0, f.m.errno("writing "+f.Path(f.Root()), err)
	}
	return uint32(n), 0
}

func (f *file) truncate(ctx context.Context, size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.localise(ctx, min(size, f.size)); err != nil {
		return err
	}
	if err := f.local.Truncate(size); err != nil {
		return err
	}
	f.size = size
	f.changed()
	return nil
}

// changed needs mu.
func (f *file) changed() {
	f.modified = time.Now()
	f.touched = f.modified
	if !f.retired {
		f.dirty = true
		f.m.setDirty(f, true)
	}
}

// localise makes the local copy, with as much of the stored content as is kept. The copy has no name, so that nothing is left of it
// when this process ends. Needs mu: who reads or writes meanwhile waits for the content anyway.
func (f *file) localise(ctx context.Context, keep int64) error {
	if f.local != nil {
		return nil
	}
	local, err := os.CreateTemp(f.m.cfg.StageDir, "write-*")
	if err != nil {
		return err
	}
	if err = os.Remove(local.Name()); err == nil && keep > 0 {
		err = f.m.cfg.Blobs.Download(ctx, f.stored, local, -1, nil)
	}
	if err != nil {
		_ = local.Close()
		return err
	}
	f.local = local
	return nil
}

// Flush implements NodeFlusher; it is called at every close. The upload follows a moment later, and whoever waits for the mount's
// Flush waits for it.
func (f *file) Flush(context.Context, gofs.FileHandle) syscall.Errno {
	f.settle()
	return 0
}

// settle uploads the file a moment from now if there is anything to.
func (f *file) settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.dirty {
		f.m.storeLater(f)
	}
}

// Fsync implements NodeFsyncer: what was written is stored when it returns.
func (f *file) Fsync(ctx context.Context, _ gofs.FileHandle, _ uint32) syscall.Errno {
	return f.m.errno("storing "+f.Path(f.Root()), f.store(ctx))
}

// store uploads the content until nothing newer is there, and then deletes the blob of an earlier name.
func (f *file) store(ctx context.Context) error {
	f.storing.Lock()
	defer f.storing.Unlock()
	for {
		up, ok := f.begin(ctx)
		if !ok {
			return nil
		}
		err := up.send()
		again, former := f.end(up, err)
		if err != nil && !again {
			return fmt.Errorf("storing %s: %w", up.url, err)
		}
		for _, url := range up.former {
			defer f.m.names.gone(url)
		}
		if former != "" {
			if err := f.m.discard(ctx, former); err != nil {
				return fmt.Errorf("deleting %s, which was renamed: %w", former, err)
			}
		}
	}
}

// upload is one try to store a file.
type upload struct {
	m     *Mount
	ctx   context.Context
	local *os.File
	url   string
	size  int64
	// former are the names that the file has no more once this is stored.
	former []string
}

// begin says what to upload; ok is false when nothing is to be.
func (f *file) begin(ctx context.Context) (up upload, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.dirty || f.retired {
		f.m.setDirty(f, false)
		f.tidy()
		return up, false
	}
	f.dirty = false // a write from now on makes it dirty again
	f.opens++       // keeps the copy
	up = upload{m: f.m, local: f.local, url: f.url, size: f.size, former: f.former}
	up.ctx, f.cancel = context.WithCancel(ctx)
	return up, true
}

func (u upload) send() error {
	select {
	case u.m.uploads <- struct{}{}:
	case <-u.ctx.Done():
		return u.ctx.Err()
	}
	defer func() { <-u.m.uploads }()
	unlock, err := u.m.addresses.lock(u.ctx, u.url)
	if err != nil {
		return err
	}
	defer unlock()
	return u.m.cfg.Blobs.UploadIf(u.ctx, u.url, u.local, u.size, u.m.before)
}

// end notes what became of an upload. again means that there is newer content or that the file is gone, so that a failure does not
// count; former is a blob that is to be deleted.
func (f *file) end(up upload, err error) (again bool, former string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cancel()
	f.cancel = nil
	f.opens--
	again = f.dirty || f.retired
	if err != nil {
		f.dirty = !f.retired
		return again, ""
	}
	if f.stored != up.url {
		former = f.stored
	}
	f.stored, f.etag, f.touched = up.url, "", time.Now()
	f.former = f.former[len(up.former):]
	f.version++
	return again, former
}

// move gives the file another address. The content must be here first, because that of the old address is deleted in the end.
func (f *file) move(ctx context.Context, url string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.localise(ctx, f.size); err != nil {
		return err
	}
	f.m.names.leave(f.url)
	f.former = append(f.former, f.url)
	f.m.addresses.leave(f.url, f)
	f.m.addresses.take(url, f)
	f.url = url
	modified := f.modified
	f.changed()
	f.modified = modified
	f.m.storeLater(f)
	return nil
}

// retire ends what is done for a file whose name is gone. An open file goes on with its local copy.
func (f *file) retire() {
	f.mu.Lock()
	f.retired, f.dirty = true, false
	if f.cancel != nil {
		f.cancel()
	}
	f.m.addresses.leave(f.url, f)
	f.mu.Unlock()
	f.storing.Lock() // an upload that is under way has ended
	defer f.storing.Unlock()
	f.m.setDirty(f, false)
}

// remove deletes the blob.
func (f *file) remove(ctx context.Context) error {
	f.retire()
	f.mu.Lock()
	stored := f.stored
	f.stored = ""
	f.tidy()
	f.mu.Unlock()
	if stored == "" {
		return nil
	}
	if err := f.m.before(ctx); err != nil {
		return err
	}
	defer f.m.names.gone(stored)
	return f.m.discard(ctx, stored)
}
