package client

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"time"

	"fairlead.dev/fairlead/internal/runtime/blobclient"
)

// Datastore is a datastore whose bytes lie in a store that speaks S3. The control plane says where; they do not pass through it.
type Datastore struct {
	blobs *blobclient.Client
	root  string
}

// How long a store that is away, or refuses, is tried again.
const (
	storeAway    = 30 * time.Second
	storeRefuses = time.Second
)

// Datastore opens a datastore of the workspace that has a storage account.
func (c *Client) Datastore(account, name string) (*Datastore, error) {
	base := c.Endpoint() + "/datastores"
	blobs, err := blobclient.New(blobclient.Config{
		Base: c.Endpoint() + "/blob", Datastores: base, HTTP: c.http, Wait: c.cfg.Sleep, RetryFor: storeAway, DeniedFor: storeRefuses,
		Token:   func() (string, error) { return c.cfg.Token(context.Background(), false) },
		OnRetry: func(err error, wait time.Duration) { c.cfg.Trace("again in %s: %v", wait, err) },
	})
	return &Datastore{blobs: blobs, root: base + "/" + account + "/" + name}, err
}

// List returns the file at prefix, if there is one, and what is below it.
func (d *Datastore) List(ctx context.Context, prefix string) ([]Blob, error) {
	folder := path.Clean("/" + prefix)[1:]
	var out []Blob
	if folder != "" {
		p, err := d.blobs.Head(ctx, blobclient.Join(d.root, folder))
		if err == nil {
			out = append(out, Blob{Name: folder, ETag: p.ETag, Size: p.Size, MD5: base64.StdEncoding.EncodeToString(p.MD5)})
		} else if !blobclient.IsNotFound(err) {
			return nil, err
		}
	}
	err := d.blobs.List(ctx, blobclient.Join(d.root, folder), func(b blobclient.Blob) error {
		out = append(out, Blob{Name: path.Join(folder, b.Name), ETag: b.ETag, Size: b.Size, MD5: base64.StdEncoding.EncodeToString(b.MD5)})
		return nil
	})
	return out, err
}

// Upload writes a file. sent is called with byte counts; it may be nil.
func (d *Datastore) Upload(ctx context.Context, name string, r io.ReaderAt, size int64, sent func(int64)) error {
	if err := d.blobs.Upload(ctx, blobclient.Join(d.root, name), r, size); err != nil {
		return fmt.Errorf("uploading %s: %w", name, err)
	}
	if sent != nil {
		sent(size)
	}
	return nil
}

// Download writes a file to rel below root, which no name can leave.
func (d *Datastore) Download(ctx context.Context, root *os.Root, blob Blob, rel string, got func(int64)) error {
	rel = filepath.FromSlash(rel)
	if !filepath.IsLocal(rel) {
		return fmt.Errorf("downloading %q: the name would lie outside the target folder; refused", blob.Name)
	}
	part := rel + ".part"
	if err := root.MkdirAll(filepath.Dir(rel), 0o755); err != nil {
		return fmt.Errorf("making folder for %q: %w", rel, err)
	}
	f, err := root.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("creating %q: %w", part, err)
	}
	err = errors.Join(d.blobs.Download(ctx, blobclient.Join(d.root, blob.Name), f, blob.Size, nil), f.Close())
	if err == nil {
		err = root.Rename(part, rel)
	}
	if err != nil {
		return fmt.Errorf("downloading %q: %w", blob.Name, err)
	}
	if got != nil {
		got(blob.Size)
	}
	return nil
}
