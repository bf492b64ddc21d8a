// Package csi is csi-blob-node: the CSI driver by which pods of jobs get mounts without a right to mount. Its volumes are small folders
// of a pod's own with a socket in them. Over the socket the pod asks for FUSE mounts in the folder (package mountbroker) and gets the
// open device of each: the pod's own runtime serves the file system, with the run's token, and the driver has no part in it from then
// on. An update or the end of the driver disturbs no mount; volumes that it finds at its start are taken up again.
//
//	kubelet ─ NodePublishVolume ─▶ tmpfs + socket   pod ─ mount? ─▶ socket ─▶ /dev/fuse, mount(2) ─▶ device to the pod
//	kubelet ─ NodeUnpublishVolume ─▶ everything in it is unmounted
//
// What is asked for again under the same name takes the place of the first. A volume of a pod of the extension may serve a PersistentVolume
// (Claims). A volume with the attribute modelCache is the folder of models that the node keeps for the pods of one namespace.
package csi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/mountbroker"
)

// Config is where the driver works.
type Config struct {
	// KubeletDir is the kubelet's folder, at the same path as on the node.
	KubeletDir string
	// NodeName is the node's.
	NodeName string
	// Namespace is the extension's, whose pods may serve persistent volumes.
	Namespace string
	Log       *slog.Logger
}

// Node is the CSI node service.
type Node struct {
	csi.UnimplementedIdentityServer
	csi.UnimplementedNodeServer
	cfg Config

	mu sync.Mutex
	// volumes are the published ones by their folder.
	volumes map[string]*volume
}

// volume is a published folder and the socket in it.
type volume struct {
	dir      string
	listener *net.UnixListener
	done     chan struct{}
}

// New makes a Node that knows the volumes of the driver before it.
func New(cfg Config) (*Node, error) {
	n := &Node{cfg: cfg, volumes: map[string]*volume{}}
	dirs, err := published(n.podsDir())
	if err != nil {
		return nil, fmt.Errorf("looking for volumes: %w", err)
	}
	for _, dir := range dirs {
		if err := n.listen(dir); err != nil { // one broken volume must not keep the others waiting
			cfg.Log.Error("a volume is not taken up again", "folder", dir, "error", err)
		}
	}
	cfg.Log.Info("volumes of before", "count", len(n.volumes))
	return n, nil
}

func (n *Node) podsDir() string { return filepath.Join(n.cfg.KubeletDir, "pods") + "/" }

// Close stops answering pods. Volumes and mounts stay.
func (n *Node) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for dir := range n.volumes {
		n.deafen(dir)
	}
}

// GetPluginInfo implements csi.IdentityServer.
func (n *Node) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: mountbroker.Driver, VendorVersion: "1"}, nil
}

// GetPluginCapabilities implements csi.IdentityServer.
func (n *Node) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	return &csi.GetPluginCapabilitiesResponse{}, nil
}

// Probe implements csi.IdentityServer.
func (n *Node) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{}, nil
}

// NodeGetInfo implements csi.NodeServer.
func (n *Node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: n.cfg.NodeName}, nil
}

// NodeGetCapabilities implements csi.NodeServer. Without statistics the kubelet never looks into a mount, which a pod could make hang.
func (n *Node) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	return &csi.NodeGetCapabilitiesResponse{}, nil
}

// NodePublishVolume implements csi.NodeServer.
func (n *Node) NodePublishVolume(_ context.Context, q *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	if q.GetVolumeContext()["csi.storage.k8s.io/ephemeral"] != "true" {
		return nil, status.Error(codes.InvalidArgument, "volumes of "+mountbroker.Driver+" stand in a pod's own spec (volumes[].csi); persistent ones are of "+mountbroker.ClaimDriver)
	}
	dir, err := n.checkTarget(q.GetTargetPath())
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if q.GetVolumeContext()[commonruntime.ModelCacheAttribute] == "true" {
		if err := n.publishModels(dir, q.GetVolumeContext()["csi.storage.k8s.io/pod.namespace"]); err != nil {
			return nil, status.Errorf(codes.Internal, "mounting models at %s: %v", dir, err)
		}
		return &csi.NodePublishVolumeResponse{}, nil
	}
	if err := n.mayServe(q.GetVolumeContext()); err != nil {
		return nil, err
	}
	if n.volumes[dir] == nil {
		if err := errors.Join(makeVolume(dir), n.listen(dir)); err != nil {
			return nil, status.Errorf(codes.Internal, "making volume %s: %v", dir, err)
		}
	}
	if handle := q.GetVolumeContext()[mountbroker.ServesAttribute]; handle != "" {
		if err := n.noteServer(handle, dir); err != nil {
			return nil, status.Errorf(codes.Internal, "noting who serves volume %s: %v", handle, err)
		}
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// NodeUnpublishVolume implements csi.NodeServer.
func (n *Node) NodeUnpublishVolume(_ context.Context, q *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	dir, err := n.checkTarget(q.GetTargetPath())
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deafen(dir)
	if err := errors.Join(n.forgetServer(dir), removeVolume(dir)); err != nil {
		return nil, status.Errorf(codes.Internal, "removing volume %s: %v", dir, err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// checkTarget lets nothing outside of the kubelet's pods be touched.
func (n *Node) checkTarget(target string) (string, error) {
	if dir := filepath.Clean(target); strings.HasPrefix(dir, n.podsDir()) {
		return dir, nil
	}
	return "", status.Errorf(codes.InvalidArgument, "target path is %q; it must be below %s", target, n.podsDir())
}

// listen answers the pod whose volume is at dir. Needs mu, but in New.
func (n *Node) listen(dir string) error {
	l, err := listenIn(dir)
	if err != nil {
		return err
	}
	v := &volume{dir: dir, listener: l, done: make(chan struct{})}
	n.volumes[dir] = v
	go func() {
		defer close(v.done)
		err := mountbroker.Serve(l, func(q mountbroker.Request, uid, gid uint32) (*os.File, error) {
			dev, err := mount(dir, q, uid, gid)
			n.cfg.Log.Info("mount", "folder", dir, "name", q.Name, "readOnly", q.ReadOnly, "error", err)
			return dev, err
		})
		if err != nil {
			n.cfg.Log.Error("a volume does not answer any more", "folder", dir, "error", err)
		}
	}()
	return nil
}

// deafen ends what listen began. Needs mu.
func (n *Node) deafen(dir string) {
	if v := n.volumes[dir]; v != nil {
		_ = v.listener.Close()
		<-v.done
		delete(n.volumes, dir)
	}
}
