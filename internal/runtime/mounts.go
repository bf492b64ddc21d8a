package runtime

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/mountbroker"
	"fairlead.dev/fairlead/internal/runtime/blobclient"
	"fairlead.dev/fairlead/internal/runtime/blobmount"
)

// brokerPatience is how long the node's CSI driver may be away, as it is while it is updated.
const brokerPatience = time.Minute

// defaultMountCache is what mounts keep on disk for reading.
const defaultMountCache = 10 << 30

// mounter mounts inputs and outputs of a job that asked for it, where the pod has a volume of the CSI driver.
type mounter struct {
	cfg    Config
	blobs  *blobclient.Client
	log    *slog.Logger
	before func(context.Context) error

	mu    sync.Mutex
	cache *blobmount.Cache
	// all are the mounts, outputs those for writing, by the input's or output's name.
	all     []*blobmount.Mount
	outputs map[string]*blobmount.Mount
	// failed is why nothing more is tried.
	failed error
}

func newMounter(cfg Config, blobs *blobclient.Client, log *slog.Logger, before func(context.Context) error) *mounter {
	return &mounter{cfg: cfg, blobs: blobs, log: log, before: before, outputs: map[string]*blobmount.Mount{}}
}

// input mounts an input and returns its path; ok is false when it has to be copied instead.
func (m *mounter) input(ctx context.Context, name string, in commonruntime.Input) (path string, ok bool, err error) {
	if !in.Mounted() || !m.blobs.Owns(in.URL) {
		return "", false, nil
	}
	if err := m.usable(); err != nil {
		return "", false, m.copyInstead("input", name, in.Write, err)
	}
	files, single, err := m.inputFiles(ctx, in)
	if err != nil {
		return "", false, err
	}
	q := mountbroker.Request{Name: "inputs/" + name, ReadOnly: !in.Write}
	mounted, err := m.mount(ctx, q, in.URL, files)
	if err != nil {
		return "", false, m.copyInstead("input", name, in.Write, err)
	}
	if in.Write {
		m.stored(name, mounted)
	}
	return filepath.Join(m.cfg.MountDir, q.Name, single), true, nil
}

// inputFiles lists what an input holds; single is the name of its only file, if it is one.
func (m *mounter) inputFiles(ctx context.Context, in commonruntime.Input) (files []blobclient.Blob, single string, err error) {
	if in.Type != "uri_file" {
		if files, err = m.list(ctx, in.URL); err != nil || len(files) > 0 || in.Write {
			return files, "", err
		}
		if in.Type == "uri_folder" {
			return nil, "", fmt.Errorf("folder %s has no files", in.URL)
		}
	}
	p, err := m.blobs.Head(ctx, in.URL)
	if err != nil {
		return nil, "", err
	}
	single = baseName(in.URL)
	return []blobclient.Blob{{Name: single, URL: in.URL, Size: p.Size, ETag: p.ETag}}, single, nil
}

func (m *mounter) list(ctx context.Context, url string) (files []blobclient.Blob, err error) {
	err = m.blobs.List(ctx, url, func(b blobclient.Blob) error {
		if _, err := localName(b.Name); err != nil {
			return err
		}
		files = append(files, b)
		return nil
	})
	return files, err
}

// output mounts an output and returns its path; ok is false when it has to be copied instead.
func (m *mounter) output(ctx context.Context, name string, o commonruntime.Output) (path string, ok bool, err error) {
	if !o.Mounted() || !m.blobs.Owns(o.URL) {
		return "", false, nil
	}
	if err := m.usable(); err != nil {
		return "", false, m.copyInstead("output", name, false, err)
	}
	files, err := m.list(ctx, o.URL)
	if err != nil {
		return "", false, err
	}
	q := mountbroker.Request{Name: "outputs/" + name}
	mounted, err := m.mount(ctx, q, o.URL, files)
	if err != nil {
		return "", false, m.copyInstead("output", name, false, err)
	}
	m.stored(name, mounted)
	return filepath.Join(m.cfg.MountDir, q.Name), true, nil
}

// stored makes flush wait for a mount.
func (m *mounter) stored(name string, mounted *blobmount.Mount) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.outputs[name] = mounted
}

// usable says why mounts cannot be had.
func (m *mounter) usable() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cfg.MountDir == "" {
		return errors.New("the extension in this cluster has no CSI driver for blobs")
	}
	return m.failed
}

// copyInstead tells the log why something is copied, unless a copy would not do.
func (m *mounter) copyInstead(kind, name string, never bool, reason error) error {
	if never {
		return fmt.Errorf("mounting it for writing: %w; use mode download for a copy, or an output", reason)
	}
	m.log.Warn("copied instead of mounted", "kind", kind, "name", name, "reason", reason)
	return nil
}

// mount gets a mount from the node and serves it.
func (m *mounter) mount(ctx context.Context, q mountbroker.Request, url string, files []blobclient.Blob) (mounted *blobmount.Mount, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return nil, m.failed
	}
	if mounted, m.failed = m.serve(ctx, q, url, files); m.failed != nil {
		return nil, m.failed
	}
	m.all = append(m.all, mounted)
	m.log.Info("mounted", "mount", q.Name, "readOnly", q.ReadOnly, "files", len(files))
	return mounted, nil
}

func (m *mounter) serve(ctx context.Context, q mountbroker.Request, url string, files []blobclient.Blob) (*blobmount.Mount, error) {
	stage := filepath.Join(m.cfg.WorkDir, "mounts")
	if m.cache == nil {
		cache, err := blobmount.NewCache(filepath.Join(stage, "cache"), m.cfg.MountCache)
		if err != nil {
			return nil, err
		}
		m.cache = cache
	}
	dev, err := m.ask(ctx, q)
	if err != nil {
		return nil, err
	}
	// The mount outlives the wish to end: what a command writes while it ends is stored, too.
	return blobmount.Serve(context.WithoutCancel(ctx), dev, blobmount.Config{
		Blobs: m.blobs, Cache: m.cache, URL: url, Files: files, Writable: !q.ReadOnly, StageDir: stage, Before: m.before, Log: m.log,
	})
}

// ask waits for a driver that is away for a while.
func (m *mounter) ask(ctx context.Context, q mountbroker.Request) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, brokerPatience)
	defer cancel()
	for {
		dev, err := mountbroker.Ask(ctx, m.cfg.MountDir, q)
		if err == nil || errors.Is(err, mountbroker.ErrRefused) {
			return dev, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// flush waits until all that was written to an input or output is stored; ok is false for one that is not mounted.
func (m *mounter) flush(ctx context.Context, name string) (ok bool, err error) {
	m.mu.Lock()
	mounted := m.outputs[name]
	m.mu.Unlock()
	if mounted == nil {
		return false, nil
	}
	return true, mounted.Flush(ctx)
}

// stop ends what mounts do on their own.
func (m *mounter) stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, mounted := range m.all {
		mounted.Stop()
	}
}
