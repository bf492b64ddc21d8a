package extension

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/charts"
	"fairlead.dev/fairlead/internal/cluster/extension/helm"
	"fairlead.dev/fairlead/internal/testing/kubetest"
)

func TestScratch(t *testing.T) {
	cluster := kubetest.Start(t)
	chart, _ := helm.LoadChart(charts.FS, charts.AzureML)
	h := helm.New(cluster.Config, slog.Default())
	if err := h.Install(t.Context(), helm.Request{Namespace: "azureml", Name: "arcml", Chart: chart, Values: map[string]any{"enableTraining": "True"}, CreateNamespace: true}); err != nil {
		t.Fatal(err)
	}
	m, err := chart.Render("azureml", "arcml", map[string]any{"enableTraining": "True"})
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	dir := filepath.Join(tmp, "k8s-webhook-server/serving-certs")
	os.MkdirAll(dir, 0o755)
	for _, k := range []string{"ca.crt", "tls.crt", "tls.key"} {
		v := regexp.MustCompile(`(?m)^  `+regexp.QuoteMeta(k)+`: (\S+)$`).FindStringSubmatch(m)[1]
		raw, _ := base64.StdEncoding.DecodeString(v)
		os.WriteFile(filepath.Join(dir, k), raw, 0o600)
	}
	cfg := filepath.Join(tmp, "c.yaml")
	os.WriteFile(cfg, []byte("apiVersion: config.jobset.x-k8s.io/v1alpha1\nkind: Configuration\nleaderElection:\n  leaderElect: false\ninternalCertManagement:\n  enable: false\n"), 0o600)
	cmd := exec.Command("/work/main/bin/localcluster/jobset", "--config="+cfg, "--metrics-bind-address=0", "--zap-log-level=info")
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp, "KUBECONFIG="+cluster.Kubeconfig)
	out, _ := os.Create("/tmp/cgen/jobset.log")
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Start()
	defer cmd.Process.Kill()
	ca, _ := os.ReadFile(filepath.Join(dir, "ca.crt"))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "jobset-webhook-service.azureml.svc"}}}
	begin := time.Now()
	for i := 0; i < 300; i++ {
		r, err := http.Get("http://127.0.0.1:8081/readyz")
		if err == nil && r.StatusCode == 200 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	fmt.Println("ready after", time.Since(begin))
	r, err := c.Post("https://127.0.0.1:9443/mutate--v1-pod", "application/json", strings.NewReader("{}"))
	fmt.Println(r, err)
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	for _, l := range strings.Split(string(b), "\n") {
		if strings.HasPrefix(l, "VmRSS") {
			fmt.Println("jobset", l)
		}
	}
	// components
	sa := filepath.Join(tmp, "link")
	os.MkdirAll(sa, 0o755)
	os.WriteFile(filepath.Join(sa, "endpoint"), []byte("https://127.0.0.1:1"), 0o600)
	os.WriteFile(filepath.Join(sa, "token"), []byte("x"), 0o600)
	_ = sa
}
