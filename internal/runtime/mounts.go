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
	// all are the mounts, outputs those for writing, by name.
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
	if !in.Mounted() || !m.blobs.Owns(in.URL) || !m.usable("input", name) {
		return "", false, nil
	}
	files, single, err := m.inputFiles(ctx, in)
	if err != nil {
		return "", false, err
	}
	mount := mountbroker.Request{Name: "inputs/" + name, ReadOnly: true}
	if _, ok = m.mount(ctx, mount, in.URL, files); !ok {
		return "", false, nil
	}
	return filepath.Join(m.cfg.MountDir, mount.Name, single), true, nil
}

// inputFiles lists what an input holds; single is the name of its only file, if it is one.
func (m *mounter) inputFiles(ctx context.Context, in commonruntime.Input) (files []blobclient.Blob, single string, err error) {
	if in.Type != "uri_file" {
		if files, err = m.list(ctx, in.URL); err != nil || len(files) > 0 {
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
	if !o.Mounted() || !m.blobs.Owns(o.URL) || !m.usable("output", name) {
		return "", false, nil
	}
	files, err := m.list(ctx, o.URL)
	if err != nil {
		return "", false, err
	}
	q := mountbroker.Request{Name: "outputs/" + name}
	mounted, ok := m.mount(ctx, q, o.URL, files)
	if !ok {
		return "", false, nil
	}
	m.mu.Lock()
	m.outputs[name] = mounted
	m.mu.Unlock()
	return filepath.Join(m.cfg.MountDir, q.Name), true, nil
}

// usable says whether mounts can be had; if not, the log has why.
func (m *mounter) usable(kind, name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.failed
	if m.cfg.MountDir == "" {
		err = errors.New("the extension in this cluster has no CSI driver for blobs")
	}
	if err != nil {
		m.log.Warn("copied instead of mounted", "kind", kind, "name", name, "reason", err)
	}
	return err == nil
}

// mount gets a mount from the node and serves it; ok is false when there is none to be had.
func (m *mounter) mount(ctx context.Context, q mountbroker.Request, url string, files []blobclient.Blob) (mounted *blobmount.Mount, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failed != nil {
		return nil, false
	}
	if mounted, m.failed = m.serve(ctx, q, url, files); m.failed != nil {
		m.log.Warn("copied instead of mounted", "mount", q.Name, "reason", m.failed)
		return nil, false
	}
	m.all = append(m.all, mounted)
	m.log.Info("mounted", "mount", q.Name, "readOnly", q.ReadOnly, "files", len(files))
	return mounted, true
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

// flush waits until all that was written to an output is stored; ok is false for one that is not mounted.
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
