package csi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/mountbroker"
	"fairlead.dev/fairlead/internal/runtime"
	"fairlead.dev/fairlead/internal/runtime/blobclient/blobtest"
)

// node is a driver in a kubelet's folder of the test's own.
type node struct {
	t      *testing.T
	driver *Node
	cfg    Config
}

func newNode(t *testing.T) *node {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root mounts")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("this machine has no FUSE: ", err)
	}
	dir, err := os.MkdirTemp("", "kubelet") // short, as addresses of sockets must be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	n := &node{t: t, cfg: Config{KubeletDir: dir, NodeName: "n", Log: slog.New(slog.NewTextHandler(t.Output(), nil))}}
	n.start()
	t.Cleanup(func() { n.driver.Close() })
	return n
}

func (n *node) start() {
	n.t.Helper()
	driver, err := New(n.cfg)
	if err != nil {
		n.t.Fatal(err)
	}
	n.driver = driver
}

// publish makes a pod's volume, which is removed with the test.
func (n *node) publish(pod string) string {
	n.t.Helper()
	dir := filepath.Join(n.cfg.KubeletDir, "pods", pod, "volumes/kubernetes.io~csi/mounts/mount")
	q := &csi.NodePublishVolumeRequest{TargetPath: dir, VolumeContext: map[string]string{"csi.storage.k8s.io/ephemeral": "true"}}
	for range 2 { // the kubelet may ask again
		if _, err := n.driver.NodePublishVolume(n.t.Context(), q); err != nil {
			n.t.Fatal(err)
		}
	}
	n.t.Cleanup(func() { n.unpublish(dir) })
	return dir
}

func (n *node) unpublish(dir string) {
	n.t.Helper()
	for range 2 {
		if _, err := n.driver.NodeUnpublishVolume(context.Background(), &csi.NodeUnpublishVolumeRequest{TargetPath: dir}); err != nil {
			n.t.Error(err)
		}
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		n.t.Errorf("%s is left: %v", dir, err)
	}
}

// pod is a runtime with a volume of the driver.
type pod struct {
	t     *testing.T
	blobs *blobtest.Server
	cfg   runtime.Config
	spec  commonruntime.JobSpec
	out   *output
}

func newPod(t *testing.T, volume, command string) *pod {
	t.Helper()
	dir := t.TempDir()
	p := &pod{t: t, blobs: blobtest.New(t), out: &output{}}
	p.spec = commonruntime.JobSpec{Version: commonruntime.Version, Name: "run1", Command: command, BlobBase: p.blobs.Base,
		Artifacts: p.blobs.Base + "/acct/azureml/ExperimentRun/dcid.run1",
		Inputs:    map[string]commonruntime.Input{"in": {Type: "uri_folder", Mode: "ReadOnlyMount", URL: p.blobs.Base + "/acct/data/set"}},
		Outputs:   map[string]commonruntime.Output{"out": {Type: "uri_folder", Mode: "ReadWriteMount", URL: p.blobs.Base + "/acct/data/result"}}}
	p.cfg = runtime.Config{
		SpecPath: filepath.Join(dir, "job.json"), TokenPath: filepath.Join(dir, "token"), LogKeyPath: filepath.Join(dir, "key"),
		CAPath: filepath.Join(dir, "ca.crt"), CustomCAPath: filepath.Join(dir, "custom-ca.crt"), WorkDir: filepath.Join(dir, "work"),
		ResultPath: filepath.Join(dir, "result"), MountDir: volume, PodUID: "a", Nonce: "n",
		Environ: []string{"PATH=" + os.Getenv("PATH"), "DIR=" + dir}, Stdout: p.out, Stderr: t.Output(), HTTP: p.blobs.Client(), FlushEvery: 10 * time.Millisecond,
	}
	p.write("token", blobtest.Token)
	p.write("key", "k")
	return p
}

func (p *pod) write(name, content string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(filepath.Dir(p.cfg.SpecPath), name), []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pod) run() commonruntime.Result {
	p.t.Helper()
	b, err := json.Marshal(p.spec)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write("job.json", string(b))
	runtime.Run(p.t.Context(), p.cfg)
	var r commonruntime.Result
	if b, err = os.ReadFile(p.cfg.ResultPath); err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// output is what a command wrote.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

// String is all of it so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// await waits until the command has written a line.
func (o *output) await(t *testing.T, line string) {
	t.Helper()
	timeout, tick := time.After(30*time.Second), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(o.String(), line) {
		select {
		case <-tick.C:
		case <-timeout:
			t.Errorf("the command did not write %q; it wrote %q", line, o.String())
			return
		}
	}
}

func TestAJobReadsAndWritesThroughMounts(t *testing.T) {
	n := newNode(t)
	p := newPod(t, n.publish("p1"), `set -e; in=${{inputs.in}} out=${{outputs.out}}
find $in -type f | sed "s|$in/||" | sort; cat $in/a/b/small; sha256sum < $in/big; tail -c 5 $in/big | wc -c; stat -c %s $in/big
touch $in/new 2>&1 | grep -o 'Read-only file system'
cat $out/kept; rm $out/gone; echo more >> $out/kept; echo x > $out/.tmp; mv $out/.tmp $out/model
mkdir -p $out/ckpt/1; head -c 9000000 /dev/zero > $out/ckpt/1/w; mv $out/ckpt/1 $out/ckpt/final; : > $out/empty
cp $in/big $out/cut; truncate -s 3 $out/cut; cp $in/a/b/small $out/mode; chmod 600 $out/mode; ls $out; wc -c < $out/ckpt/final/w; rmdir $out/ckpt 2>/dev/null || echo kept
exec 3> $out/open; echo still open >&3`)
	big := make([]byte, 3*(4<<20)+1234)
	for i := range big {
		big[i] = byte(rand.Uint32())
	}
	p.blobs.Put("acct/data/set/big", string(big))
	p.blobs.Put("acct/data/set/a/b/small", "small\n")
	p.blobs.Put("acct/data/result/kept", "kept\n")
	p.blobs.Put("acct/data/result/gone", "gone")
	if r := p.run(); r.ExitCode != 0 {
		t.Fatalf("result %+v, output %s", r, p.out)
	}
	want := fmt.Sprintf("a/b/small\nbig\nsmall\n%x  -\n5\n%d\nRead-only file system\nkept\nckpt\ncut\nempty\nkept\nmode\nmodel\n9000000\nkept\n", sha256.Sum256(big), len(big))
	if got := p.out.String(); got != want {
		t.Errorf("output\n%s\nwant\n%s", got, want)
	}
	stored := map[string]string{"kept": "kept\nmore\n", "model": "x\n", "ckpt/final/w": strings.Repeat("\x00", 9000000), "empty": "",
		"cut": string(big[:3]), "mode": "small\n", "open": "still open\n"}
	for name, want := range stored {
		if got, ok := p.blobs.Get("acct/data/result/" + name); !ok || got != want {
			t.Errorf("stored %s: %v, %d bytes, want %d", name, ok, len(got), len(want))
		}
	}
	if names := p.blobs.Names("acct/data/result/"); len(names) != len(stored) {
		t.Errorf("stored %v, want %d names", names, len(stored))
	}
}

// TestANameIsUsedAgain: what is made under the name of a file that was just renamed stays, also when it is stored before the renamed one.
func TestANameIsUsedAgain(t *testing.T) {
	n := newNode(t)
	p := newPod(t, n.publish("p1"), `set -e; cd ${{outputs.out}}; echo one > log; sync log; mv log log.1; echo two > log
echo old > c; sync c; mv c d; echo new > c; sync c; rm d
echo old > e; sync e; mv e f; exec 3> e; sync f; rm e`)
	p.blobs.Put("acct/data/set/x", "x")
	stored := 0
	p.blobs.SetFault(func(r *http.Request) blobtest.Fault {
		switch {
		case r.Method != http.MethodPut:
		case strings.HasSuffix(r.URL.Path, "/log"):
			stored++
		case strings.HasSuffix(r.URL.Path, "/log.1") && stored < 2:
			return blobtest.Fault{Status: http.StatusServiceUnavailable} // it is sent again, behind the new log
		}
		return blobtest.Fault{}
	})
	if r := p.run(); r.ExitCode != 0 {
		t.Fatalf("result %+v, output %s", r, p.out)
	}
	for name, want := range map[string]string{"log": "two\n", "log.1": "one\n", "c": "new\n", "d": "", "e": "", "f": "old\n"} {
		if got, _ := p.blobs.Get("acct/data/result/" + name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestAMountOutlivesItsDriver(t *testing.T) {
	n := newNode(t)
	volume := n.publish("p1")
	p := newPod(t, volume, `echo one > ${{outputs.out}}/f; sync ${{outputs.out}}/f; cat ${{inputs.in}}/x; echo ready
while ! test -e $DIR/go; do sleep 0.01; done; cat ${{inputs.in}}/y; echo two >> ${{outputs.out}}/f`)
	p.blobs.Put("acct/data/set/x", "first\n")
	p.blobs.Put("acct/data/set/y", "second\n")
	done := make(chan commonruntime.Result, 1)
	go func() { done <- p.run() }()
	p.out.await(t, "ready")
	if got, _ := p.blobs.Get("acct/data/result/f"); got != "one\n" {
		t.Errorf("after fsync %q is stored", got)
	}
	n.driver.Close()
	if _, err := mountbroker.Ask(t.Context(), volume, mountbroker.Request{Name: "inputs/late"}); err == nil {
		t.Error("a driver that is gone answers")
	}
	p.write("go", "")
	if r := <-done; r.ExitCode != 0 || p.out.String() != "first\nready\nsecond\n" {
		t.Errorf("result %+v, output %q", r, p.out)
	}
	if got, _ := p.blobs.Get("acct/data/result/f"); got != "one\ntwo\n" {
		t.Errorf("%q is stored", got)
	}
	n.start() // takes the volume up again
	dev, err := mountbroker.Ask(t.Context(), volume, mountbroker.Request{Name: "inputs/late", ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	dev.Close()
	n.unpublish(volume)
	if left, err := published(n.driver.podsDir()); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestWhatCannotBeStoredFailsTheJob(t *testing.T) {
	n := newNode(t)
	p := newPod(t, n.publish("p1"), `echo x > ${{outputs.out}}/f`)
	p.cfg.RetryFor = 50 * time.Millisecond
	p.blobs.Put("acct/data/set/x", "x")
	p.blobs.SetFault(func(r *http.Request) blobtest.Fault {
		if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/data/result/") {
			return blobtest.Fault{Status: http.StatusInsufficientStorage}
		}
		return blobtest.Fault{}
	})
	if r := p.run(); r.Code != runtime.CodeOutputUploadFailed || !strings.Contains(r.Message, "data/result/f") {
		t.Errorf("result %+v", r)
	}
}

func TestWithoutADriverMountsAreCopies(t *testing.T) {
	p := newPod(t, "", `cat ${{inputs.in}}/x; echo y > ${{outputs.out}}/y`)
	p.blobs.Put("acct/data/set/x", "x\n")
	if r := p.run(); r.ExitCode != 0 || p.out.String() != "x\n" {
		t.Errorf("result %+v, output %q", r, p.out)
	}
	if got, _ := p.blobs.Get("acct/data/result/y"); got != "y\n" {
		t.Errorf("stored %q", got)
	}
	log, _ := p.blobs.Get("acct/azureml/ExperimentRun/dcid.run1/" + commonruntime.SystemLogPath)
	if !strings.Contains(log, "copied instead of mounted") {
		t.Errorf("log %s", log)
	}
}

func TestAPodCannotMountElsewhere(t *testing.T) {
	n := newNode(t)
	volume, outside := n.publish("p1"), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(volume, "inputs")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(volume, "outputs"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(volume, "outputs", "out")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"inputs/x", "outputs/out", "../x", "inputs/../../x", "inputs/..", "inputs", "", "broker", "/etc", "inputs/a/b"} {
		if _, err := mountbroker.Ask(t.Context(), volume, mountbroker.Request{Name: name}); !errors.Is(err, mountbroker.ErrRefused) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) > 0 {
		t.Errorf("made outside: %v, %v", left, err)
	}
	for _, target := range []string{"/etc", n.cfg.KubeletDir + "/pods/../x", ""} {
		if _, err := n.driver.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{TargetPath: target}); err == nil {
			t.Errorf("target %q is accepted", target)
		}
	}
	if _, err := n.driver.NodePublishVolume(t.Context(), &csi.NodePublishVolumeRequest{TargetPath: volume + "2"}); err == nil {
		t.Error("a persistent volume is accepted")
	}
}

// TestWithoutADriver: what is only read is copied, and what is to be changed where it is is not.
func TestWithoutADriver(t *testing.T) {
	p := newPod(t, "", "cat ${{inputs.in}}/a")
	p.blobs.Put("acct/data/set/a", "hello\n")
	if r := p.run(); r.ExitCode != 0 || p.out.String() != "hello\n" {
		t.Errorf("result %+v, output %s", r, p.out)
	}
	p = newPod(t, "", "true")
	p.blobs.Put("acct/data/set/a", "hello\n")
	p.spec.Inputs["in"] = commonruntime.Input{Type: "uri_folder", Mode: "ReadWriteMount", Write: true, URL: p.spec.Inputs["in"].URL}
	if r := p.run(); r.Code != runtime.CodeInputDownloadFailed || !strings.Contains(r.Message, "no CSI driver") || !strings.Contains(r.Message, "mode download") {
		t.Errorf("result %+v", r)
	}
}
