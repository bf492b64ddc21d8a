package csi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.dev/fairlead/internal/mountbroker"
	"fairlead.dev/fairlead/internal/runtime/blobclient"
	"fairlead.dev/fairlead/internal/runtime/blobclient/blobtest"
	"fairlead.dev/fairlead/internal/runtime/blobmount"
)

const handle = "pvc-1"

// attributes of the inline volume of a mount pod.
func serving(namespace, handle string) map[string]string {
	return map[string]string{"csi.storage.k8s.io/ephemeral": "true", "csi.storage.k8s.io/pod.namespace": namespace, mountbroker.ServesAttribute: handle}
}

func (n *node) publishServer(pod string) string {
	n.t.Helper()
	dir := filepath.Join(n.cfg.KubeletDir, "pods", pod, "volumes/kubernetes.io~csi/volume/mount")
	for range 2 {
		if _, err := n.driver.NodePublishVolume(n.t.Context(), &csi.NodePublishVolumeRequest{TargetPath: dir, VolumeContext: serving("azureml", handle)}); err != nil {
			n.t.Fatal(err)
		}
	}
	n.t.Cleanup(func() { n.unpublish(dir) })
	return dir
}

// claim publishes the volume into a pod.
func (n *node) claim(pod string, readOnly bool) (string, error) {
	dir := filepath.Join(n.cfg.KubeletDir, "pods", pod, "volumes/kubernetes.io~csi/pvc-1/mount")
	n.t.Cleanup(func() {
		if _, err := (&Claims{node: n.driver}).NodeUnpublishVolume(context.Background(), &csi.NodeUnpublishVolumeRequest{VolumeId: handle, TargetPath: dir}); err != nil {
			n.t.Error(err)
		}
		if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
			n.t.Errorf("%s is left: %v", dir, err)
		}
	})
	_, err := (&Claims{node: n.driver}).NodePublishVolume(n.t.Context(), &csi.NodePublishVolumeRequest{VolumeId: handle, TargetPath: dir, Readonly: readOnly,
		VolumeCapability: &csi.VolumeCapability{AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}}}})
	return dir, err
}

// TestServer is a process of its own for TestClaims: it serves the folder of blobs that its environment names until it is killed.
func TestServer(t *testing.T) {
	volume, url := os.Getenv("SERVE_VOLUME"), os.Getenv("SERVE_URL")
	if volume == "" {
		t.Skip("for TestClaims")
	}
	blobs, err := blobclient.New(blobclient.Config{Base: os.Getenv("SERVE_BASE"), Token: func() (string, error) { return blobtest.Token, nil }})
	if err != nil {
		t.Fatal(err)
	}
	dev, err := mountbroker.Ask(t.Context(), volume, mountbroker.Request{Name: mountbroker.Served})
	if err != nil {
		t.Fatal(err)
	}
	var files []blobclient.Blob
	if err := blobs.List(t.Context(), url, func(b blobclient.Blob) error { files = append(files, b); return nil }); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cache, err := blobmount.NewCache(dir, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	m, err := blobmount.Serve(t.Context(), dev, blobmount.Config{Blobs: blobs, Cache: cache, URL: url, Files: files, Writable: true, StageDir: dir,
		Age: 10 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("serving")
	m.Wait()
}

// serve starts a server process and returns when it serves; end kills it.
func serveVolume(t *testing.T, volume string, b *blobtest.Server) (end func()) {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^TestServer$")
	c.Env = append(os.Environ(), "SERVE_VOLUME="+volume, "SERVE_BASE="+b.Base, "SERVE_URL="+b.Base+"/acct/data/vol")
	out, err := c.StdoutPipe()
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	end = func() { _ = c.Process.Kill(); _ = c.Wait() }
	t.Cleanup(end)
	buf := make([]byte, 64)
	if n, err := out.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "serving") {
		t.Fatalf("%q, %v", buf[:n], err)
	}
	return end
}

func TestClaims(t *testing.T) {
	n := newNode(t)
	n.driver.Close()
	n.cfg.Namespace = "azureml"
	n.start()
	b := blobtest.New(t)
	b.Put("acct/data/vol/old", "old")

	if _, err := n.claim("early", false); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "its pod is not there") {
		t.Errorf("nobody serves: %v", err)
	}
	volume := n.publishServer("server")
	if _, err := n.claim("early", false); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "its pod is starting") {
		t.Errorf("it starts: %v", err)
	}
	end := serveVolume(t, volume, b)
	read := func(dir, name, want string) {
		t.Helper()
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
	first, err := n.claim("first", false)
	if err != nil {
		t.Fatal(err)
	}
	second, err := n.claim("second", true)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(first, "new"), []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	read(second, "new", "new")
	read(second, "old", "old")
	if err := os.WriteFile(filepath.Join(second, "no"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("written to a volume that is read only: %v", err)
	}
	b.Put("acct/data/vol/by/another", "hello")
	eventually(t, func() bool { got, _ := os.ReadFile(filepath.Join(second, "by/another")); return string(got) == "hello" })
	b.Put("acct/data/vol/old", "older")
	eventually(t, func() bool { got, _ := os.ReadFile(filepath.Join(first, "old")); return string(got) == "older" })
	eventually(t, func() bool { got, _ := b.Get("acct/data/vol/new"); return got == "new" })

	// A folder that somebody is in stays when it is emptied and the names are listed again.
	in, err := os.Open(filepath.Join(first, "by"))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := os.Remove(filepath.Join(first, "by/another")); err != nil {
		t.Fatal(err)
	}
	b.Put("acct/data/vol/mark", "m")
	eventually(t, func() bool { _, err := os.Stat(filepath.Join(second, "mark")); return err == nil })
	if err := os.WriteFile(fmt.Sprintf("/proc/self/fd/%d/late", in.Fd()), []byte("late"), 0o600); err != nil {
		t.Error(err)
	}
	eventually(t, func() bool { got, _ := b.Get("acct/data/vol/by/late"); return got == "late" })

	n.driver.Close() // a driver that starts anew knows who serves
	n.start()
	if _, err := n.claim("first", false); err != nil {
		t.Errorf("published again: %v", err)
	}
	end()
	if _, err := os.ReadFile(filepath.Join(first, "new")); !errors.Is(err, unix.ENOTCONN) {
		t.Errorf("without its server: %v", err)
	}
	if _, err := n.claim("first", false); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "started anew") {
		t.Errorf("without its server: %v", err)
	}
	serveVolume(t, volume, b)
	for pod, readOnly := range map[string]bool{"first": false, "second": true} {
		dir, err := n.claim(pod, readOnly)
		if err != nil {
			t.Fatal(err)
		}
		read(dir, "new", "new")
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	tick, timeout := time.NewTicker(10*time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal("it did not come about in 30 s")
		}
	}
}

// TestOnlyTheExtensionServes: a pod of another namespace cannot feed the users of a claim.
func TestOnlyTheExtensionServes(t *testing.T) {
	n := newNode(t)
	dir := filepath.Join(n.cfg.KubeletDir, "pods/x/volumes/kubernetes.io~csi/v/mount")
	for name, c := range map[string]struct {
		ours, namespace, handle string
		want                    codes.Code
	}{
		"another namespace": {"azureml", "train", handle, codes.PermissionDenied},
		"no namespace":      {"", "", handle, codes.PermissionDenied},
		"a path":            {"azureml", "azureml", "../models", codes.InvalidArgument},
		"nothing":           {"azureml", "azureml", "", codes.InvalidArgument},
	} {
		n.driver.cfg.Namespace = c.ours
		_, err := n.driver.NodePublishVolume(t.Context(), &csi.NodePublishVolumeRequest{TargetPath: dir, VolumeContext: serving(c.namespace, c.handle)})
		if status.Code(err) != c.want {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a volume was made: %v", err)
	}
	c := &Claims{node: n.driver}
	block := &csi.VolumeCapability{AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}}
	for name, q := range map[string]*csi.NodePublishVolumeRequest{
		"elsewhere": {VolumeId: handle, TargetPath: "/etc"}, "a path as handle": {VolumeId: "../x", TargetPath: dir}, "a device": {VolumeId: handle, TargetPath: dir, VolumeCapability: block},
	} {
		if _, err := c.NodePublishVolume(t.Context(), q); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := c.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{TargetPath: n.cfg.KubeletDir}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("unpublished elsewhere: %v", err)
	}
}
