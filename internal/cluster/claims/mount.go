package claims

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/mountbroker"
	"fairlead.dev/fairlead/internal/runtime/blobclient"
	"fairlead.dev/fairlead/internal/runtime/blobmount"
)

// Mount is what a mount pod does: it serves one volume on its node until it is told to end, and stores what is left.
type Mount struct {
	// Question is what the control plane is asked, Folder the volume's in that datastore.
	Question link.FolderRequest
	Folder   string
	// Ask asks it; HTTP reaches the blobs.
	Ask  func(context.Context, link.FolderRequest) (link.Folder, error)
	HTTP *http.Client
	// VolumeDir is the pod's volume of csi-blob-node, CacheDir the folder for what was read and what is being written.
	VolumeDir, CacheDir string
	Log                 *slog.Logger
	// Age is how old names become; 0 means nameAge.
	Age time.Duration
}

const (
	// nameAge is how long another writer's files may be unknown.
	nameAge = 5 * time.Second
	// cacheSize is what a volume keeps of what was read, in bytes.
	cacheSize = 1 << 30
	// brokerPatience is how long csi-blob-node may be away, as it is while it is updated.
	brokerPatience = time.Minute
)

// Run serves until ctx ends; ready is called when the volume can be mounted.
func (m Mount) Run(ctx context.Context, ready func()) error {
	if !validFolder(m.Folder) {
		return fmt.Errorf("--folder is %q; it must be the path of a folder in the datastore", m.Folder)
	}
	// What is left is stored after ctx has ended.
	w := &way{ask: m.Ask, question: m.Question, ctx: context.WithoutCancel(ctx)}
	f, err := w.get(ctx)
	if err != nil {
		return err
	}
	blobs, err := newBlobs(f, m.HTTP, w.token, m.Log)
	if err != nil {
		return err
	}
	url := blobclient.Join(f.URL, m.Folder)
	var files []blobclient.Blob
	if err := blobs.List(ctx, url, func(b blobclient.Blob) error { files = append(files, b); return nil }); err != nil {
		return fmt.Errorf("listing the volume's folder: %w", err)
	}
	cache, err := blobmount.NewCache(m.CacheDir, cacheSize)
	if err != nil {
		return err
	}
	dev, err := m.device(ctx)
	if err != nil {
		return err
	}
	age := m.Age
	if age == 0 {
		age = nameAge
	}
	mounted, err := blobmount.Serve(context.WithoutCancel(ctx), dev, blobmount.Config{Blobs: blobs, Cache: cache, URL: url, Files: files,
		Writable: m.Question.Write, StageDir: m.CacheDir, Age: age, Log: m.Log})
	if err != nil {
		return err
	}
	defer mounted.Stop()
	m.Log.Info("the volume is served", "folder", m.Folder, "files", len(files), "write", m.Question.Write)
	ready()
	ended := make(chan struct{})
	go func() { mounted.Wait(); close(ended) }()
	select {
	case <-ctx.Done():
	case <-ended:
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), (storeWithin-10)*time.Second)
	defer cancel()
	if err := mounted.Flush(last); err != nil {
		return fmt.Errorf("storing what was written: %w", err)
	}
	m.Log.Info("all is stored")
	return nil
}

// device gets the mount from csi-blob-node.
func (m Mount) device(ctx context.Context) (*os.File, error) {
	ctx, cancel := context.WithTimeout(ctx, brokerPatience)
	defer cancel()
	for {
		dev, err := mountbroker.Ask(ctx, m.VolumeDir, mountbroker.Request{Name: mountbroker.Served, ReadOnly: !m.Question.Write})
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

func newBlobs(f link.Folder, http *http.Client, token func() (string, error), log *slog.Logger) (*blobclient.Client, error) {
	return blobclient.New(blobclient.Config{Base: f.BlobBase, HTTP: http, Token: token, OnRetry: func(err error, wait time.Duration) {
		log.Warn("trying again", "after", wait.Round(time.Millisecond), "error", err)
	}})
}

// way is the way to a datastore, asked for anew when half of the token's time is over.
type way struct {
	ask      func(context.Context, link.FolderRequest) (link.Folder, error)
	question link.FolderRequest
	ctx      context.Context

	mu          sync.Mutex
	folder      link.Folder
	renew, ends time.Time
}

// tokenWithin bounds how long a transfer waits for a new token before it is tried again.
const tokenWithin = 20 * time.Second

func (w *way) get(ctx context.Context) (link.Folder, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	asked := time.Now()
	if asked.Before(w.renew) {
		return w.folder, nil
	}
	ctx, cancel := context.WithTimeout(ctx, tokenWithin)
	defer cancel()
	f, err := w.ask(ctx, w.question)
	if err != nil && asked.Before(w.ends) {
		w.renew = asked.Add(tokenWithin) // the one of before is good
		return w.folder, nil
	}
	if err != nil {
		return f, err
	}
	life := time.Duration(f.ExpiresIn) * time.Second
	w.folder, w.renew, w.ends = f, asked.Add(life/2), asked.Add(life)
	return f, nil
}

func (w *way) token() (string, error) {
	f, err := w.get(w.ctx)
	return f.Token, err
}

// Empty deletes all blobs in a folder of a datastore.
func Empty(http *http.Client, log *slog.Logger) func(context.Context, link.Folder, string) error {
	return func(ctx context.Context, f link.Folder, folder string) error {
		if !validFolder(folder) {
			return fmt.Errorf("folder is %q; it must be the path of a folder in the datastore", folder)
		}
		blobs, err := newBlobs(f, http, func() (string, error) { return f.Token, nil }, log)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, time.Duration(f.ExpiresIn)*time.Second)
		defer cancel()
		return blobs.List(ctx, blobclient.Join(f.URL, folder), func(b blobclient.Blob) error { return blobs.Delete(ctx, b.URL) })
	}
}
