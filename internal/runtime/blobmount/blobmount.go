// Package blobmount shows a folder of blobs as a FUSE file system, served by this process.
//
// Reading fetches blocks as they are asked for, some ahead, and keeps them in a Cache. A file that is written becomes a local copy,
// which is uploaded soon after it was closed, at fsync before that returns, and at the latest by Flush:
//
//	stored ──write──▶ dirty ──close, a moment later──▶ uploading ──▶ stored
//	                    ▲──────────written meanwhile───────┘
//
// The names are those that the folder had when it was mounted, and what was done through this mount since; where they age (Config.Age),
// also what others did, a while ago. Empty folders are not kept, since a store of blobs has none; links, modes and owners neither.
package blobmount

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"sync"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/runtime/blobclient"
)

// Config is one file system.
type Config struct {
	Blobs *blobclient.Client
	Cache *Cache
	// URL is the folder's.
	URL string
	// Files are what the folder holds, with names relative to it.
	Files []blobclient.Blob
	// Writable allows changes; StageDir is the folder for files that are being written.
	Writable bool
	StageDir string
	// Before is asked before each upload or deletion; an error forbids it. Nil allows all.
	Before func(context.Context) error
	// Settle is how long after a close a file is uploaded, so that one that is renamed or written again goes up once. 0 means a second.
	Settle time.Duration
	// Age is how old names may become before the folder is listed again, for mounts that outlive their readers. 0 means that they stay.
	Age time.Duration
	Log *slog.Logger
}

// Mount is a file system that is being served.
type Mount struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	server *fuse.Server
	root   *dir
	// uploads bounds how many files go up at once.
	uploads chan struct{}

	mu sync.Mutex
	// dirty are the files that are not yet stored as they are.
	dirty map[*file]bool
	// later are the uploads that follow a close; stopped says that none begins any more.
	later   sync.WaitGroup
	stopped bool

	names     names
	addresses addresses
}

const (
	parallelUploads = 8
	// maxIO is the size of the kernel's largest request.
	maxIO = 1 << 20
	// storeAgain is the pause after an upload that failed, in a mount whose names age.
	storeAgain = 30 * time.Second
)

// Serve serves a file system on a FUSE device that is mounted already, until it is unmounted or the process ends. The device is
// closed in any case. ctx ends what it does on its own; it should outlive the wish to use the mount.
func Serve(ctx context.Context, dev *os.File, cfg Config) (*Mount, error) {
	defer dev.Close()
	if cfg.Settle == 0 {
		cfg.Settle = time.Second
	}
	m := &Mount{cfg: cfg, uploads: make(chan struct{}, parallelUploads), dirty: map[*file]bool{}, addresses: addresses{owner: map[string]*file{}, busy: map[string]chan struct{}{}}}
	m.ctx, m.cancel = context.WithCancel(ctx)
	fd, err := unix.FcntlInt(dev.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("keeping the FUSE device: %w", err)
	}
	m.root = &dir{m: m}
	// All changes go through the kernel, which may therefore remember everything.
	remember, never := time.Hour, time.Duration(0)
	if cfg.Age > 0 { // but for those of others
		remember, m.names.age, m.names.listed = cfg.Age, true, time.Now()
	}
	options := &gofs.Options{
		EntryTimeout: &remember, AttrTimeout: &remember, NegativeTimeout: &never,
		UID: uint32(os.Getuid()), GID: uint32(os.Getgid()),
		OnAdd: func(ctx context.Context) { m.root.fill(ctx) },
		MountOptions: fuse.MountOptions{
			MaxWrite: maxIO, MaxReadAhead: maxIO, DisableXAttrs: true, FsName: "fairlead", Name: "blobs",
		},
	}
	if m.server, err = fuse.NewServer(gofs.NewNodeFS(m.root, options), fmt.Sprintf("/dev/fd/%d", fd), &options.MountOptions); err != nil {
		return nil, errors.Join(fmt.Errorf("serving the mount: %w", err), unix.Close(fd))
	}
	go m.server.Serve()
	return m, m.server.WaitMount()
}

// Wait returns when the file system was unmounted.
func (m *Mount) Wait() { m.server.Wait() }

// Stop ends all transfers: what is not stored by now never will be, and what is not in the cache cannot be read.
func (m *Mount) Stop() {
	m.cancel()
	m.mu.Lock()
	m.stopped = true
	m.mu.Unlock()
	m.later.Wait()
}

// storeLater uploads a file in a moment. What fails is tried again by Flush, which tells; in a mount whose end nobody waits for, before.
func (m *Mount) storeLater(f *file) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return
	}
	m.later.Go(func() {
		for wait := m.cfg.Settle; ; wait = storeAgain {
			select {
			case <-time.After(wait):
			case <-m.ctx.Done():
				return
			}
			err := f.store(m.ctx)
			if err != nil {
				m.cfg.Log.Error("mount: not uploaded yet", "error", err)
			}
			if err == nil || m.cfg.Age == 0 {
				return
			}
		}
	})
}

// Flush uploads all that is not stored yet, also of files that are still open, and says what could not be.
func (m *Mount) Flush(ctx context.Context) error {
	m.mu.Lock()
	var g errgroup.Group
	errs := make([]error, 0, len(m.dirty))
	for f := range m.dirty {
		i := len(errs)
		errs = append(errs, nil)
		g.Go(func() error { errs[i] = f.store(ctx); return nil })
	}
	m.mu.Unlock()
	_ = g.Wait()
	return errors.Join(errs...)
}

func (m *Mount) setDirty(f *file, dirty bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if dirty {
		m.dirty[f] = true
		return
	}
	delete(m.dirty, f)
}

// before asks whether the store may be changed.
func (m *Mount) before(ctx context.Context) error {
	if m.cfg.Before == nil {
		return nil
	}
	return m.cfg.Before(ctx)
}

// urlOf is where the blob of a name in a folder of the tree is.
func (d *dir) urlOf(name string) string {
	return blobclient.Join(d.m.cfg.URL, path.Join(d.Path(d.Root()), name))
}

// errno is what the command is told of an error, which the log has in full.
func (m *Mount) errno(what string, err error) unix.Errno {
	var se *blobclient.StatusError
	var no unix.Errno
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return unix.EINTR
	case errors.As(err, &no):
	case errors.As(err, &se) && se.NotFound():
		no = unix.ENOENT
	case errors.As(err, &se) && se.Denied():
		no = unix.EACCES
	default:
		no = unix.EIO
	}
	m.cfg.Log.Error("mount: "+what, "error", err)
	return no
}
