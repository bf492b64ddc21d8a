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

var (
	namespaceName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	modelName     = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

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
		old := ierr == nil && now.Sub(info.ModTime()) > keepModels
		switch name := e.Name(); {
		case ierr != nil: // gone meanwhile
		case strings.HasPrefix(name, ".fetch-") && old:
			err = errors.Join(err, root.RemoveAll(name))
		case modelName.MatchString(name) && (old || short):
			err = errors.Join(err, n.dropModel(root, name))
		}
	}
	return err
}

// dropModel removes a model, with the marks of pods that are gone, unless a pod uses it or looks at it now.
func (n *Node) dropModel(root *os.Root, digest string) error {
	lock, err := root.OpenFile(digest+".lock", os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return err
	}
	defer lock.Close()
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil
	}
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		pod, mark := strings.CutPrefix(e.Name(), digest+".pod-")
		if !mark {
			continue
		}
		if _, err := os.Lstat(filepath.Join(n.podsDir(), filepath.Base(pod))); err == nil {
			return nil
		}
		if err := root.Remove(e.Name()); err != nil {
			return err
		}
	}
	n.cfg.Log.Info("a model that no pod uses is removed", "folder", root.Name(), "digest", digest)
	return root.RemoveAll(digest)
}
