package blobs

import (
	"cmp"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

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
	o.MaxConcurrency = 1 // each part of an upload to S3 is 5 MiB in memory, and those under way are many
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
	err := errors.Join(w.stamp(temp, strings.TrimSuffix(at, w.staged)), w.f.sync(temp), w.Close())
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

// stamp gives a file a time that no earlier content of its name had: the kernel's own advances every few milliseconds, and ETags are
// made of it.
func (w *writer) stamp(temp, final string) error {
	now := time.Now()
	if old, err := os.Lstat(final); err == nil && !now.After(old.ModTime().Add(time.Microsecond)) {
		now = old.ModTime().Add(time.Microsecond)
	}
	return os.Chtimes(temp, now, now)
}

// place gives what was written its name, attributes first: a reader meets those of the old content or of the new, and all of them but for
// sums. Those come last, when there is an old content: whoever stops in between leaves no sum of another content.
func (w *writer) place(at string) error {
	final := strings.TrimSuffix(at, w.staged)
	_, err := os.Lstat(final)
	there := err == nil
	switch {
	case there && w.create:
		return &fs.PathError{Op: "create", Path: w.key, Err: fs.ErrExist}
	case w.create:
		return w.placeNew(at, final)
	case !there:
		return w.f.renames([2]string{at + attrsSuffix, final + attrsSuffix}, [2]string{at, final})
	}
	bare := at + ".bare" + attrsSuffix
	if err := w.f.writeBare(at+attrsSuffix, bare); err != nil {
		return errors.Join(err, removed(os.Remove(bare)))
	}
	if err := w.f.renames([2]string{bare, final + attrsSuffix}, [2]string{at, final}, [2]string{at + attrsSuffix, final + attrsSuffix}); err != nil {
		return errors.Join(err, removed(os.Remove(bare)))
	}
	return nil
}

// renames does one after the other, up to the first that fails.
func (f *Front) renames(steps ...[2]string) error {
	for _, step := range steps {
		if err := f.rename(step[0], step[1]); err != nil {
			return err
		}
	}
	return nil
}

// placeNew replaces nothing that another process makes meanwhile. Who links the attributes first goes on to the content; where they are
// there without one, they are what somebody left who stopped in between, or somebody else's who is quicker or slower: then the content decides.
func (w *writer) placeNew(at, final string) error {
	err := w.f.link(at+attrsSuffix, final+attrsSuffix)
	first := err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := w.f.link(at, final); err != nil {
		return err
	}
	if !first {
		if err := w.f.rename(at+attrsSuffix, final+attrsSuffix); err != nil {
			return err
		}
	}
	return errors.Join(removed(os.Remove(at)), removed(os.Remove(at+attrsSuffix)))
}

// writeBare brings a copy of attributes to the disk that says nothing of what the content is.
func (f *Front) writeBare(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	var attrs map[string]any // in fileblob's form
	if err := json.Unmarshal(data, &attrs); err != nil {
		return fmt.Errorf("decoding attributes: %w", err)
	}
	delete(attrs, "md5")
	if meta, ok := attrs["user.metadata"].(map[string]any); ok {
		delete(meta, metaMD5)
		delete(meta, metaClaimed)
		delete(meta, metaBlocks)
	}
	if data, err = json.Marshal(attrs); err != nil {
		return fmt.Errorf("encoding attributes: %w", err)
	}
	if err := os.WriteFile(to, data, 0o600); err != nil {
		return err
	}
	return f.sync(to)
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
