package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Do runs fn on a thread of its own inside the namespaces; what fn starts is inside too. The thread ends with fn, as a
// thread that changed its namespaces cannot be used for anything else.
func (n Namespaces) Do(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := n.enter(); err != nil {
			done <- err
			return
		}
		done <- fn()
	}()
	return <-done
}

func (n Namespaces) enter() error {
	var files [2]*os.File
	for i, path := range []string{n.Net, n.Mount} {
		if path == "" {
			continue
		}
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("opening a namespace: %w", err)
		}
		defer f.Close()
		files[i] = f
	}
	if f := files[0]; f != nil {
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering network namespace %s: %w", n.Net, err)
		}
	}
	if f := files[1]; f != nil {
		// The kernel lets only a thread that shares its working directory with no other change its mounts.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("leaving the shared working directory: %w", err)
		}
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("entering mount namespace %s: %w", n.Mount, err)
		}
	}
	return nil
}

// makeNamespace starts a namespace of one kind on a thread of its own, runs setup in it, and keeps it by binding it to
// a file. If the file keeps one already, nothing is done and setup is not run.
func makeNamespace(file, kind string, flag int, setup func() error) error {
	if isNamespace(file) {
		return nil
	}
	if f, err := os.OpenFile(file, os.O_CREATE|os.O_RDONLY, 0o444); err != nil {
		return fmt.Errorf("making the file of a namespace: %w", err)
	} else if err := f.Close(); err != nil {
		return err
	}
	ready, release := make(chan threadResult, 1), make(chan struct{})
	defer close(release)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(flag)
		if err == nil {
			err = setup()
		}
		ready <- threadResult{unix.Gettid(), err}
		<-release
	}()
	r := <-ready
	if r.err != nil {
		return fmt.Errorf("making a %s namespace: %w", kind, r.err)
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/%s", r.tid, kind), file, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("keeping a %s namespace as %s: %w", kind, file, err)
	}
	return nil
}

type threadResult struct {
	tid int
	err error
}

// MakeNetns makes a network namespace that `ip netns` knows by the file's name.
func MakeNetns(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("making the folder of network namespaces: %w", err)
	}
	return makeNamespace(file, "net", unix.CLONE_NEWNET, func() error { return nil })
}

// MakeMountns makes a mount namespace that sees later changes of the machine's mounts but shows none of its own, and
// runs setup in it. The folder of the file must have been prepared by PrivateDir.
func MakeMountns(file string, setup func() error) error {
	return makeNamespace(file, "mnt", unix.CLONE_NEWNS, func() error {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return fmt.Errorf("separating mounts: %w", err)
		}
		if err := setup(); err != nil {
			return err
		}
		// Volumes that a pod mounts must be seen by the node: Kubernetes wants shared mounts.
		return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")
	})
}

// PrivateDir makes a folder whose mounts spread nowhere; only in such a folder can mount namespaces be kept.
func PrivateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the folder of namespaces: %w", err)
	}
	if mounted, err := isMountPoint(dir); err != nil || mounted {
		return err
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("making %s a mount: %w", dir, err)
	}
	return unix.Mount("", dir, "", unix.MS_PRIVATE, "")
}

func isNamespace(file string) bool {
	var st unix.Statfs_t
	return unix.Statfs(file, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// RemoveNamespace lets go of a namespace that a file keeps, and removes the file.
func RemoveNamespace(file string) error {
	for isNamespace(file) {
		if err := unix.Unmount(file, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("letting go of namespace %s: %w", file, err)
		}
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
