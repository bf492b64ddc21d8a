//go:build cluster

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestUp_ClusterOfSomebodyElse starts a control plane for a cluster that it did not make, here one that another `up` made without
// a control plane of its own, takes it by its kubeconfig as a managed cluster, and trains on it.
func TestUp_ClusterOfSomebodyElse(t *testing.T) {
	home, err := os.MkdirTemp("", "fairlead-e2e-external-") // not t.TempDir: a failed test must not remove what is mounted
	if err != nil {
		t.Fatal(err)
	}
	in := func(data string) func(...string) (string, error) {
		return func(args ...string) (string, error) {
			cmd := command(args...)
			cmd.Env = append(cmd.Env, "FAIRLEAD_CONFIG_DIR="+filepath.Join(home, "config"), "FAIRLEAD_DATA_DIR="+filepath.Join(home, data))
			var stderr strings.Builder
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				err = fmt.Errorf("fairlead %s: %w\n%s%s", strings.Join(args, " "), err, out, stderr.String())
			}
			return string(out), err
		}
	}
	theirs, ours := in("theirs"), in("ours")
	do := func(cli func(...string) (string, error), args ...string) string {
		t.Helper()
		out, err := cli(args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	t.Cleanup(func() {
		for _, cli := range []func(...string) (string, error){ours, theirs} {
			if _, err := cli("down"); err != nil {
				t.Error(err)
			}
		}
		_ = os.RemoveAll(home)
	})
	do(theirs, append(up, "--no-server")...)
	kubeconfig := filepath.Join(home, "theirs", "kubeconfig")
	do(ours, "up", "--kubeconfig", kubeconfig)
	if err := attach(ours, kubeconfig, managed); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "job.yml")
	write(t, filepath.Dir(file), "job.yml", header+"command: python3 train.py\ncode: src\n")
	write(t, filepath.Dir(file), "src/train.py", `from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
x, y = load_digits(return_X_y=True)
print("accuracy", LogisticRegression(max_iter=50).fit(x[:900], y[:900]).score(x[900:], y[900:]))
`)
	if out := do(ours, ml("job", "create", "-f", file, "--name", "there", "--stream")...); !strings.Contains(out, "accuracy 0.9") && !strings.Contains(out, "accuracy 0.8") {
		t.Errorf("the job's log:\n%s", out)
	}
	if n := do(ours, "aks", "show", "-n", cluster, "-g", group, "--query", "agentPoolProfiles[0].count", "-o", "tsv"); strings.TrimSpace(n) != "1" {
		t.Errorf("nodes: %s", n)
	}
	relay := strings.TrimSpace(do(ours, "resource", "list", "-g", group, "--resource-type", "Microsoft.Relay/namespaces", "--query", "[0].id", "-o", "tsv"))
	if n := do(ours, "resource", "show", "--ids", relay+"/hybridConnections/"+cluster, "--query", "properties.listenerCount", "-o", "tsv"); strings.TrimSpace(n) == "0" {
		t.Error("no relay of the cluster is counted")
	}
	do(ours, "ml", "compute", "detach", "-n", compute, "-g", group, "-w", workspace, "--yes")
	do(ours, "aks", "delete", "-n", cluster, "-g", group, "--yes")
	if out := do(theirs, "kubectl", "get", "deployments", "-n", "azure-arc", "--no-headers", "--ignore-not-found"); strings.Contains(out, "fairlead-agent") {
		t.Errorf("the agent is still there: %s", out)
	}
	// It is the other's to take down: this one's end leaves it as it is.
	do(ours, "down")
	if out := do(theirs, "kubectl", "get", "nodes", "--no-headers"); !strings.Contains(out, " Ready") {
		t.Errorf("nodes of the cluster after the control plane's end: %s", out)
	}
}
