package helm

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"fairlead.dev/fairlead/charts"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

// random matches what the chart makes anew on each rendering: keys and certificates.
var random = regexp.MustCompile(`(?m)((?:ca\.crt|tls\.crt|tls\.key|caBundle): )[A-Za-z0-9+/=]{100,}`)

func TestRenderGolden(t *testing.T) {
	private := map[string]any{"agent": "registry.example/agent:1", "router": "registry.example/router:1", "runtime": "registry.example/runtime:1", "pullSecret": "registry"}
	cases := map[string]struct {
		chart, namespace string
		values           map[string]any
	}{
		"azureml-training":  {charts.AzureML, "azureml", map[string]any{"enableTraining": "True", "nodeSelector": map[string]any{"pool": "ml"}, "image": private, "proxy": map[string]any{"cert": "PROXYCA\n"}}},
		"azureml-inference": {charts.AzureML, "azureml", map[string]any{"enableInference": "True", "allowInsecureConnections": "True", "inferenceRouterServiceType": "nodePort", "inferenceRouterHA": "False", "image": private}},
		"azureml-both": {charts.AzureML, "azureml", map[string]any{"enableTraining": "True", "enableInference": "True", "internalLoadBalancerProvider": "azure", "corsOrigins": "https://a.example",
			"scoringFe": map[string]any{"sslCert": "Q0VSVA==", "sslKey": "S0VZ"}, "image": private}},
		"azureml-neither": {charts.AzureML, "azureml", map[string]any{"proxy": map[string]any{"https": "http://proxy:3128", "skipRange": "10.0.0.0/8"}, "image": map[string]any{"agent": "fairlead/agent:1.2.3"}}},
		"azure-arc": {charts.Agent, "azure-arc", map[string]any{
			"global": map[string]any{"endpoint": "https://fl.example", "caCert": "CA\n", "clusterId": "/subscriptions/s/x", "tenantId": "t", "onboardingPrivateKey": "KEY\n"},
			"proxy":  map[string]any{"https": "http://proxy:3128", "cert": "PROXYCA\n"},
			"image":  private,
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			chart, err := LoadChart(charts.FS, c.chart)
			if err != nil {
				t.Fatal(err)
			}
			got, err := chart.Render(c.namespace, "arcml", c.values)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".yaml", random.ReplaceAllString(got, "${1}<random>"))
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("rendering differs from %s (-want +got), run with -update when that is meant:\n%s", path, diff)
	}
}
