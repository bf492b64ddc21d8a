package cli

import (
	"context"
	"crypto/md5" //nolint:gosec // the blob protocol's checksum
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/internal/cli/snapshot"
	"fairlead.dev/fairlead/internal/client"
)

// parallel is how many files are sent or fetched at once.
const parallel = 8

// upload sends a snapshot's files below prefix. Files that an earlier, interrupted upload left complete are not sent again.
func (a *app) upload(ctx context.Context, to files, snap *snapshot.Snapshot, prefix string) error {
	blobs, err := to.List(ctx, prefix+"/")
	if err != nil {
		return err
	}
	have := make(map[string]client.Blob, len(blobs))
	for _, b := range blobs {
		have[b.Name] = b
	}
	progress := a.bar("Uploading "+path.Base(snap.Root), snap.Size)
	defer progress.finish()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, f := range snap.Files {
		g.Go(func() error {
			name := prefix + "/" + f.Rel
			file, err := os.Open(f.Path)
			if err != nil {
				return fmt.Errorf("uploading %s: %w", f.Rel, err)
			}
			defer file.Close()
			if b, ok := have[name]; ok && b.Size == f.Size && b.MD5 != "" && md5Of(file) == b.MD5 {
				progress.add(f.Size)
				return nil
			}
			return to.Upload(ctx, name, file, f.Size, progress.add)
		})
	}
	return g.Wait()
}

func md5Of(r io.Reader) string {
	sum := md5.New() //nolint:gosec // the blob protocol's checksum
	if _, err := io.Copy(sum, r); err != nil {
		return ""
	}
	return base64.StdEncoding.EncodeToString(sum.Sum(nil))
}

// download fetches every blob below prefix into dir and returns the number of files. A prefix that is itself a blob is
// fetched as one file.
func (a *app) download(ctx context.Context, from files, prefix, dir string) (int, error) {
	prefix = strings.TrimSuffix(prefix, "/")
	blobs, err := from.List(ctx, prefix)
	if err != nil {
		return 0, err
	}
	type item struct {
		blob client.Blob
		rel  string
	}
	var items []item
	var total int64
	for _, b := range blobs {
		rel, below := strings.CutPrefix(b.Name, prefix+"/")
		switch {
		case prefix == "":
			rel = b.Name
		case b.Name == prefix:
			rel = path.Base(prefix)
		case !below:
			continue // a sibling whose name begins with the same letters
		}
		if rel == "" || strings.HasSuffix(rel, "/") {
			continue // a folder's marker
		}
		items, total = append(items, item{b, rel}), total+b.Size
	}
	if len(items) == 0 {
		return 0, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, fmt.Errorf("making the target folder: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, fmt.Errorf("opening the target folder: %w", err)
	}
	defer root.Close()
	progress := a.bar("Downloading to "+dir, total)
	defer progress.finish()
	var done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, i := range items {
		g.Go(func() error {
			if err := from.Download(ctx, root, i.blob, i.rel, progress.add); err != nil {
				return err
			}
			done.Add(1)
			return nil
		})
	}
	err = g.Wait()
	return int(done.Load()), err
}
