package link

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// MetricsPath is where a cluster posts what it has measured of its jobs, endpoints and deployments, and asks up to when it did.
const MetricsPath = "/link/v1/metrics"

// MaxSamples bounds the samples of one request.
const MaxSamples = 2000

// Metrics of a job or deployment, summed over its pods, by the reference's names. Memory is in units of 10^6 bytes.
const (
	MetricCPU            = "CpuUtilizationMillicores"
	MetricCPUCapacity    = "CpuCapacityMillicores"
	MetricMemory         = "CpuMemoryUtilizationMegabytes"
	MetricMemoryCapacity = "CpuMemoryCapacityMegabytes"
	MetricGPU            = "GpuUtilizationMilliGPUs"
	MetricGPUCapacity    = "GpuCapacityMilliGPUs"
	MetricGPUMemory      = "GpuMemoryUtilizationMegabytes"
	MetricGPUMemoryTotal = "GpuMemoryCapacityMegabytes"
)

// Metrics of endpoints and deployments, as routers see them, by the reference's names. Latencies are in milliseconds. Requests are
// counted by status code: the value's name is MetricRequests, "/" and the code.
const (
	MetricRequests   = "RequestsPerMinute"
	MetricLatency    = "RequestLatency"
	MetricLatencyP50 = "RequestLatency_P50"
	MetricLatencyP90 = "RequestLatency_P90"
	MetricLatencyP95 = "RequestLatency_P95"
	MetricLatencyP99 = "RequestLatency_P99"
	MetricCapacity   = "DeploymentCapacity"
	// Of endpoints only: connections of callers, and bytes of bodies a second, both ways.
	MetricConnections = "ConnectionsActive"
	MetricBytes       = "NetworkBytes"
)

// Sample is what was measured of one job, endpoint or deployment in the minute that ended at Time. The same sample may come again.
type Sample struct {
	// Key is its key in the maps: PrefixJob + id, PrefixEndpoint + name or PrefixDeployment + endpoint "/" name.
	Key    string             `json:"key"`
	Time   time.Time          `json:"time"`
	Values map[string]float64 `json:"values"`
}

// MetricsRequest is the body of a POST to MetricsPath.
type MetricsRequest struct {
	Samples []Sample `json:"samples"`
	// Through says that everything up to then was sent. The last request of several has it.
	Through time.Time `json:"through,omitzero"`
}

// MetricsState is the answer to a GET of MetricsPath: the newest Through, if there was one.
type MetricsState struct {
	Through time.Time `json:"through,omitzero"`
}

// MetricsThrough asks up to when the control plane has this cluster's samples; the zero time when it has none.
func (c *Client) MetricsThrough(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Silence)
	defer cancel()
	res, err := c.request(ctx, http.MethodGet, MetricsPath, nil)
	if err != nil {
		return time.Time{}, err
	}
	defer res.Body.Close()
	var state MetricsState
	if err := json.NewDecoder(res.Body).Decode(&state); err != nil {
		return time.Time{}, fmt.Errorf("reading up to when samples were sent: %w", err)
	}
	return state.Through, nil
}

// PostMetrics sends samples, in several requests if there are many, and then says that everything up to through was sent.
func (c *Client) PostMetrics(ctx context.Context, samples []Sample, through time.Time) error {
	for len(samples) > MaxSamples {
		if err := c.postMetrics(ctx, MetricsRequest{Samples: samples[:MaxSamples]}); err != nil {
			return err
		}
		samples = samples[MaxSamples:]
	}
	return c.postMetrics(ctx, MetricsRequest{Samples: samples, Through: through})
}

func (c *Client) postMetrics(ctx context.Context, req MetricsRequest) error {
	body, err := json.Marshal(req)
	if err != nil {
		return fmt.Errorf("encoding samples: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Silence)
	defer cancel()
	res, err := c.request(ctx, http.MethodPost, MetricsPath, bytes.NewReader(body))
	if err != nil {
		return err
	}
	return res.Body.Close()
}
