package runtime

import (
	"bytes"
	"context"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// modelCache is the folder of models that a node keeps for the pods of one namespace:
//
//	<digest>/<file>…      a model, complete
//	<digest>.lock         held while it is looked at or fetched, so that pods that start together fetch once
//	<digest>.pod-<uid>    a pod that uses it; the node's CSI driver removes what no pod uses
//	.fetch-<digest>-*     being fetched, by who holds the lock
type modelCache struct{ dir, pod string }

// errCache is of a cache that cannot be written; the model is fetched into the pod itself then.
var errCache = errors.New("the cache of models does not work")

// lockPoll is how often a pod looks whether another has fetched.
const lockPoll = 100 * time.Millisecond

// get is the folder of a tree, fetched unless it is there; hit says that it was. What is there is read through and compared, since it
// may be that a disk, or a pod of the namespace, changed it.
func (c modelCache) get(ctx context.Context, digest string, t tree, f fetcher) (dir string, hit bool, err error) {
	lock, err := c.lock(ctx, digest)
	if err != nil {
		return "", false, err
	}
	defer lock.Close() // and with it the lock
	if err := os.WriteFile(filepath.Join(c.dir, digest+".pod-"+c.pod), nil, 0o666); err != nil {
		return "", false, fmt.Errorf("%w: %w", errCache, err)
	}
	dir = filepath.Join(c.dir, digest)
	if t.sound(dir) {
		now := time.Now()
		_ = os.Chtimes(dir, now, now)
		return dir, true, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", false, fmt.Errorf("%w: %w", errCache, err)
	}
	if err := c.clear(digest); err != nil {
		return "", false, fmt.Errorf("%w: %w", errCache, err)
	}
	tmp, err := os.MkdirTemp(c.dir, ".fetch-"+digest+"-*")
	if err != nil {
		return "", false, fmt.Errorf("%w: %w", errCache, err)
	}
	defer os.RemoveAll(tmp)
	if err := t.fetch(ctx, f, tmp); err != nil {
		return "", false, err
	}
	if err := errors.Join(os.Chmod(tmp, 0o755), os.Rename(tmp, dir)); err != nil {
		return "", false, fmt.Errorf("%w: %w", errCache, err)
	}
	return dir, false, nil
}

// clear removes what pods left that were killed while they fetched the model: who holds its lock is alone.
func (c modelCache) clear(digest string) error {
	left, err := filepath.Glob(filepath.Join(c.dir, ".fetch-"+digest+"-*"))
	for _, dir := range left {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

func (c modelCache) lock(ctx context.Context, digest string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(c.dir, digest+".lock"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errCache, err)
	}
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("%w: %w", errCache, err), f.Close())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		}
	}
}

// sound says that a folder holds a tree, and nothing else.
func (t tree) sound(dir string) bool {
	want := map[string]int{}
	for i, b := range t.files {
		want[b.Name] = i
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		i, known := want[name]
		if err != nil || !known || !d.Type().IsRegular() || !same(path, t.files[i].Size, t.files[i].MD5) {
			return errCache
		}
		delete(want, name)
		return nil
	})
	return err == nil && len(want) == 0
}

func same(path string, size int64, sum []byte) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	h := md5.New()
	n, err := io.Copy(h, f)
	return err == nil && n == size && bytes.Equal(h.Sum(nil), sum)
}
