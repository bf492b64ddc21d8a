package metrics

import (
	"regexp"
	"strings"

	"fairlead.dev/fairlead/internal/link"
)

// running selects, of what kube-state-metrics says of pods, those of jobs that run, and present those of deployments.
const (
	running = ` and on (namespace, pod) (max_over_time(kube_pod_status_phase{phase="Running"}[1m]) == 1)`
	present = ` and on (namespace, pod) max_over_time(container_memory_working_set_bytes{` + ofServing + `}[1m])`
)

// spent is the processor time of a minute: what the counter stands at, less what it stood at before. That misses nothing between two
// scrapes, as a rate over so short a time does. A container that started in this minute began at nothing; of one that was running
// before Prometheus was, the first minute is not known.
func spent(selector string) string {
	return strings.ReplaceAll(`(max_over_time(container_cpu_usage_seconds_total{@}[1m]) - `+
		`(max_over_time(container_cpu_usage_seconds_total{@}[5m] offset 1m) or 0 * (max_over_time(container_start_time_seconds{@}[1m]) > time() - 90)))`, "@", selector)
}

// counted is what a counter of the routers gained in a minute, in the same way. One that was not there before began at nothing if its
// router was asked before, or has just started; one that is less than before has begun anew.
func counted(counter, selector string) string {
	const asked = `(max_over_time(up{job="azureml-fe"}[5m] offset 1m) or max_over_time(process_start_time_seconds{job="azureml-fe"}[1m]) > time() - 90)`
	c := "fairlead_router_" + counter + "{" + selector + "}"
	return `clamp_min(max_over_time(` + c + `[1m]) - (max_over_time(` + c + `[5m] offset 1m) or (0 * max_over_time(` + c + `[1m]) and on (pod) ` + asked + `)), 0)`
}

// Pods of jobs are told by job_id, which the chart's scrape configuration makes of their names, pods of deployments by serving.
const (
	ofJob     = `job_id!=""`
	ofServing = `job_id="",container="inference-server"`
	serving   = ` * on (namespace, pod) group_left (endpoint, deployment) max by (namespace, pod, endpoint, deployment) (max_over_time(kube_pod_labels{deployment!=""}[1m]))`
)

// query says how a metric is made of what is scraped; each looks back one step. of is the key of what a series is of, "" for nothing.
type query struct {
	metric, query string
	of            func(labels map[string]string) string
}

// servedName is what endpoints and deployments are called. Labels of pods, which anybody makes, may say anything.
var servedName = regexp.MustCompile(`^[a-z][a-z0-9-]{2,31}$`)

func jobKey(labels map[string]string) string { return link.PrefixJob + labels["job_id"] }

// Endpoints and deployments are named in the control plane's maps in lower case.
func endpointKey(labels map[string]string) string {
	endpoint := strings.ToLower(labels["endpoint"])
	if !servedName.MatchString(endpoint) {
		return "" // requests for endpoints that are not there
	}
	return link.PrefixEndpoint + endpoint
}

func deploymentKey(labels map[string]string) string {
	endpoint, deployment := strings.ToLower(labels["endpoint"]), strings.ToLower(labels["deployment"])
	if !servedName.MatchString(endpoint) || !servedName.MatchString(deployment) {
		return ""
	}
	return link.PrefixDeployment + endpoint + "/" + deployment
}

var queries = append([]query{
	{link.MetricCPU, `1000 / 60 * sum by (job_id) ` + spent(ofJob), jobKey},
	{link.MetricMemory, `sum by (job_id) (max_over_time(container_memory_working_set_bytes{job_id!=""}[1m])) / 1e6`, jobKey},
	{link.MetricCPUCapacity, `1000 * sum by (job_id) (max_over_time(kube_pod_container_resource_limits{job_id!="",resource="cpu"}[1m])` + running + `)`, jobKey},
	{link.MetricMemoryCapacity, `sum by (job_id) (max_over_time(kube_pod_container_resource_limits{job_id!="",resource="memory"}[1m])` + running + `) / 1e6`, jobKey},
	{link.MetricGPUCapacity, `1000 * sum by (job_id) (max_over_time(kube_pod_container_resource_limits{job_id!="",resource=~".+_com_gpu"}[1m])` + running + `)`, jobKey},
	// DCGM counts percents of a GPU, and memory in units of 2^20 bytes.
	{link.MetricGPU, `10 * sum by (job_id) (avg_over_time(DCGM_FI_DEV_GPU_UTIL{job_id!=""}[1m]))`, jobKey},
	{link.MetricGPUMemory, `1.048576 * sum by (job_id) (max_over_time(DCGM_FI_DEV_FB_USED{job_id!=""}[1m]))`, jobKey},
	{link.MetricGPUMemoryTotal, `1.048576 * sum by (job_id) (max_over_time((DCGM_FI_DEV_FB_USED{job_id!=""} + DCGM_FI_DEV_FB_FREE)[1m:15s]))`, jobKey},

	{link.MetricCPU, `1000 / 60 * sum by (endpoint, deployment) (` + spent(ofServing) + serving + `)`, deploymentKey},
	{link.MetricMemory, `sum by (endpoint, deployment) (max_over_time(container_memory_working_set_bytes{` + ofServing + `}[1m])` + serving + `) / 1e6`, deploymentKey},
	{link.MetricCPUCapacity, `1000 * sum by (endpoint, deployment) ((max_over_time(kube_pod_container_resource_limits{` + ofServing + `,resource="cpu"}[1m])` + present + `)` + serving + `)`, deploymentKey},
	{link.MetricMemoryCapacity, `sum by (endpoint, deployment) ((max_over_time(kube_pod_container_resource_limits{` + ofServing + `,resource="memory"}[1m])` + present + `)` + serving + `) / 1e6`, deploymentKey},
	{link.MetricGPUCapacity, `1000 * sum by (endpoint, deployment) ((max_over_time(kube_pod_container_resource_limits{` + ofServing + `,resource=~".+_com_gpu"}[1m])` + present + `)` + serving + `)`, deploymentKey},
	{link.MetricGPU, `10 * sum by (endpoint, deployment) (avg_over_time(DCGM_FI_DEV_GPU_UTIL{` + ofServing + `}[1m])` + serving + `)`, deploymentKey},
	{link.MetricGPUMemory, `1.048576 * sum by (endpoint, deployment) (max_over_time(DCGM_FI_DEV_FB_USED{` + ofServing + `}[1m])` + serving + `)`, deploymentKey},
	{link.MetricGPUMemoryTotal, `1.048576 * sum by (endpoint, deployment) (max_over_time((DCGM_FI_DEV_FB_USED{` + ofServing + `} + DCGM_FI_DEV_FB_FREE)[1m:15s])` + serving + `)`, deploymentKey},
	{link.MetricConnections, `sum by (endpoint) (max_over_time(fairlead_router_connections[1m]))`, endpointKey},
	{link.MetricBytes, `sum by (endpoint) (` + counted("body_bytes_total", "") + `) / 60`, endpointKey},
	{link.MetricCapacity, `max by (endpoint, deployment) (max_over_time(fairlead_router_ready_pods[1m]))`, deploymentKey},
}, append(traffic("endpoint", `mirror="false"`, endpointKey), traffic("endpoint, deployment", `deployment!=""`, deploymentKey)...)...)

// traffic is what routers answered, by these labels.
func traffic(by, selector string, of func(map[string]string) string) []query {
	out := []query{
		{link.MetricRequests, `sum by (` + by + `, code) (` + counted("request_duration_seconds_count", selector) + `)`, of},
		{link.MetricLatency, `1000 * sum by (` + by + `) (` + counted("request_duration_seconds_sum", selector) + `) / sum by (` + by + `) (` + counted("request_duration_seconds_count", selector) + `)`, of},
	}
	for _, q := range []struct{ metric, part string }{{link.MetricLatencyP50, "0.5"}, {link.MetricLatencyP90, "0.9"}, {link.MetricLatencyP95, "0.95"}, {link.MetricLatencyP99, "0.99"}} {
		out = append(out, query{q.metric, `1000 * histogram_quantile(` + q.part + `, sum by (` + by + `, le) (` + counted("request_duration_seconds_bucket", selector) + `))`, of})
	}
	return out
}
