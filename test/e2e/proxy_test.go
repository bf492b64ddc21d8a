//go:build cluster

package e2e

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/testing/freeport"
)

// TestProxy_EverythingGoesThroughIt puts the cluster behind a firewall that lets nothing out but a real HTTP proxy: the agent, the
// extension's components and the job's pod must all use it, live log included.
func TestProxy_EverythingGoesThroughIt(t *testing.T) {
	endpoint := controlPlane(t)
	proxy, log := startProxy(t, endpoint)
	update := []string{"connectedk8s", "update", "--name", cluster, "-g", group, "--kube-config", kubeconfig()}
	t.Cleanup(func() {
		if _, err := cli(append(update, "--disable-proxy")...); err != nil {
			t.Error(err)
		}
	})
	must(t, append(update, "--proxy-https", proxy)...)
	awaitComponents(t, proxy)
	heal := blockDirect(t, endpoint)
	defer heal()
	submit(t, "proxied", header+counting)
	awaitStatus(t, "proxied", "Running", startLimit)
	finished(t, "proxied", 40)
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "CONNECT "+endpoint.Host); n < 3 {
		t.Errorf("the proxy saw %d CONNECT requests to the control plane, want one of the agent, of each component and of the job:\n%s", n, text)
	}
}

// awaitComponents waits until every component of the extension runs with the proxy.
func awaitComponents(t *testing.T, proxy string) {
	t.Helper()
	deployments := []string{"gateway", "relayserver", "cluster-status-reporter", "aml-operator"}
	for deadline := time.Now().Add(2 * time.Minute); ; <-time.After(500 * time.Millisecond) {
		spec := kubectl(t, append([]string{"get", "deployment", "-n", "azureml", "-o", "yaml"}, deployments...)...)
		if strings.Count(spec, "value: "+proxy) >= len(deployments) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the extension's components do not have the proxy %s:\n%s", proxy, spec)
		}
	}
	for _, d := range deployments {
		kubectl(t, "rollout", "status", "deployment/"+d, "-n", "azureml", "--timeout=2m")
	}
}

// startProxy runs Debian's tinyproxy on the host's end of the cluster's bridge, for CONNECT to the control plane only.
func startProxy(t *testing.T, endpoint *url.URL) (proxy, log string) {
	t.Helper()
	if _, err := exec.LookPath("tinyproxy"); err != nil {
		if out, err := exec.Command("sh", "-c", "apt-get update -q && apt-get install -y -q --no-install-recommends tinyproxy-bin").CombinedOutput(); err != nil {
			t.Fatalf("installing tinyproxy: %v\n%s", err, out)
		}
	}
	port := freeport.Take(t)
	dir := t.TempDir()
	log = filepath.Join(dir, "proxy.log")
	write(t, dir, "proxy.conf", fmt.Sprintf("Listen %s\nPort %d\nTimeout 600\nLogFile \"%s\"\nLogLevel Connect\nMaxClients 100\nConnectPort %s\n",
		endpoint.Hostname(), port, log, endpoint.Port()))
	cmd := exec.Command("tinyproxy", "-d", "-c", filepath.Join(dir, "proxy.conf"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	address := net.JoinHostPort(endpoint.Hostname(), strconv.Itoa(port))
	for deadline := time.Now().Add(10 * time.Second); ; <-time.After(50 * time.Millisecond) {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			return "http://" + address, log
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
