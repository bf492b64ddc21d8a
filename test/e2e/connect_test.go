//go:build cluster

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// box is a pod that counts to standard output and serves a file on port 8000.
const box = `apiVersion: v1
kind: Pod
metadata: {name: box, namespace: default}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: box
    image: fairlead/python-ml:bookworm
    command: [sh, -c, "cd /tmp; echo served > index.html; python3 -m http.server 8000 >/dev/null 2>&1 & i=0; while true; do echo line $i; i=$((i+1)); sleep 0.1; done"]
`

// TestConnect uses a plain kubectl with both kubeconfigs: that of the loopback proxy, and the one that goes to the control plane.
func TestConnect(t *testing.T) {
	direct := filepath.Join(t.TempDir(), "direct")
	must(t, "connectedk8s", "get-credentials", "-n", cluster, "-g", group, "--file", direct)
	kubectlApply(t, box)
	t.Cleanup(func() { kubectl(t, "delete", "pod", "box", "--now") })
	kubectl(t, "wait", "--for=condition=Ready", "pod/box", "--timeout=2m")
	proxied, stop := startConnectProxy(t)
	for name, config := range map[string]string{"direct": direct, "proxy": proxied} {
		t.Run(name, func(t *testing.T) {
			p := plain{config}
			t.Run("group", func(t *testing.T) { // several at once
				t.Run("get", func(t *testing.T) { t.Parallel(); p.want(t, "fairlead-0", "get", "nodes", "-o", "name") })
				t.Run("whoami", func(t *testing.T) {
					t.Parallel()
					p.want(t, "fairlead:owners", "auth", "whoami")
				})
				t.Run("logs", func(t *testing.T) { t.Parallel(); p.logs(t) })
				t.Run("exec", func(t *testing.T) { t.Parallel(); p.exec(t) })
				t.Run("port-forward", func(t *testing.T) { t.Parallel(); p.forward(t) })
				t.Run("cp", func(t *testing.T) { t.Parallel(); p.copy(t, name) })
				t.Run("impersonation", func(t *testing.T) {
					t.Parallel()
					if _, stderr, err := p.run(nil, "get", "pods", "--as", "root"); err == nil || !strings.Contains(stderr, "Impersonate-User is not allowed") {
						t.Errorf("%v: %s", err, stderr)
					}
				})
			})
		})
	}
	stop()
	if text, err := os.ReadFile(proxied); err != nil || strings.Contains(string(text), "127.0.0.1") {
		t.Errorf("the context stays after the proxy: %v\n%s", err, text)
	}
	t.Run("offline", func(t *testing.T) { offline(t, plain{direct}) })
}

func kubectlApply(t *testing.T, yaml string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "o.yaml")
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "apply", "-f", file)
}

// startConnectProxy runs `connectedk8s proxy`; stop interrupts it as Ctrl-C does.
func startConnectProxy(t *testing.T) (kubeconfig string, stop func()) {
	t.Helper()
	kubeconfig = filepath.Join(t.TempDir(), "proxied")
	cmd := exec.Command(filepath.Join(w.repo, "bin", "fairlead"), "connectedk8s", "proxy", "-n", cluster, "-g", group, "--file", kubeconfig)
	cmd.Env = append(os.Environ(), "FAIRLEAD_CONFIG_DIR="+filepath.Join(w.home, "config"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		if err := <-done; err != nil {
			t.Errorf("the proxy ended with %v\n%s", err, &stderr)
		}
		done <- nil
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-done })
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(50 * time.Millisecond) {
		if text, err := os.ReadFile(kubeconfig); err == nil && strings.Contains(string(text), "127.0.0.1") {
			return kubeconfig, stop
		}
		select {
		case err := <-done:
			done <- err
			t.Fatalf("the proxy ended: %v\n%s", err, &stderr)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the proxy writes no kubeconfig")
		}
	}
}

// plain is Kubernetes' own kubectl with a kubeconfig.
type plain struct{ kubeconfig string }

func (p plain) command(args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(w.data, "bin", "kubectl"), args...)
	// The control plane is on this machine; a proxy could not reach it.
	cmd.Env = append(os.Environ(), "KUBECONFIG="+p.kubeconfig, "NO_PROXY=*", "FAIRLEAD_CONFIG_DIR="+filepath.Join(w.home, "config"))
	return cmd
}

func (p plain) run(in io.Reader, args ...string) (stdout, stderr string, err error) {
	cmd := p.command(args...)
	var o, e bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

func (p plain) want(t *testing.T, text string, args ...string) {
	t.Helper()
	out, stderr, err := p.run(nil, args...)
	if err != nil || !strings.Contains(out, text) {
		t.Errorf("kubectl %v: %v\n%s%s", args, err, out, stderr)
	}
}

// logs follows until a line that is written after it began.
func (p plain) logs(t *testing.T) {
	cmd := p.command("logs", "-f", "--tail=1", "box")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	var first, n int
	if _, err := fmt.Fscanf(out, "line %d\n", &first); err != nil {
		t.Fatal(err)
	}
	for want := first + 1; want < first+20; want++ {
		if _, err := fmt.Fscanf(out, "line %d\n", &n); err != nil || n != want {
			t.Fatalf("line %d, want %d: %v", n, want, err)
		}
	}
}

func (p plain) exec(t *testing.T) {
	out, _, err := p.run(strings.NewReader("typed"), "exec", "-i", "box", "--", "sh", "-c", "cat; exit 7")
	var exit *exec.ExitError
	if out != "typed" || !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("exec: %q, %v, want the text and exit code 7", out, err)
	}
}

func (p plain) forward(t *testing.T) {
	cmd := p.command("port-forward", "pod/box", ":8000")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	var port int
	if _, err := fmt.Fscanf(out, "Forwarding from 127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: (&net.Dialer{}).DialContext}, Timeout: time.Minute}
	res, err := client.Get(fmt.Sprintf("http://127.0.0.1:%d/index.html", port))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if body, err := io.ReadAll(res.Body); string(body) != "served\n" {
		t.Errorf("%q, %v", body, err)
	}
}

// copy takes 500 MB there and back. An API server that has sent all closes at once; kubectl's next ping then meets a closed connection,
// and what was still on its way is lost. kubectl's own answer to that is --retries, which goes on from where it was.
func (p plain) copy(t *testing.T, name string) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "there"))
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.New()
	if _, err := io.CopyN(io.MultiWriter(f, hash), rand.Reader, 500_000_000); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%x", hash.Sum(nil))
	for _, args := range [][]string{{"cp", f.Name(), "default/box:/tmp/" + name}, {"cp", "--retries=3", "default/box:/tmp/" + name, filepath.Join(dir, "back")}} {
		if _, stderr, err := p.run(nil, args...); err != nil {
			t.Fatalf("kubectl %v: %v\n%s", args, err, stderr)
		}
	}
	p.want(t, want, "exec", "box", "--", "sha256sum", "/tmp/"+name)
	back, err := os.Open(filepath.Join(dir, "back"))
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	hash.Reset()
	if _, err := io.Copy(hash, back); err != nil || fmt.Sprintf("%x", hash.Sum(nil)) != want {
		t.Errorf("what came back has another hash (%v)", err)
	}
	p.want(t, "", "exec", "box", "--", "rm", "/tmp/"+name)
}

// offline: without an agent kubectl says so, and with one again it works.
func offline(t *testing.T, p plain) {
	kubectl(t, "scale", "deployment/fairlead-agent", "-n", "azure-arc", "--replicas=0")
	defer func() {
		kubectl(t, "scale", "deployment/fairlead-agent", "-n", "azure-arc", "--replicas=1")
		kubectl(t, "rollout", "status", "deployment/fairlead-agent", "-n", "azure-arc", "--timeout=2m")
		eventually(t, time.Minute, "kubectl reaches the cluster again", func(context.Context) error { _, _, err := p.run(nil, "get", "nodes"); return err })
	}()
	eventually(t, time.Minute, "kubectl says that the cluster is not connected", func(context.Context) error {
		_, stderr, err := p.run(nil, "get", "nodes")
		if err == nil || !strings.Contains(stderr, "cluster "+cluster+" is not connected to the control plane") {
			return fmt.Errorf("kubectl: %w: %s", err, stderr)
		}
		return nil
	})
}
