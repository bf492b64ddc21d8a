package csi

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/mountbroker"
)

// source is what the mount table calls the volumes of this driver.
const source = "fairlead-mounts"

// volumeOptions of the tmpfs: it holds a socket and empty folders.
const volumeOptions = "mode=0755,size=64k,nr_inodes=600"

// maxMounts bounds what one pod adds to the node's mount table.
const maxMounts = 256

// published are the folders below prefix where a volume is.
func published(prefix string) ([]string, error) {
	infos, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) {
		return i.FSType != "tmpfs" || i.Source != source || !strings.HasPrefix(i.Mountpoint, prefix), false
	})
	dirs := make([]string, 0, len(infos))
	for _, i := range infos {
		dirs = append(dirs, i.Mountpoint)
	}
	return dirs, err
}

// makeVolume mounts the volume; one that is there is taken as it is.
func makeVolume(dir string) error {
	if there, err := published(dir); err != nil || len(there) > 0 {
		return err
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return err
	}
	return os.NewSyscallError("mount", unix.Mount(source, dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, volumeOptions))
}

// removeVolume unmounts the volume and all in it, at once even when a file system there does not answer, and removes the folder,
// which is empty then.
func removeVolume(dir string) error {
	for {
		err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break
		}
		if err != nil {
			return os.NewSyscallError("umount", err)
		}
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// openDir opens the volume's folder, itself and nothing that a link leads to.
func openDir(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", dir, err)
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// below is a path to something in an open folder. It is short, as the address of a socket must be.
func below(d *os.File, name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name) }

// listenIn makes the volume's socket anew.
func listenIn(dir string) (*net.UnixListener, error) {
	d, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	if err := unix.Unlinkat(int(d.Fd()), mountbroker.Socket, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("removing the socket of before: %w", err)
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Net: "unixpacket", Name: below(d, mountbroker.Socket)})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // its path ends with d
	// Whoever is in the pod may ask; nobody else sees the volume.
	if err := unix.Fchmodat(int(d.Fd()), mountbroker.Socket, 0o666, 0); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// mount makes a FUSE mount in a volume and returns its device. The pod may be able to write to its volume, so no step follows a link:
// a folder that is one would lead the mount elsewhere on the node.
func mount(dir string, q mountbroker.Request, uid, gid uint32) (*os.File, error) {
	there, err := mounts(dir)
	if err != nil {
		return nil, err
	}
	if there >= maxMounts {
		return nil, fmt.Errorf("the pod has %d mounts; it gets at most %d", there, maxMounts)
	}
	at, err := vacant(dir, q.Name)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	dev, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the node's FUSE device: %w (load the kernel's module: modprobe fuse)", err)
	}
	flags := uintptr(unix.MS_NOSUID | unix.MS_NODEV)
	if q.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=%d,group_id=%d,allow_other", dev.Fd(), uid, gid)
	if err := unix.Mount("fairlead", below(at, "."), "fuse.fairlead", flags, options); err != nil {
		return nil, errors.Join(os.NewSyscallError("mount", err), dev.Close())
	}
	return dev, nil
}

// vacant makes the folder of a mount, and takes away one of that name which a process before the one that asks now left there.
func vacant(dir, name string) (*os.File, error) {
	for {
		at, err := makeDir(dir, name)
		if err != nil {
			return nil, err
		}
		err = unix.Unmount(below(at, "."), unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) { // it is no mount
			return at, nil
		}
		if err := errors.Join(os.NewSyscallError("umount", err), at.Close()); err != nil {
			return nil, err
		}
	}
}

// mounts counts the mounts in a volume.
func mounts(dir string) (int, error) {
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	return len(infos), err
}

// makeDir makes the folders of a mount, which is one level deep, and opens the last.
func makeDir(dir, name string) (*os.File, error) {
	d, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	for _, p := range []string{path.Dir(name), name} {
		if err := mkdirBeneath(d, p); err != nil {
			return nil, fmt.Errorf("making folder %s: %w", p, err)
		}
	}
	return openBeneath(d, name)
}

func mkdirBeneath(d *os.File, name string) error {
	parent, err := openBeneath(d, path.Dir(name))
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := unix.Mkdirat(int(parent.Fd()), path.Base(name), 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

func openBeneath(d *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat2(int(d.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, os.NewSyscallError("openat2", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
