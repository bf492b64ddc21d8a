package metrics

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/testing/freeport"
	"fairlead.dev/fairlead/internal/testing/kubetest"
)

// history is a target that tells what a cluster's parts said every 15 s of five minutes, one moment a scrape.
type history struct {
	begin time.Time
	step  atomic.Int64
}

// moments are those of five minutes.
const moments = 21

// ServeHTTP implements http.Handler.
func (h *history) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	i := h.step.Add(1) - 1
	if i >= moments {
		return
	}
	at := h.begin.Add(time.Duration(i) * 15 * time.Second)
	tell := func(series string, value float64) { fmt.Fprintf(w, "%s %g %d\n", series, value, at.UnixMilli()) }
	router := func(pod string, i, since int64) { // ten requests a moment, nine of them in less than 5 ms; from its tenth moment on one 503 each
		tell(`up{job="azureml-fe",pod="`+pod+`"}`, 1)
		tell(`process_start_time_seconds{job="azureml-fe",pod="`+pod+`"}`, float64(h.begin.Add(time.Duration(since)*15*time.Second).Unix()))
		tell(`fairlead_router_ready_pods{pod="`+pod+`",endpoint="digits",deployment="blue"}`, 2)
		tell(`fairlead_router_connections{pod="`+pod+`",endpoint="digits"}`, 3+float64(i%2))
		tell(`fairlead_router_body_bytes_total{pod="`+pod+`",endpoint="digits"}`, 1500*float64(i+1))
		took := func(code string, fast, slow, seconds float64) {
			of := `pod="` + pod + `",endpoint="Digits",deployment="blue",code="` + code + `",mirror="false"`
			tell(`fairlead_router_request_duration_seconds_bucket{`+of+`,le="0.005"}`, fast)
			tell(`fairlead_router_request_duration_seconds_bucket{`+of+`,le="0.1"}`, fast+slow)
			tell(`fairlead_router_request_duration_seconds_bucket{`+of+`,le="+Inf"}`, fast+slow)
			tell(`fairlead_router_request_duration_seconds_count{`+of+`}`, fast+slow)
			tell(`fairlead_router_request_duration_seconds_sum{`+of+`}`, seconds)
		}
		took("200", 9*float64(i+1), float64(i+1), .02*float64(i+1))
		if i >= 9 {
			took("503", float64(i-8), 0, 0)
		}
	}
	router("old", i+1000, -1000)
	if i >= 5 { // started in the second minute
		router("new", i-5, 5)
	}
	const pod = `namespace="ml",pod="digits-blue-1"`
	tell(`kube_pod_labels{`+pod+`,endpoint="digits",deployment="blue"}`, 1)
	tell(`kube_pod_container_resource_limits{`+pod+`,container="inference-server",resource="cpu"}`, 2)
	tell(`kube_pod_container_resource_limits{`+pod+`,container="inference-server",resource="memory"}`, 1e9)
	tell(`container_cpu_usage_seconds_total{`+pod+`,container="inference-server"}`, 7.5*float64(i)) // half a core
	tell(`container_start_time_seconds{`+pod+`,container="inference-server"}`, float64(h.begin.Unix()))
	tell(`container_memory_working_set_bytes{`+pod+`,container="inference-server"}`, 3e8)
	tell(`kube_pod_container_resource_limits{`+pod+`,container="inference-server",resource="nvidia_com_gpu"}`, 2)
	for gpu, busy := range []float64{80, 30} {
		of := fmt.Sprintf(`{%s,container="inference-server",gpu="%d"}`, pod, gpu)
		tell(`DCGM_FI_DEV_GPU_UTIL`+of, busy)
		tell(`DCGM_FI_DEV_FB_USED`+of, 1000)
		tell(`DCGM_FI_DEV_FB_FREE`+of, 15000)
	}
	tell(`container_memory_working_set_bytes{namespace="else",pod="x",container="inference-server"}`, 9e9) // no deployment's
	tell(`container_cpu_usage_seconds_total{namespace="ml",pod="job-x",container="user",job_id="`+job+`"}`, 15*float64(i))
	tell(`container_start_time_seconds{namespace="ml",pod="job-x",container="user",job_id="`+job+`"}`, float64(h.begin.Unix()))
}

// startPrometheus is the real server, which asks a target.
func startPrometheus(t *testing.T, target string) prometheus {
	t.Helper()
	return startPrometheusWith(t, "scrape_configs:\n- {job_name: x, scrape_interval: 100ms, scrape_timeout: 100ms, honor_labels: true, static_configs: [{targets: ['"+target+"']}]}\n")
}

func startPrometheusWith(t *testing.T, config string) prometheus {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := freeport.Address(t)
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, kubetest.Tool(t, "prometheus"), "--config.file="+filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return newPrometheus("http://" + addr)
}

// TestQueries: the real Prometheus makes of what the cluster's parts say what a user is told. The first minute has no counters, since nobody
// knows what was before; a router and a status code that come later count from their first request.
func TestQueries(t *testing.T) {
	h := &history{begin: time.Now().UTC().Add(-10 * time.Minute).Truncate(time.Minute)}
	target := httptest.NewServer(h)
	defer target.Close()
	p := startPrometheus(t, strings.TrimPrefix(target.URL, "http://"))
	deadline := time.After(time.Minute)
	for h.step.Load() <= moments+1 {
		select {
		case <-deadline:
			t.Fatalf("Prometheus asked %d times in a minute", h.step.Load())
		case <-time.After(10 * time.Millisecond):
		}
	}
	got, err := p.samples(t.Context(), h.begin.Add(4*time.Minute), h.begin.Add(4*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	want := []link.Sample{
		{Key: "deployment/digits/blue", Values: map[string]float64{
			// Four moments of both routers; of them the new one has 503s in three.
			"RequestsPerMinute/200": 80, "RequestsPerMinute/503": 7, link.MetricLatency: 1.839, link.MetricCapacity: 2,
			link.MetricLatencyP50: 2.753, link.MetricLatencyP90: 4.956, link.MetricLatencyP95: 48.344, link.MetricLatencyP99: 89.669,
			link.MetricCPU: 500, link.MetricCPUCapacity: 2000, link.MetricMemory: 300, link.MetricMemoryCapacity: 1000,
			link.MetricGPU: 1100, link.MetricGPUCapacity: 2000, link.MetricGPUMemory: 2097.152, link.MetricGPUMemoryTotal: 33554.432}},
		{Key: "endpoint/digits", Values: map[string]float64{"RequestsPerMinute/200": 80, "RequestsPerMinute/503": 7, link.MetricLatency: 1.839,
			link.MetricConnections: 8, link.MetricBytes: 200, // four moments of both routers, 1500 bytes each
			link.MetricLatencyP50: 2.753, link.MetricLatencyP90: 4.956, link.MetricLatencyP95: 48.344, link.MetricLatencyP99: 89.669}},
		{Key: "job/" + job, Values: map[string]float64{link.MetricCPU: 1000}},
	}
	for i := range want {
		want[i].Time = h.begin.Add(4 * time.Minute)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
	requests := func(minute int) map[string]float64 {
		t.Helper()
		at := h.begin.Add(time.Duration(minute) * time.Minute)
		got, err := p.samples(t.Context(), at, at)
		if err != nil {
			t.Fatal(err)
		}
		sum := map[string]float64{}
		for _, s := range got {
			for _, name := range []string{"RequestsPerMinute/200", "RequestsPerMinute/503"} {
				if v, ok := s.Values[name]; ok && s.Key == "endpoint/digits" {
					sum[name] = v
				}
			}
		}
		return sum
	}
	// In the second minute the old router answers 40, and the new one, which comes with it, 40 from its first on.
	if diff := cmp.Diff(map[string]float64{"RequestsPerMinute/200": 80, "RequestsPerMinute/503": 4}, requests(2)); diff != "" {
		t.Errorf("the second minute (-want +got):\n%s", diff)
	}
}
