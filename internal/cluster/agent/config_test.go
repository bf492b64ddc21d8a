package agent

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestProxyCertReachesExtensions follows the proxy's CA from the agent's ConfigMap to the values of extensions' charts.
func TestProxyCertReachesExtensions(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"endpoint": "https://fl.example", "tenantId": "t", "clusterId": "/c", "key": "KEY", "proxy.crt": "PROXYCA\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("FAIRLEAD_SKIP_RANGE", "10.0.0.0/8")
	cfg, err := ReadConfig(dir, filepath.Join(dir, "key"))
	if err != nil {
		t.Fatal(err)
	}
	proxies := map[string]string{"HTTPS_PROXY": "http://proxy:3128"}
	want := map[string]any{"https": "http://proxy:3128", "http": "", "skipRange": "10.0.0.0/8", "cert": "PROXYCA\n"}
	if diff := cmp.Diff(want, chartValues(cfg, func(name string) string { return proxies[name] })["proxy"]); diff != "" {
		t.Errorf("proxy values (-want +got):\n%s", diff)
	}
}
