package blobs

import (
	"context"
	"crypto/md5"
	"errors"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"gocloud.dev/blob"
)

// writer writes one object, which has reached the disk when commit returns: fileblob leaves that to the kernel, and a power
// failure would take what was acknowledged. Of a bucket that is no folder, file stays nil and Close is enough.
type writer struct {
	*blob.Writer
	key  string
	f    *Front
	file *os.File // fileblob's temporary file, in the folder of the final one
}

func (f *Front) newWriter(ctx context.Context, key string, opts *blob.WriterOptions) (*writer, error) {
	w := &writer{key: key, f: f}
	o := *opts
	o.BeforeWrite = func(as func(any) bool) error {
		as(&w.file)
		return nil
	}
	var err error
	w.Writer, err = f.cfg.Bucket.NewWriter(ctx, key, &o)
	return w, err
}

// commit makes the object visible. The content is on the disk before its name is, the attributes and the folders after.
func (w *writer) commit() error {
	if w.file == nil {
		return w.Close()
	}
	temp := w.file.Name()
	if err := errors.Join(w.f.sync(temp), w.Close()); err != nil {
		return err
	}
	dir := filepath.Dir(temp)
	err := errors.Join(w.f.sync(filepath.Join(dir, path.Base(w.key)+".attrs")), w.f.sync(dir))
	var fresh []string
	for range strings.Count(w.key, "/") { // the folders up to the bucket's may be new
		if err != nil || w.f.dirs.has(dir) {
			break
		}
		fresh = append(fresh, dir)
		dir = filepath.Dir(dir)
		err = w.f.sync(dir)
	}
	if err == nil { // not one by one: another write would take a folder for safe whose own folder is not yet
		w.f.dirs.add(fresh...)
	}
	return err
}

// dirCache remembers folders that are on the disk, with all folders above them. Folders are never removed.
type dirCache struct {
	mu sync.Mutex
	m  map[string]bool
}

const maxDirs = 10_000

func (c *dirCache) has(dir string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m[dir]
}

func (c *dirCache) add(dirs ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= maxDirs {
		c.m = make(map[string]bool)
	}
	for _, dir := range dirs {
		c.m[dir] = true
	}
}

// syncPath brings a file or a folder to the disk. Windows can't sync through a handle for reading.
func syncPath(name string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// write writes a small object whole.
func (f *Front) write(ctx context.Context, key string, data []byte, opts *blob.WriterOptions) error {
	sum := md5.Sum(data)
	opts.ContentMD5 = sum[:]
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := f.newWriter(ctx, key, opts)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		cancel()
		return errors.Join(err, w.Close())
	}
	return w.commit()
}
