//go:build conformance && cluster

package conformance

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// realLab is what `fairlead up` starts: a control plane and a real cluster, with the extension for training and inference.
type realLab struct {
	t    *testing.T
	home string
}

// newRealLab starts it, and stops it when the test ends. It needs root and the binaries of `make build cluster`.
func newRealLab(t *testing.T) *realLab {
	t.Helper()
	r := &realLab{t: t, home: t.TempDir()}
	t.Cleanup(func() { r.run("down") })
	r.run("up", "--internet=false")
	r.run("group", "create", "--name", groupName)
	r.run("connectedk8s", "connect", "--name", clusterName, "-g", groupName, "--kube-config", filepath.Join(r.home, "data", "kubeconfig"))
	r.run("k8s-extension", "create", "--name", "ml", "--extension-type", "Microsoft.AzureML.Kubernetes", "--cluster-type", "connectedClusters", "--cluster-name", clusterName,
		"-g", groupName, "--scope", "cluster", "--config", "enableTraining=True", "enableInference=True", "allowInsecureConnections=True", "inferenceRouterServiceType=nodePort")
	return r
}

// run is one command line of Fairlead.
func (r *realLab) run(args ...string) string {
	r.t.Helper()
	cmd := exec.Command(abs(r.t, "../../bin/fairlead"), args...)
	cmd.Env = append(os.Environ(), "FAIRLEAD_CONFIG_DIR="+filepath.Join(r.home, "config"), "FAIRLEAD_DATA_DIR="+filepath.Join(r.home, "data"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		r.t.Fatalf("fairlead %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// env is what clients are told.
func (r *realLab) env() []string {
	r.t.Helper()
	var admin struct{ Endpoint, CAFile, TenantID, SubscriptionID, ClientID, ClientSecret string }
	raw, err := os.ReadFile(filepath.Join(r.home, "data", "server", "admin.json"))
	if err == nil {
		err = json.Unmarshal(raw, &admin)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return append(clientEnv(admin.Endpoint, admin.CAFile, admin.TenantID, admin.SubscriptionID, admin.ClientID, admin.ClientSecret), "CONFORMANCE_IMAGE=fairlead/python-ml:bookworm")
}

func TestCluster(t *testing.T) {
	py := python(t, "python", abs(t, "python/requirements.txt"))
	runSteps(t, "azure-ai-ml (Python)"+onCluster, script(t, newRealLab(t), py, abs(t, "python/cluster.py")))
}
