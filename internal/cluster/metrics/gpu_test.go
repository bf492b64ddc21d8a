package metrics

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// exporter is what NVIDIA's exporter says of a node with three GPUs: of a job's pod, of a deployment's and of somebody else's. It stands
// for hardware that is not here.
func exporter(w http.ResponseWriter, _ *http.Request) {
	for gpu, of := range []string{`namespace="ml",pod="job-` + job + `-worker-0-0-abcde",container="job"`, `namespace="ml",pod="digits-blue-1",container="inference-server"`, `namespace="ml",pod="notebook",container="main"`} {
		labels := fmt.Sprintf(`{gpu="%d",UUID="GPU-%d",device="nvidia%d",modelName="NVIDIA A100",Hostname="n1",%s}`, gpu, gpu, gpu, of)
		fmt.Fprintf(w, "DCGM_FI_DEV_GPU_UTIL%s %d\nDCGM_FI_DEV_FB_USED%s 1000\nDCGM_FI_DEV_FB_FREE%s 15000\nDCGM_FI_DEV_GPU_TEMP%s 60\n", labels, 40+gpu, labels, labels, labels)
	}
}

// chartJob is a scrape job of the extension as the chart renders it, which asks a target instead of what it would find in a cluster.
func chartJob(t *testing.T, name, target string) string {
	t.Helper()
	raw, err := os.ReadFile("../extension/helm/testdata/azureml-both.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for doc := range strings.SplitSeq(string(raw), "\n---\n") {
		var secret struct {
			StringData map[string]string `json:"stringData"`
		}
		var jobs []map[string]any
		if yaml.Unmarshal([]byte(doc), &secret) != nil || secret.StringData["scrape.yaml"] == "" {
			continue
		}
		if err := yaml.Unmarshal([]byte(secret.StringData["scrape.yaml"]), &jobs); err != nil {
			t.Fatal(err)
		}
		for _, j := range jobs {
			if j["job_name"] != name {
				continue
			}
			delete(j, "kubernetes_sd_configs")
			delete(j, "relabel_configs") // they choose among what is found
			j["static_configs"], j["scrape_interval"], j["scrape_timeout"] = []any{map[string]any{"targets": []string{target}}}, "100ms", "100ms"
			config, err := yaml.Marshal(map[string]any{"scrape_configs": []any{j}})
			if err != nil {
				t.Fatal(err)
			}
			return string(config)
		}
	}
	t.Fatalf("the chart has no scrape job %s", name)
	return ""
}

// TestChart_KeepsGPUs: of an exporter's series those of jobs and deployments are kept, under the labels that the queries look for.
func TestChart_KeepsGPUs(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(exporter))
	defer target.Close()
	p := startPrometheusWith(t, chartJob(t, "dcgm-0", strings.TrimPrefix(target.URL, "http://")))
	want := map[string]string{
		"DCGM_FI_DEV_GPU_UTIL " + job + " job": "40", "DCGM_FI_DEV_FB_USED " + job + " job": "1000", "DCGM_FI_DEV_FB_FREE " + job + " job": "15000",
		"DCGM_FI_DEV_GPU_UTIL  inference-server": "41", "DCGM_FI_DEV_FB_USED  inference-server": "1000", "DCGM_FI_DEV_FB_FREE  inference-server": "15000",
	}
	var diff string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) {
		now := time.Now()
		many, err := p.queryRange(t.Context(), `{__name__=~"DCGM_.*"}`, now, now)
		if err != nil {
			diff = err.Error()
			continue
		}
		got := map[string]string{}
		for _, s := range many {
			got[s.Metric["__name__"]+" "+s.Metric["job_id"]+" "+s.Metric["container"]] = strings.Trim(string(s.Values[0][1]), `"`)
		}
		if diff = cmp.Diff(want, got); diff == "" {
			return
		}
	}
	t.Errorf("(-want +got):\n%s", diff)
}
