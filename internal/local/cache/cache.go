// Package cache keeps what took long to make (binaries, root file systems, images) in folders named after a hash of
// everything they were made from, so that making the same thing again takes no time.
package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"time"
)

// Dir is FAIRLEAD_CACHE_DIR, or fairlead below the user's cache folder (XDG_CACHE_HOME or ~/.cache).
func Dir() (string, error) {
	if d := os.Getenv("FAIRLEAD_CACHE_DIR"); d != "" {
		return filepath.Abs(d)
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache folder: %w (set FAIRLEAD_CACHE_DIR)", err)
	}
	return filepath.Join(base, "fairlead"), nil
}

// Key collects what an artifact depends on. The zero value is not usable; take NewKey.
type Key struct {
	parts map[string]string
}

// NewKey starts an empty key.
func NewKey() *Key { return &Key{parts: map[string]string{}} }

// Add puts a named value into the key. A name that is given twice keeps the last value.
func (k *Key) Add(name, value string) *Key {
	k.parts[name] = value
	return k
}

// AddFile puts the content of a file into the key under a name that does not depend on where the file is.
func (k *Key) AddFile(name, path string) error {
	sum, err := FileSum(path)
	if err != nil {
		return err
	}
	k.Add("file:"+name, sum)
	return nil
}

// AddTree puts every regular file below dir that keep accepts (its slash-separated path below dir) into the key.
func (k *Key) AddTree(dir string, keep func(rel string) bool) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if rel = filepath.ToSlash(rel); !keep(rel) {
			return nil
		}
		return k.AddFile(rel, path)
	})
}

// String is the key as 24 hex digits.
func (k *Key) String() string {
	names := make([]string, 0, len(k.parts))
	for n := range k.parts {
		names = append(names, n)
	}
	sort.Strings(names)
	h := sha256.New()
	for _, n := range names {
		fmt.Fprintf(h, "%d:%s=%d:%s\n", len(n), n, len(k.parts[n]), k.parts[n])
	}
	return hex.EncodeToString(h.Sum(nil))[:24]
}

// FileSum is the SHA-256 of a file's content in hex.
func FileSum(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("hashing: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("hashing %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Ensure returns the folder <dir>/<kind>/<key> and whether it was there. If not, make fills a temporary folder that is
// renamed to it when make succeeds; several processes that want the same folder wait for the first.
func Ensure(ctx context.Context, dir, kind, key string, make func(ctx context.Context, tmp string) error) (string, bool, error) {
	final := filepath.Join(dir, kind, key)
	if exists(final) {
		return final, true, nil
	}
	parent := filepath.Dir(final)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return "", false, fmt.Errorf("making the cache folder: %w", err)
	}
	unlock, err := lock(ctx, final+".lock")
	if err != nil {
		return "", false, fmt.Errorf("waiting for another build of %s: %w", kind, err)
	}
	defer unlock()
	if exists(final) {
		return final, true, nil
	}
	tmp, err := os.MkdirTemp(parent, key+".tmp-")
	if err != nil {
		return "", false, fmt.Errorf("making the cache folder: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := make(ctx, tmp); err != nil {
		return "", false, err
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return "", false, err
	}
	if err := os.Rename(tmp, final); err != nil {
		return "", false, fmt.Errorf("keeping %s in the cache: %w", kind, err)
	}
	return final, false, nil
}

// Trim removes all but the newest keep entries of a kind.
func Trim(dir, kind string, keep int) error {
	entries, err := os.ReadDir(filepath.Join(dir, kind))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listing the cache: %w", err)
	}
	type entry struct {
		name string
		at   time.Time
	}
	var found []entry
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.IsDir() && filepath.Ext(e.Name()) == "" {
			found = append(found, entry{e.Name(), info.ModTime()})
		}
	}
	sort.Slice(found, func(i, j int) bool { return found[i].at.After(found[j].at) })
	var errs []error
	for _, e := range found[min(keep, len(found)):] {
		path := filepath.Join(dir, kind, e.name)
		errs = append(errs, os.RemoveAll(path), removeIfThere(path+".lock"))
	}
	return errors.Join(errs...)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Link puts a hard link to (or, on another file system, a copy of) from at to, replacing what is there in one step.
func Link(from, to string) error {
	if a, err := os.Stat(from); err != nil {
		return err
	} else if b, err := os.Stat(to); err == nil && os.SameFile(a, b) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	tmp := to + ".new"
	if err := removeIfThere(tmp); err != nil {
		return err
	}
	if err := os.Link(from, tmp); err != nil {
		if err := copyFile(from, tmp); err != nil {
			return fmt.Errorf("copying %s: %w", filepath.Base(from), err)
		}
	}
	return os.Rename(tmp, to)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
