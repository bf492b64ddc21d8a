package csi

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fairlead.dev/fairlead/api/commonruntime"
)

// publishModels makes the volume of models of a pod in a namespace, which is removed with the test.
func (n *node) publishModels(pod, namespace string) string {
	n.t.Helper()
	dir := filepath.Join(n.cfg.KubeletDir, "pods", pod, "volumes/kubernetes.io~csi/models/mount")
	q := &csi.NodePublishVolumeRequest{TargetPath: dir, VolumeContext: map[string]string{"csi.storage.k8s.io/ephemeral": "true",
		"csi.storage.k8s.io/pod.namespace": namespace, commonruntime.ModelCacheAttribute: "true"}}
	for range 2 { // the kubelet may ask again
		if _, err := n.driver.NodePublishVolume(n.t.Context(), q); err != nil {
			n.t.Fatal(err)
		}
	}
	n.t.Cleanup(func() { n.unpublish(dir) })
	return dir
}

func TestModelsOfANamespace(t *testing.T) {
	n := newNode(t)
	a, b, other := n.publishModels("a", "team"), n.publishModels("b", "team"), n.publishModels("c", "others")
	if err := os.WriteFile(filepath.Join(a, "x"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(b, "x")); err != nil || string(got) != "x" {
		t.Errorf("another pod of the namespace reads %q, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(other, "x")); err == nil {
		t.Error("another namespace sees it")
	}
	n.unpublish(a)
	n.driver.Close()
	n.start()
	if _, err := os.Stat(filepath.Join(b, "x")); err != nil {
		t.Errorf("after another driver started: %v", err)
	}
	for _, namespace := range []string{"", "..", "a/b", "A"} {
		q := &csi.NodePublishVolumeRequest{TargetPath: n.cfg.KubeletDir + "/pods/d/mount", VolumeContext: map[string]string{"csi.storage.k8s.io/ephemeral": "true",
			"csi.storage.k8s.io/pod.namespace": namespace, commonruntime.ModelCacheAttribute: "true"}}
		if _, err := n.driver.NodePublishVolume(t.Context(), q); err == nil {
			t.Errorf("namespace %q is accepted", namespace)
		}
	}
}

// TestSweep: what no pod uses goes after a day, or at once when the disk is nearly full; nothing outside is touched.
func TestSweep(t *testing.T) {
	n := newNode(t)
	dir, outside := n.publishModels("alive", "team"), t.TempDir()
	digest := func(c string) string { return strings.Repeat(c, 64) }
	for _, c := range []string{"1", "2", "3"} {
		if err := os.MkdirAll(filepath.Join(dir, digest(c)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, digest(c), "weights"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, mark := range []string{digest("1") + ".pod-alive", digest("2") + ".pod-dead", digest("3") + ".lock"} {
		if err := os.WriteFile(filepath.Join(dir, mark), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(outside, "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, digest("4"))); err != nil {
		t.Fatal(err)
	}
	left := func() string {
		s := ""
		for _, c := range []string{"1", "2", "3"} {
			if _, err := os.Stat(filepath.Join(dir, digest(c), "weights")); err == nil {
				s += c
			}
		}
		return s
	}
	now := time.Now()
	for _, step := range []struct {
		now   time.Time
		short bool
		want  string
	}{{now, false, "123"}, {now.Add(25 * time.Hour), false, "1"}, {now, true, "1"}} {
		if err := n.driver.sweep(step.now, step.short); err != nil || left() != step.want {
			t.Errorf("%v: left %q, %v; want %q", step, left(), err, step.want)
		}
	}
	if _, err := os.Stat(filepath.Join(outside, "kept")); err != nil {
		t.Errorf("a link was followed: %v", err)
	}
}

// TestSweepRest: what killed fetches left goes at once, whatever else has no use after a day, and nothing that somebody holds.
func TestSweepRest(t *testing.T) {
	n := newNode(t)
	dir := n.publishModels("alive", "team")
	one, two, three := strings.Repeat("1", 64), strings.Repeat("2", 64), strings.Repeat("3", 64)
	for _, name := range []string{one + ".pod-alive", one + ".pod-dead", one + ".lock", two + ".lock", "stray", ".hidden"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{".fetch-" + one + "-11", ".fetch-" + two + "-22", ".fetch-33", "folder/deep", one + ".tmp", three + ".lock/deep", three + ".pod-dead/deep"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := os.Open(filepath.Join(dir, two+".lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	left := func() (names []string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			names = append(names, strings.NewReplacer(one, "1", two, "2", three, "3").Replace(e.Name()))
		}
		return names
	}
	now := time.Now()
	for _, step := range []struct {
		name  string
		now   time.Time
		short bool
		want  []string
	}{
		{"now", now, false, []string{".fetch-2-22", ".fetch-33", ".hidden", "1.lock", "1.pod-alive", "1.pod-dead", "1.tmp", "2.lock", "3.lock", "3.pod-dead", "folder", "stray"}},
		{"when the disk is nearly full", now, true, []string{".fetch-2-22", "1.lock", "1.pod-alive", "1.pod-dead", "2.lock", "3.pod-dead"}},
		{"after a day", now.Add(25 * time.Hour), false, []string{".fetch-2-22", "1.pod-alive", "2.lock"}},
	} {
		if err := n.driver.sweep(step.now, step.short); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if diff := cmp.Diff(step.want, left()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", step.name, diff)
		}
	}
}
