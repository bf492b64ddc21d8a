package blobmount

import (
	"context"
	"path"
	"sync/atomic"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/internal/runtime/blobclient"
)

// dir is a folder. Its children are kept by the inode.
type dir struct {
	gofs.Inode
	m *Mount
	// made says that it was made through this mount, or that something in it was made, moved or deleted, so that it is there while it
	// is empty: somebody may be in it.
	made atomic.Bool
}

var (
	_ gofs.NodeGetattrer = (*dir)(nil)
	_ gofs.NodeSetattrer = (*dir)(nil)
	_ gofs.NodeStatfser  = (*dir)(nil)
	_ gofs.NodeLookuper  = (*dir)(nil)
	_ gofs.NodeOpendirer = (*dir)(nil)
	_ gofs.NodeMkdirer   = (*dir)(nil)
	_ gofs.NodeCreater   = (*dir)(nil)
	_ gofs.NodeUnlinker  = (*dir)(nil)
	_ gofs.NodeRmdirer   = (*dir)(nil)
	_ gofs.NodeRenamer   = (*dir)(nil)
)

// mode has no write bits where nothing can be written. Blobs have no modes, so everything may be run.
func (m *Mount) mode() uint32 {
	if m.cfg.Writable {
		return 0o777
	}
	return 0o555
}

// Getattr implements NodeGetattrer.
func (d *dir) Getattr(_ context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Nlink = fuse.S_IFDIR|d.m.mode(), 2
	return 0
}

// Setattr implements NodeSetattrer: modes, owners and times of folders are accepted and not kept.
func (d *dir) Setattr(ctx context.Context, f gofs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return d.Getattr(ctx, f, out)
}

// Statfs implements NodeStatfser: what limits a writer is the disk for files that are being written.
func (d *dir) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.m.cfg.StageDir, &st); err != nil {
		return gofs.ToErrno(err)
	}
	out.FromStatfsT(&st)
	return 0
}

// Mkdir implements NodeMkdirer.
func (d *dir) Mkdir(ctx context.Context, _ string, _ uint32, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	out.Mode = fuse.S_IFDIR | d.m.mode()
	sub := &dir{m: d.m}
	sub.made.Store(true)
	d.made.Store(true)
	return d.NewPersistentInode(ctx, sub, gofs.StableAttr{Mode: fuse.S_IFDIR}), 0
}

// Create implements NodeCreater.
func (d *dir) Create(ctx context.Context, name string, _, _ uint32, out *fuse.EntryOut) (*gofs.Inode, gofs.FileHandle, uint32, syscall.Errno) {
	d.made.Store(true)
	f := &file{m: d.m, url: d.urlOf(name)}
	d.m.addresses.take(f.url, f)
	if err := f.truncate(ctx, 0); err != nil {
		d.m.addresses.leave(f.url, f)
		return nil, nil, 0, d.m.errno("creating "+name, err)
	}
	f.open()
	f.attr(&out.Attr)
	return d.NewPersistentInode(ctx, f, gofs.StableAttr{Mode: fuse.S_IFREG}), handle{}, 0, 0
}

// Unlink implements NodeUnlinker.
func (d *dir) Unlink(ctx context.Context, name string) syscall.Errno {
	d.made.Store(true)
	child := d.GetChild(name)
	if child == nil {
		return syscall.ENOENT
	}
	f, ok := child.Operations().(*file)
	if !ok {
		return syscall.EISDIR
	}
	if errno := d.m.errno("deleting "+name, f.remove(ctx)); errno != 0 {
		return errno
	}
	child.ForgetPersistent()
	return 0
}

// Rmdir implements NodeRmdirer.
func (d *dir) Rmdir(_ context.Context, name string) syscall.Errno {
	d.made.Store(true)
	child := d.GetChild(name)
	if child == nil {
		return syscall.ENOENT
	}
	if len(child.Children()) > 0 {
		return syscall.ENOTEMPTY
	}
	child.ForgetPersistent()
	return 0
}

// Rename implements NodeRenamer. Blobs cannot be renamed: the content goes up under its new name, then the old blob goes.
func (d *dir) Rename(ctx context.Context, name string, newParent gofs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	to, ok := newParent.(*dir)
	child := d.GetChild(name)
	switch {
	case !ok:
		return syscall.EXDEV
	case child == nil:
		return syscall.ENOENT
	case flags&unix.RENAME_EXCHANGE != 0:
		return syscall.EINVAL
	}
	d.made.Store(true)
	to.made.Store(true)
	if old := to.GetChild(newName); old != nil {
		if flags&unix.RENAME_NOREPLACE != 0 {
			return syscall.EEXIST
		}
		if errno := to.replace(ctx, newName, old); errno != 0 {
			return errno
		}
	}
	return d.m.errno("renaming "+name, move(ctx, child, to.urlOf(newName)))
}

// replace makes way for what is renamed to a name that is taken.
func (d *dir) replace(ctx context.Context, name string, old *gofs.Inode) syscall.Errno {
	f, ok := old.Operations().(*file)
	if !ok {
		return d.Rmdir(ctx, name)
	}
	f.retire() // its blob is overwritten
	old.ForgetPersistent()
	return 0
}

// move gives a file, or all files of a folder, their new address.
func move(ctx context.Context, n *gofs.Inode, url string) error {
	if f, ok := n.Operations().(*file); ok {
		return f.move(ctx, url)
	}
	for name, child := range n.Children() {
		if err := move(ctx, child, blobclient.Join(url, path.Base(name))); err != nil {
			return err
		}
	}
	return nil
}
