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

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.dev/fairlead/internal/mountbroker"
)

// Claims is the CSI node service of PersistentVolumes. It serves none itself: csi-blob-controller makes a pod for each volume that the
// node needs, that pod has a FUSE mount in its own volume of Node, and here it is mounted into the pods that have the claim, too:
//
//	mount pod ─ inline volume, serves: handle ─▶ Node: <kubelet>/plugins/…/serves/<handle> ─▶ folder of that volume
//	kubelet ─ NodePublishVolume(handle) ─▶ is its mount alive? ─▶ bind mount in the user's pod
//
// The kubelet publishes again every minute or two (requiresRepublish), so that a mount that is made anew comes to pods that are there.
type Claims struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedNodeServer
	node *Node
}

// answerWithin is how long a file system may take to say that it is there.
const answerWithin = 5 * time.Second

var volumeHandle = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,250}[a-z0-9])?$`)

// GetPluginInfo implements csi.IdentityServer.
func (c *Claims) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: mountbroker.ClaimDriver, VendorVersion: "1"}, nil
}

// GetPluginCapabilities implements csi.IdentityServer.
func (c *Claims) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{}, nil
}

// Probe implements csi.IdentityServer.
func (c *Claims) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{}, nil
}

// NodeGetInfo implements csi.NodeServer.
func (c *Claims) NodeGetInfo(ctx context.Context, q *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return c.node.NodeGetInfo(ctx, q)
}

// NodeGetCapabilities implements csi.NodeServer.
func (c *Claims) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{}, nil
}

// NodePublishVolume implements csi.NodeServer.
func (c *Claims) NodePublishVolume(_ context.Context, q *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	dir, err := c.node.checkTarget(q.GetTargetPath())
	if err != nil {
		return nil, err
	}
	handle := q.GetVolumeId()
	switch {
	case !volumeHandle.MatchString(handle):
		return nil, status.Errorf(codes.InvalidArgument, "volume handle is %q; it must be of lower-case letters, digits, - and .", handle)
	case q.GetVolumeCapability().GetMount() == nil:
		return nil, status.Error(codes.InvalidArgument, "volumes of "+mountbroker.ClaimDriver+" are file systems; set volumeMode: Filesystem")
	}
	at, err := c.node.served(handle)
	if err != nil {
		return nil, status.Errorf(codes.Unavailable, "volume %s is not served on this node (yet): %v; see pod %s in namespace %s", handle, err, handle+"-…", c.node.cfg.Namespace)
	}
	defer at.Close()
	if err := bind(at, dir, q.GetReadonly()); err != nil {
		return nil, status.Errorf(codes.Internal, "mounting volume %s at %s: %v", handle, dir, err)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// NodeUnpublishVolume implements csi.NodeServer.
func (c *Claims) NodeUnpublishVolume(_ context.Context, q *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	dir, err := c.node.checkTarget(q.GetTargetPath())
	if err != nil {
		return nil, err
	}
	if err := removeVolume(dir); err != nil {
		return nil, status.Errorf(codes.Internal, "removing volume %s: %v", dir, err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// bind mounts what an open folder is at dir, unless it is there. It goes on top of what is there of before, not in its place: so it comes
// to containers that follow what is mounted in their volume (mountPropagation: HostToContainer).
func bind(at *os.File, dir string, readOnly bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(at.Fd()), &st); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	there, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) { return i.Mountpoint != dir, false })
	if err != nil {
		return err
	}
	if n := len(there); n == 0 {
		err = os.MkdirAll(dir, 0o750)
	} else if top := there[n-1]; unix.Mkdev(uint32(top.Major), uint32(top.Minor)) == st.Dev {
		return nil
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(below(at, "."), dir, "", unix.MS_BIND, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	if !readOnly {
		return nil
	}
	err = unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "")
	if err != nil {
		return errors.Join(os.NewSyscallError("mount", err), os.NewSyscallError("umount", unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)))
	}
	return nil
}

// serversDir has a link for each volume that is served here, from its handle to the volume of the pod that serves it: a driver that
// starts anew finds them.
func (n *Node) serversDir() string {
	return filepath.Join(n.cfg.KubeletDir, "plugins", mountbroker.ClaimDriver, "serves")
}

// mayServe lets pods of the extension alone serve volumes: users of another namespace could feed others what they like.
func (n *Node) mayServe(attributes map[string]string) error {
	handle, serves := attributes[mountbroker.ServesAttribute]
	namespace := attributes["csi.storage.k8s.io/pod.namespace"]
	switch {
	case !serves:
		return nil
	case n.cfg.Namespace == "" || namespace != n.cfg.Namespace:
		return status.Errorf(codes.PermissionDenied, "attribute %s is for pods of namespace %q, and this one is in %q", mountbroker.ServesAttribute, n.cfg.Namespace, namespace)
	case !volumeHandle.MatchString(handle):
		return status.Errorf(codes.InvalidArgument, "attribute %s is %q; it must be the handle of a volume", mountbroker.ServesAttribute, handle)
	}
	return nil
}

// noteServer notes that the volume at dir serves a handle from now on.
func (n *Node) noteServer(handle, dir string) error {
	if err := os.MkdirAll(n.serversDir(), 0o700); err != nil {
		return err
	}
	link := filepath.Join(n.serversDir(), handle)
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(dir, link)
}

// forgetServer removes what noteServer noted of the volume at dir.
func (n *Node) forgetServer(dir string) error {
	links, err := os.ReadDir(n.serversDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, l := range links {
		at := filepath.Join(n.serversDir(), l.Name())
		if to, rerr := os.Readlink(at); rerr == nil && to == dir {
			err = errors.Join(err, os.Remove(at))
		}
	}
	return err
}

// served opens the mount of a volume, if somebody serves it.
func (n *Node) served(handle string) (*os.File, error) {
	dir, err := os.Readlink(filepath.Join(n.serversDir(), handle))
	if err != nil || !strings.HasPrefix(dir, n.podsDir()) {
		return nil, errors.New("its pod is not there")
	}
	d, err := openDir(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	at, err := openBeneath(d, mountbroker.Served)
	if errors.Is(err, unix.ENOENT) {
		return nil, errors.New("its pod is starting")
	}
	if err != nil {
		return nil, err
	}
	if err := alive(at); err != nil {
		return nil, errors.Join(err, at.Close())
	}
	return at, nil
}

// alive asks a FUSE mount whether its process is there.
func alive(at *os.File) error {
	fd, err := unix.FcntlInt(at.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	answer := make(chan error, 1)
	go func() { // which stays for as long as the file system does not answer
		defer unix.Close(fd)
		var st unix.Statfs_t
		err := unix.Fstatfs(fd, &st)
		if err == nil && st.Type != unix.FUSE_SUPER_MAGIC {
			err = errors.New("its pod is starting")
		}
		answer <- err
	}()
	select {
	case err := <-answer:
		if errors.Is(err, unix.ENOTCONN) {
			return errors.New("its pod ended, and is started anew")
		}
		return err
	case <-time.After(answerWithin):
		return fmt.Errorf("it does not answer within %s", answerWithin)
	}
}
