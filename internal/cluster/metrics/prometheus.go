package metrics

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/link"
)

// label carries a job's id; the scrape configuration of the chart makes it from the pod's name.
const label = "job_id"

// maxAnswer bounds what is read of one answer.
const maxAnswer = 64 << 20

// running selects, of what kube-state-metrics says of pods, those that run.
const running = ` and on (namespace, pod) (max_over_time(kube_pod_status_phase{phase="Running"}[1m]) == 1)`

// spent is the processor time of a minute: what the counter stands at, less what it stood at before. That misses nothing between two
// scrapes, as a rate over so short a time does. A container that started in this minute began at nothing; of one that was running
// before Prometheus was, the first minute is not known.
const spent = `(max_over_time(container_cpu_usage_seconds_total{job_id!=""}[1m]) - ` +
	`(max_over_time(container_cpu_usage_seconds_total{job_id!=""}[5m] offset 1m) or 0 * (max_over_time(container_start_time_seconds{job_id!=""}[1m]) > time() - 90)))`

// queries say how each metric of a job is made of what is scraped. Each looks back one step.
var queries = []struct{ metric, query string }{
	{link.MetricCPU, `1000 / 60 * sum by (job_id) ` + spent},
	{link.MetricMemory, `sum by (job_id) (max_over_time(container_memory_working_set_bytes{job_id!=""}[1m])) / 1e6`},
	{link.MetricCPUCapacity, `1000 * sum by (job_id) (max_over_time(kube_pod_container_resource_limits{job_id!="",resource="cpu"}[1m])` + running + `)`},
	{link.MetricMemoryCapacity, `sum by (job_id) (max_over_time(kube_pod_container_resource_limits{job_id!="",resource="memory"}[1m])` + running + `) / 1e6`},
	{link.MetricGPUCapacity, `1000 * sum by (job_id) (max_over_time(kube_pod_container_resource_limits{job_id!="",resource=~".+_com_gpu"}[1m])` + running + `)`},
	// DCGM counts percents of a GPU, and memory in units of 2^20 bytes.
	{link.MetricGPU, `10 * sum by (job_id) (avg_over_time(DCGM_FI_DEV_GPU_UTIL{job_id!=""}[1m]))`},
	{link.MetricGPUMemory, `1.048576 * sum by (job_id) (max_over_time(DCGM_FI_DEV_FB_USED{job_id!=""}[1m]))`},
	{link.MetricGPUMemoryTotal, `1.048576 * sum by (job_id) (max_over_time((DCGM_FI_DEV_FB_USED{job_id!=""} + DCGM_FI_DEV_FB_FREE)[1m:15s]))`},
}

// prometheus asks a Prometheus server.
type prometheus struct {
	base   string
	client *http.Client
}

func newPrometheus(base string) prometheus {
	return prometheus{base: strings.TrimSuffix(base, "/"), client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		IdleConnTimeout: time.Minute, DisableCompression: true, // no proxy: it is in the cluster
	}}}
}

// ping reports whether Prometheus answers queries.
func (p prometheus) ping(ctx context.Context) error {
	_, err := p.get(ctx, "/api/v1/query", url.Values{"query": {"vector(1)"}})
	return err
}

// series is one job's values of one metric.
type series struct {
	Metric map[string]string    `json:"metric"`
	Values [][2]json.RawMessage `json:"values"`
}

// samples are those of the minutes that end at from, to and between, by time and job.
func (p prometheus) samples(ctx context.Context, from, to time.Time) ([]link.Sample, error) {
	type minute struct {
		job string
		at  int64
	}
	found := map[minute]map[string]float64{}
	for _, q := range queries {
		many, err := p.queryRange(ctx, q.query, from, to)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", q.metric, err)
		}
		for _, s := range many {
			for _, pair := range s.Values {
				at, value, err := point(pair)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", q.metric, err)
				}
				if math.IsNaN(value) || math.IsInf(value, 0) {
					continue
				}
				m := minute{s.Metric[label], at}
				if found[m] == nil {
					found[m] = map[string]float64{}
				}
				found[m][q.metric] = math.Round(value*1000) / 1000
			}
		}
	}
	out := make([]link.Sample, 0, len(found))
	for m, values := range found {
		out = append(out, link.Sample{Key: link.PrefixJob + m.job, Time: time.Unix(m.at, 0).UTC(), Values: values})
	}
	slices.SortFunc(out, func(a, b link.Sample) int { return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.Key, b.Key)) })
	return out, nil
}

// point is a time and a value: [1700000000, "0.5"].
func point(pair [2]json.RawMessage) (at int64, value float64, err error) {
	var seconds float64
	var text string
	if err = json.Unmarshal(pair[0], &seconds); err == nil {
		err = json.Unmarshal(pair[1], &text)
	}
	if err == nil {
		value, err = strconv.ParseFloat(text, 64)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("reading a value: %w", err)
	}
	return int64(math.Round(seconds)), value, nil
}

func (p prometheus) queryRange(ctx context.Context, query string, from, to time.Time) ([]series, error) {
	data, err := p.get(ctx, "/api/v1/query_range", url.Values{"query": {query}, "step": {strconv.Itoa(int(step / time.Second))},
		"start": {strconv.FormatInt(from.Unix(), 10)}, "end": {strconv.FormatInt(to.Unix(), 10)}})
	if err != nil {
		return nil, err
	}
	var result struct {
		Result []series `json:"result"`
	}
	if err := json.Unmarshal(data, &result); err != nil {
		return nil, fmt.Errorf("reading its answer: %w", err)
	}
	return result.Result, nil
}

// get asks and gives the answer's data.
func (p prometheus) get(ctx context.Context, path string, q url.Values) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+path+"?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	res, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var answer struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s answered %s: %w", p.base, res.Status, err)
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("%s answered %s: %s", p.base, res.Status, answer.Error)
	}
	return answer.Data, nil
}
