package blobs

import (
	"cmp"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// writer writes one object, which has reached the disk when commit returns: fileblob leaves that to the kernel, and a power
// failure would take what was acknowledged. It also writes attributes in place, where readers meet half of them. So in a folder
// fileblob writes under another name, and commit gives content and attributes theirs. Of a bucket that is no folder, Close is enough.
type writer struct {
	*blob.Writer
	key string
	f   *Front
	// staged is what the name ends with until commit, "" in a bucket that is no folder; create refuses to replace.
	staged string
	create bool
	file   *os.File // fileblob's temporary file, in the folder of the final one
}

// attrsSuffix is what fileblob's files of attributes end with.
const attrsSuffix = ".attrs"

func (f *Front) newWriter(ctx context.Context, key string, opts *blob.WriterOptions) (*writer, error) {
	w := &writer{key: key, f: f}
	o := *opts
	if f.folder {
		var random [4]byte
		_, _ = rand.Read(random[:]) // never fails
		w.staged = "." + hex.EncodeToString(random[:]) + ".tmp"
		w.create, o.IfNotExist = o.IfNotExist, false
		o.ContentType = cmp.Or(o.ContentType, "application/octet-stream") // the file is there at once
		o.BeforeWrite = func(as func(any) bool) error {
			as(&w.file)
			return nil
		}
	}
	var err error
	w.Writer, err = f.cfg.Bucket.NewWriter(ctx, key+w.staged, &o)
	return w, err
}

// taken reports whether a write failed because the object is there already.
func taken(err error) bool {
	return errors.Is(err, fs.ErrExist) || gcerrors.Code(err) == gcerrors.FailedPrecondition
}

// commit makes the object visible. The content is on the disk before its name is, the attributes and the folders after.
func (w *writer) commit() error {
	if w.staged == "" || w.file == nil {
		return w.Close()
	}
	temp := w.file.Name()
	at := strings.TrimSuffix(temp, ".tmp")
	at = at[:strings.LastIndexByte(at, '.')] // fileblob's temporary name is the other one with a time and .tmp
	err := errors.Join(w.f.sync(temp), w.Close())
	if err == nil {
		err = w.f.sync(at + attrsSuffix)
	}
	if err == nil {
		err = w.place(at)
	}
	if err != nil {
		return errors.Join(err, removed(os.Remove(at)), removed(os.Remove(at+attrsSuffix)))
	}
	dir := filepath.Dir(temp)
	err = w.f.sync(dir)
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

// place gives what was written its name. Attributes come first: a reader meets those of the old content or of the new, and all of them.
func (w *writer) place(at string) error {
	final := strings.TrimSuffix(at, w.staged)
	if w.create {
		if _, err := os.Lstat(final); err == nil {
			return &fs.PathError{Op: "create", Path: w.key, Err: fs.ErrExist}
		}
	}
	if err := os.Rename(at+attrsSuffix, final+attrsSuffix); err != nil {
		return err
	}
	if !w.create {
		return os.Rename(at, final)
	}
	if err := os.Link(at, final); err != nil { // unlike a rename it replaces nothing that another process made meanwhile
		return err
	}
	return os.Remove(at)
}

// removed is no error where there was nothing to remove.
func removed(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
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
