//go:build cluster

package e2e

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Every fault below happens while a job counts. Whatever dies, the job that was acknowledged ends once, and its log has every line
// once and in order: that shows at the same time that the command ran once and that nothing of the log was lost.

const counting = "command: for i in $(seq 1 40); do echo n $i; sleep 0.25; done\n"

func TestFault_ControlPlaneKilled(t *testing.T) {
	submit(t, "cp-during", header+counting)
	awaitStatus(t, "cp-during", "Running", startLimit)
	kill(t, "server")
	awaitUp(t)
	finished(t, "cp-during", 40)
}

func TestFault_ClusterComponentsKilled(t *testing.T) {
	submit(t, "components", header+counting)
	awaitStatus(t, "components", "Running", startLimit)
	kubectl(t, "delete", "pod", "--all", "-n", "azureml", "--grace-period=0", "--force", "--wait=false")
	kubectl(t, "delete", "pod", "--all", "-n", "azure-arc", "--grace-period=0", "--force", "--wait=false")
	submit(t, "components-2", header+"command: echo n 1\n")
	finished(t, "components", 40)
	finished(t, "components-2", 1)
}

func TestFault_KubeletKilled(t *testing.T) {
	submit(t, "kubelet", header+counting)
	awaitStatus(t, "kubelet", "Running", startLimit)
	kill(t, "kubelet@0")
	finished(t, "kubelet", 40)
}

func TestFault_LinkCutWhileTheJobEnds(t *testing.T) {
	submit(t, "link", header+counting)
	awaitStatus(t, "link", "Running", startLimit)
	cutLink(t, 2*time.Minute)
	finished(t, "link", 40)
}

func TestFault_PodDeleted(t *testing.T) {
	submit(t, "pod-deleted", header+"command: for i in $(seq 1 400); do echo n $i; sleep 0.25; done\n")
	awaitStatus(t, "pod-deleted", "Running", startLimit)
	kubectl(t, "delete", "pod", "-n", "default", "-l", "ml.azure.com/run-id=pod-deleted", "--wait=false")
	s := awaitStatus(t, "pod-deleted", "Failed", startLimit)
	if s.Properties["fairlead.statusReason"] != "PodDeleted" {
		t.Errorf("properties %v", s.Properties)
	}
	stdout, _, _ := cliOutput(ml("job", "stream", "-n", "pod-deleted")...)
	if strings.Count(stdout, "n 1\n") != 1 {
		t.Errorf("the command did not run exactly once:\n%s", stdout)
	}
}

func TestFault_EvictedGangStartsAgainOnlyWhenAsked(t *testing.T) {
	for name, c := range map[string]struct{ restarts, status, firstLog, secondLog string }{
		"evicted-again": {"1", "Completed", "user_logs/std_log.txt", "retry-001/user_logs/std_log.txt"},
		"evicted-once":  {"0", "Failed", "user_logs/std_log.txt", ""},
	} {
		t.Run(name, func(t *testing.T) {
			submit(t, name, header+counting+"properties: {fairlead.maxRestarts: '"+c.restarts+"'}\n")
			awaitStatus(t, name, "Running", startLimit)
			evict(t, name)
			awaitStatus(t, name, c.status, 3*time.Minute)
			dir := t.TempDir()
			must(t, ml("job", "download", "-n", name, "-p", dir)...)
			first, err := os.ReadFile(dir + "/artifacts/" + c.firstLog)
			if err != nil || strings.Count(string(first), "n 1\n") != 1 || strings.Contains(string(first), "n 40\n") {
				t.Errorf("the first attempt's log: %v\n%s", err, first)
			}
			if c.secondLog == "" {
				return
			}
			second, err := os.ReadFile(dir + "/artifacts/" + c.secondLog)
			if err != nil || string(second) != counted("n ", 40) {
				t.Errorf("the second attempt's log: %v\n%s", err, second)
			}
		})
	}
}

// evict takes a job's pod off its node as a drain does.
func evict(t *testing.T, job string) {
	t.Helper()
	pod := strings.TrimSpace(kubectl(t, "get", "pod", "-n", "default", "-l", "ml.azure.com/run-id="+job, "-o", "jsonpath={.items[0].metadata.name}"))
	file := t.TempDir() + "/eviction.json"
	body := fmt.Sprintf(`{"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": %q, "namespace": "default"}}`, pod)
	if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "create", "--raw", "/api/v1/namespaces/default/pods/"+pod+"/eviction", "-f", file)
}

// finished waits for the job's end and checks that its stored log counts to n.
func finished(t *testing.T, name string, n int) {
	t.Helper()
	awaitStatus(t, name, "Completed", 5*time.Minute)
	if got, want := lines(must(t, ml("job", "stream", "-n", name)...), "n "), counted("n ", n); got != want {
		t.Errorf("the log of %s is not the count to %d:\n%s", name, n, got)
	}
}

// kill ends a part of the local cluster as a crash would, by its process id.
func kill(t *testing.T, component string) {
	t.Helper()
	pid := componentPID(t, component)
	if pid == 0 {
		t.Fatalf("%s does not run", component)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// componentPID is 0 when a part of the local cluster does not run for now.
func componentPID(t *testing.T, component string) int {
	t.Helper()
	var status struct {
		Components []struct {
			Name string
			PID  int
		}
	}
	if err := json.Unmarshal([]byte(must(t, "status", "-o", "json")), &status); err != nil {
		t.Fatal(err)
	}
	for _, c := range status.Components {
		if c.Name == component && c.PID > 1 {
			return c.PID
		}
	}
	return 0
}

// awaitUp waits until the control plane answers again.
func awaitUp(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		_, err := cli("group", "show", "--name", group, "-o", "none")
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(300 * time.Millisecond)
	}
}

// cutLink drops everything that comes to the control plane from the cluster's network, for so long.
func cutLink(t *testing.T, d time.Duration) {
	t.Helper()
	heal := blockDirect(t, controlPlane(t))
	<-time.After(d)
	if state := must(t, "connectedk8s", "show", "-n", cluster, "-g", group, "--query", "connectivityStatus", "-o", "tsv"); strings.TrimSpace(state) != "Offline" {
		t.Errorf("after %s without a link the cluster is %s, want Offline", d, state)
	}
	heal()
}

// controlPlane is the address that everybody reaches the control plane by.
func controlPlane(t *testing.T) *url.URL {
	t.Helper()
	endpoint, err := url.Parse(strings.TrimSpace(must(t, "account", "show", "--query", "endpoint", "-o", "tsv")))
	if err != nil {
		t.Fatal(err)
	}
	return endpoint
}

// blockDirect is a firewall between the cluster's network and the control plane, until heal is called or the test ends.
func blockDirect(t *testing.T, endpoint *url.URL) (heal func()) {
	t.Helper()
	rules := fmt.Sprintf(`table inet fairlead_e2e {
  chain input {
    type filter hook input priority -10; policy accept;
    iifname "fl-*" ip daddr %s tcp dport %s drop
  }
}
`, endpoint.Hostname(), endpoint.Port())
	heal = func() { _ = exec.Command("nft", "delete", "table", "inet", "fairlead_e2e").Run() }
	t.Cleanup(heal)
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("blocking the way to the control plane: %v\n%s", err, out)
	}
	return heal
}
