package helm

import (
	"strings"
	"testing"

	"fairlead.dev/fairlead/charts"
)

// TestReuse: where the cluster has operators of its own, the chart makes what they work on and leaves their work to them.
func TestReuse(t *testing.T) {
	chart, err := LoadChart(charts.FS, charts.AzureML)
	if err != nil {
		t.Fatal(err)
	}
	const controller = "operator.prometheus.io/controller-id"
	for name, c := range map[string]struct {
		values           map[string]any
		present, without []string
	}{
		"own":    {map[string]any{}, []string{"arcml-prometheus-operator", controller, "name: nfd-worker", "kind: Prometheus\n"}, nil},
		"reused": {map[string]any{"installPromOp": "False", "installNfd": "false"}, []string{"kind: Prometheus\n", "name: metrics-controller-manager", "arcml-kube-state-metrics"}, []string{"arcml-prometheus-operator", controller, "nfd-"}},
		"inference": {map[string]any{"enableTraining": "False", "enableInference": "True", "allowInsecureConnections": "True"}, []string{"arcml-prometheus-operator", "kind: Prometheus\n", "arcml-kube-state-metrics", "name: inference-operator-controller-manager\n", "name: csi-blob-node\n"},
			[]string{"nfd-", "aml-operator"}},
	} {
		values := map[string]any{"enableTraining": "True", "image": map[string]any{"agent": "a:1", "router": "f:1", "runtime": "r:1"}}
		for k, v := range c.values {
			values[k] = v
		}
		got, err := chart.Render("azureml", "arcml", values)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, s := range c.present {
			if !strings.Contains(got, s) {
				t.Errorf("%s: %q is missing", name, s)
			}
		}
		for _, s := range c.without {
			if strings.Contains(got, s) {
				t.Errorf("%s: %q is there", name, s)
			}
		}
	}
}
