// Package kubetest starts a real etcd and kube-apiserver on loopback for tests. There are no controllers, no scheduler and no
// nodes: what a test applies is validated and stored as in any cluster, and nothing else happens to it.
package kubetest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"fairlead.dev/fairlead/internal/testing/freeport"
)

// BinaryEnv names the environment variable that holds the path of the multi-call Kubernetes binary.
const BinaryEnv = "FAIRLEAD_KUBE_BIN"

// startTimeout bounds how long the two processes may take to answer; a busy machine needs most of a minute.
const startTimeout = 3 * time.Minute

// Cluster is a running API server.
type Cluster struct {
	// Config authenticates as a member of system:masters.
	Config *rest.Config
	// Kubeconfig is the path of a file that says the same.
	Kubeconfig string
	// Processes are the ids of etcd's and the API server's processes.
	Processes []int
}

// Start starts a cluster that ends with the test. Without the Kubernetes binary the test fails with what to run.
func Start(t testing.TB) *Cluster {
	t.Helper()
	return startCluster(t, "--unsafe-no-fsync")
}

// StartDurable is Start with what is written on the disk before it is acknowledged, as in a real cluster: for benchmarks.
func StartDurable(t testing.TB) *Cluster {
	t.Helper()
	return startCluster(t)
}

func startCluster(t testing.TB, etcdFlags ...string) *Cluster {
	t.Helper()
	bin, err := findBinary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certs, err := writeCerts(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if err := os.Symlink(bin, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	ports := []int{freeport.Take(t), freeport.Take(t), freeport.Take(t)}
	etcd := start(t, dir, "etcd", append(etcdArgs(dir, ports), etcdFlags...)...)
	api := start(t, dir, "kube-apiserver", apiserverArgs(dir, certs, ports)...)
	cfg := &rest.Config{
		Host:            fmt.Sprintf("https://127.0.0.1:%d", ports[2]),
		TLSClientConfig: rest.TLSClientConfig{CAData: certs.ca, CertData: certs.clientCert, KeyData: certs.clientKey},
		QPS:             -1,
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if err := waitReady(ctx, cfg, etcd, api); err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := writeKubeconfig(kubeconfig, cfg); err != nil {
		t.Fatal(err)
	}
	return &Cluster{Config: cfg, Kubeconfig: kubeconfig, Processes: []int{etcd.pid, api.pid}}
}

func etcdArgs(dir string, ports []int) []string {
	client, peer := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	return []string{
		"--data-dir=" + filepath.Join(dir, "etcd-data"),
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer,
	}
}

func apiserverArgs(dir string, c certs, ports []int) []string {
	return []string{
		fmt.Sprintf("--etcd-servers=http://127.0.0.1:%d", ports[0]),
		"--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", ports[2]),
		"--tls-cert-file=" + c.path("server.crt"), "--tls-private-key-file=" + c.path("server.key"),
		"--client-ca-file=" + c.path("ca.crt"), "--cert-dir=" + dir,
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.path("server.key"), "--service-account-signing-key-file=" + c.path("server.key"),
		"--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=RBAC", "--allow-privileged=true",
		"--disable-admission-plugins=ServiceAccount", "--endpoint-reconciler-type=none",
	}
}

// process is a child whose output is kept for the error message.
type process struct {
	name string
	pid  int
	done chan struct{}
	mu   sync.Mutex
	out  bytes.Buffer
}

// Write implements io.Writer.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.out.Bytes()
	return string(b[max(0, len(b)-2000):])
}

func start(t testing.TB, dir, name string, args ...string) *process {
	t.Helper()
	p := &process{name: name, done: make(chan struct{})}
	cmd := exec.Command(filepath.Join(dir, name), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, p, p
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	p.pid = cmd.Process.Pid
	go func() {
		defer close(p.done)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.done
	})
	return p
}

func waitReady(ctx context.Context, cfg *rest.Config, procs ...*process) error {
	tlsConfig, err := rest.TLSConfigFor(cfg)
	if err != nil {
		return fmt.Errorf("reading certificates: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig}, Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if ready(ctx, client, cfg.Host+"/readyz") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w; its last output:\n%s", cfg.Host, ctx.Err(), procs[len(procs)-1].tail())
		case <-procs[0].done:
			return fmt.Errorf("%s ended:\n%s", procs[0].name, procs[0].tail())
		case <-procs[1].done:
			return fmt.Errorf("%s ended:\n%s", procs[1].name, procs[1].tail())
		case <-tick.C:
		}
	}
}

func ready(ctx context.Context, client *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Tool is the path of another program of the local cluster, which is built beside Kubernetes. Without it the test fails with what to run.
func Tool(t testing.TB, name string) string {
	t.Helper()
	kube, err := findBinary()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(filepath.Dir(kube), name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("this test needs %s: run `make cluster` (%v)", path, err)
	}
	return path
}

func findBinary() (string, error) {
	if bin := os.Getenv(BinaryEnv); bin != "" {
		return bin, nil
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		bin := filepath.Join(dir, "bin", "localcluster", "kube")
		if info, err := os.Stat(bin); err == nil && info.Mode().IsRegular() {
			return bin, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("these tests need the Kubernetes binary bin/localcluster/kube: run `make cluster`, or set %s to its path", BinaryEnv)
		}
		dir = parent
	}
}

func writeKubeconfig(path string, cfg *rest.Config) error {
	return clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"test": {Server: cfg.Host, CertificateAuthorityData: cfg.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"test": {ClientCertificateData: cfg.CertData, ClientKeyData: cfg.KeyData}},
		Contexts:       map[string]*clientcmdapi.Context{"test": {Cluster: "test", AuthInfo: "test"}},
		CurrentContext: "test",
	}, path)
}
