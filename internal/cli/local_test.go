package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/local"
	"fairlead.dev/fairlead/internal/local/kubeapi"
)

func TestStatusTable(t *testing.T) {
	s := local.Status{
		Folder: "/data", Supervisor: "Running", Kubernetes: "https://10.250.0.2:6443", Kubeconfig: "/data/kubeconfig",
		Endpoint: "https://10.250.0.1:8440", Problems: []string{"one\nproblem"},
		Nodes:      []kubeapi.Node{{Name: "fairlead-0", Ready: true}, {Name: "fairlead-1", Reason: "no network"}},
		Components: []local.Component{{Name: "etcd", State: "Running", PID: 42, Since: "2026-01-02T03:04:05Z", Memory: 64 << 20, Restarts: 1}},
	}
	var out bytes.Buffer
	if err := statusTable(&out, s, time.Date(2026, 1, 2, 3, 5, 5, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	want := `Ready            false
Data             /data
Supervisor       Running
Control plane    https://10.250.0.1:8440
Kubernetes       https://10.250.0.2:6443
kubeconfig       /data/kubeconfig
Node fairlead-0  Ready
Node fairlead-1  not ready: no network
Problem          one problem

COMPONENT  STATE    PID  RESTARTS  AGE   MEMORY
etcd       Running  42   1         1m0s  64 MB
`
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Errorf("table (-want +got):\n%s", d)
	}
}

func TestLocalCommands_NoCluster(t *testing.T) {
	for _, args := range [][]string{{"status"}, {"logs"}, {"logs", "etcd"}, {"images", "load"}} {
		for _, c := range LocalCommands() {
			if c.Name() != args[0] {
				continue
			}
			c.SilenceUsage, c.SilenceErrors = true, true
			c.SetArgs(append(append([]string{}, args[1:]...), "--data-dir", t.TempDir()))
			if err := c.Execute(); err == nil || !strings.Contains(err.Error(), "fairlead up") {
				t.Errorf("%v: error %v, want how to start a cluster", args, err)
			}
		}
	}
}
