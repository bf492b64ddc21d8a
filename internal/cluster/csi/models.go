package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/mountbroker"
)

// What is kept: a model that no pod of the node uses stays for a day, unless less than a seventh of the disk is free.
const (
	keepModels  = 24 * time.Hour
	sweepEvery  = 10 * time.Minute
	freeAtLeast = 15 // percent
)

var namespaceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// modelsRoot has one folder of models for each namespace, which its pods share and those of others never see. What is in it is theirs
// (runtime's modelCache): the driver follows no link in it, and does nothing but remove what nobody uses.
func (n *Node) modelsRoot() string {
	return filepath.Join(n.cfg.KubeletDir, "plugins", mountbroker.Driver, "models")
}

// publishModels mounts the namespace's folder of models at dir.
func (n *Node) publishModels(dir, namespace string) error {
	if !namespaceName.MatchString(namespace) {
		return fmt.Errorf("the kubelet names namespace %q", namespace)
	}
	if there, err := mountinfo.Mounted(dir); err == nil && there {
		return nil
	}
	from := filepath.Join(n.modelsRoot(), namespace)
	if err := os.MkdirAll(from, 0o750); err != nil {
		return err
	}
	if err := errors.Join(os.Chmod(from, 0o777), os.MkdirAll(dir, 0o750)); err != nil { // pods have users of all kinds
		return err
	}
	if err := unix.Mount(from, dir, "", unix.MS_BIND, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	return os.NewSyscallError("mount", unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_NOSUID|unix.MS_NODEV, ""))
}

// sweepModels removes models that no pod uses until ctx ends.
func (n *Node) sweepModels(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		if err := n.sweep(time.Now(), short(n.modelsRoot())); err != nil {
			n.cfg.Log.Error("models that no pod uses are not removed", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// short says that the disk is nearly full.
func short(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && s.Blocks > 0 && s.Bavail*100/s.Blocks < freeAtLeast
}

func (n *Node) sweep(now time.Time, short bool) error {
	namespaces, err := os.ReadDir(n.modelsRoot())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, ns := range namespaces {
		err = errors.Join(err, n.sweepNamespace(filepath.Join(n.modelsRoot(), ns.Name()), now, short))
	}
	return err
}

func (n *Node) sweepNamespace(dir string, now time.Time, short bool) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	for _, e := range entries {
		info, ierr := e.Info()
		if ierr != nil { // gone meanwhile
			continue
		}
		old := now.Sub(info.ModTime()) > keepModels
		what, digest := kindOf(e.Name())
		if what == entryLock && !e.Type().IsRegular() {
			what = entryUnknown
		}
		switch {
		case what == entryModel && (old || short):
			err = errors.Join(err, n.dropModel(root, digest))
		case what == entryFetch:
			err = errors.Join(err, locked(root, digest, func() error { return root.RemoveAll(e.Name()) }))
		case what == entryLock && old:
			err = errors.Join(err, dropLock(root, digest))
		case what == entryMark && old:
			err = errors.Join(err, n.dropMark(root, e.Name()))
		case what == entryUnknown && (old || short):
			err = errors.Join(err, root.RemoveAll(e.Name()))
		}
	}
	return err
}

// entry is what something in a namespace's folder is, by its name.
type entry int

const (
	entryUnknown entry = iota
	entryModel
	entryFetch
	entryLock
	entryMark
)

var entryName = regexp.MustCompile(`^(\.fetch-)?([0-9a-f]{64})(\.lock|\.pod-.+|-.+)?$`)

func kindOf(name string) (what entry, digest string) {
	m := entryName.FindStringSubmatch(name)
	if m == nil {
		return entryUnknown, ""
	}
	fetch, digest, rest := m[1] != "", m[2], m[3]
	switch {
	case fetch && strings.HasPrefix(rest, "-"):
		return entryFetch, digest
	case fetch:
	case rest == "":
		return entryModel, digest
	case rest == ".lock":
		return entryLock, digest
	case strings.HasPrefix(rest, ".pod-"):
		return entryMark, digest
	}
	return entryUnknown, ""
}

// locked does something unless somebody looks at the model or fetches it now.
func locked(root *os.Root, digest string, do func() error) error {
	lock, err := root.OpenFile(digest+".lock", os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return err
	}
	defer lock.Close()
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil
	}
	return do()
}

// dropLock removes the lock of a model that is not there.
func dropLock(root *os.Root, digest string) error {
	if _, err := root.Lstat(digest); err == nil {
		return nil
	}
	return locked(root, digest, func() error { return root.Remove(digest + ".lock") })
}

// dropMark removes the mark of a pod that is gone.
func (n *Node) dropMark(root *os.Root, name string) error {
	if _, pod, _ := strings.Cut(name, ".pod-"); n.hasPod(pod) {
		return nil
	}
	return root.RemoveAll(name)
}

func (n *Node) hasPod(uid string) bool {
	_, err := os.Lstat(filepath.Join(n.podsDir(), filepath.Base(uid)))
	return err == nil
}

// dropModel removes a model, with the marks of pods that are gone, unless a pod uses it or looks at it now.
func (n *Node) dropModel(root *os.Root, digest string) error {
	return locked(root, digest, func() error {
		entries, err := fs.ReadDir(root.FS(), ".")
		if err != nil {
			return err
		}
		for _, e := range entries {
			pod, mark := strings.CutPrefix(e.Name(), digest+".pod-")
			if !mark {
				continue
			}
			if n.hasPod(pod) {
				return nil
			}
			if err := root.RemoveAll(e.Name()); err != nil {
				return err
			}
		}
		n.cfg.Log.Info("a model that no pod uses is removed", "folder", root.Name(), "digest", digest)
		return root.RemoveAll(digest)
	})
}
