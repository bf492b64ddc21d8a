// Package insight turns what was measured of a resource, minute by minute, into the metrics of Microsoft.Insights.
package insight

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/insights"
	"fairlead.dev/fairlead/internal/controlplane/types/serving"
	"fairlead.dev/fairlead/internal/link"
)

// Definition is a metric. Percentages are made of two others when they are read.
type Definition struct {
	Name, Title, Help, Unit string
	// Part and Whole are what a percentage is made of; "" for metrics that are measured.
	Part, Whole string
	// Codes says that it is measured by status code; without a filter the codes add up.
	Codes bool
}

const (
	unitCount   = "Count"
	unitPercent = "Percent"
	unitMillis  = "MilliSeconds"
	unitBytes   = "BytesPerSecond"
)

// Of are the metrics of a type, by its full name; the first is what is shown to those who name none.
func Of(resourceType string) []Definition {
	switch strings.ToLower(resourceType) {
	case serving.EndpointType:
		return slices.Concat(traffic, network)
	case serving.DeploymentType:
		return slices.Concat(traffic, capacity, used)
	}
	return used
}

// traffic is what the routers answered.
var traffic = []Definition{
	{Name: link.MetricRequests, Title: "Requests per minute", Help: "Requests that were answered in the minute, by status code.", Unit: unitCount, Codes: true},
	{Name: link.MetricLatency, Title: "Latency", Help: "From a request's first byte to its answer's last, on average.", Unit: unitMillis},
	{Name: link.MetricLatencyP50, Title: "Latency, P50", Help: "The latency that half of the requests stayed below.", Unit: unitMillis},
	{Name: link.MetricLatencyP90, Title: "Latency, P90", Help: "The latency that 90 % of the requests stayed below.", Unit: unitMillis},
	{Name: link.MetricLatencyP95, Title: "Latency, P95", Help: "The latency that 95 % of the requests stayed below.", Unit: unitMillis},
	{Name: link.MetricLatencyP99, Title: "Latency, P99", Help: "The latency that 99 % of the requests stayed below.", Unit: unitMillis},
}

// network is what callers and routers have between them.
var network = []Definition{
	{Name: link.MetricConnections, Title: "Connections", Help: "Connections of callers whose last request was to the endpoint, the most in the minute.", Unit: unitCount},
	{Name: link.MetricBytes, Title: "Network", Help: "Bytes of requests' and answers' bodies a second, on average over the minute.", Unit: unitBytes},
}

var capacity = []Definition{
	{Name: link.MetricCapacity, Title: "Pods", Help: "Pods that took requests, the most in the minute.", Unit: unitCount},
}

// used is what pods used.
var used = []Definition{
	{Name: link.MetricCPU, Title: "CPU used", Help: "Thousandths of a core that the pods used, on average over the minute.", Unit: unitCount},
	{Name: link.MetricCPUCapacity, Title: "CPU limit", Help: "Thousandths of a core that the pods may use.", Unit: unitCount},
	{Name: "CpuUtilizationPercentage", Title: "CPU used, of limit", Help: "The share of their limit that the pods used.", Unit: unitPercent, Part: link.MetricCPU, Whole: link.MetricCPUCapacity},
	{Name: link.MetricMemory, Title: "Memory used", Help: "Megabytes of memory in use by the pods (working set).", Unit: unitCount},
	{Name: link.MetricMemoryCapacity, Title: "Memory limit", Help: "Megabytes of memory that the pods may use.", Unit: unitCount},
	{Name: "CpuMemoryUtilizationPercentage", Title: "Memory used, of limit", Help: "The share of their limit that the pods used.", Unit: unitPercent, Part: link.MetricMemory, Whole: link.MetricMemoryCapacity},
	{Name: link.MetricGPU, Title: "GPU used", Help: "Thousandths of a GPU that were busy, over all GPUs of the pods.", Unit: unitCount},
	{Name: link.MetricGPUCapacity, Title: "GPUs", Help: "Thousandths of a GPU that the pods have.", Unit: unitCount},
	{Name: "GpuUtilizationPercentage", Title: "GPU used, of all", Help: "The share of the pods' GPUs that was busy.", Unit: unitPercent, Part: link.MetricGPU, Whole: link.MetricGPUCapacity},
	{Name: link.MetricGPUMemory, Title: "GPU memory used", Help: "Megabytes of GPU memory in use by the pods.", Unit: unitCount},
	{Name: link.MetricGPUMemoryTotal, Title: "GPU memory", Help: "Megabytes of memory of the pods' GPUs.", Unit: unitCount},
	{Name: "GpuMemoryUtilizationPercentage", Title: "GPU memory used, of all", Help: "The share of the GPUs' memory that is in use.", Unit: unitPercent, Part: link.MetricGPUMemory, Whole: link.MetricGPUMemoryTotal},
}

// Measured says whether a metric is measured, by its exact name, which ends with the status code if it is measured by that.
func Measured(name string) bool {
	name, code, coded := strings.Cut(name, "/")
	d, ok := find(slices.Concat(traffic, network, capacity, used), name)
	return ok && d.Name == name && d.Part == "" && d.Codes == coded && (!coded || statusCode.MatchString(code))
}

var statusCode = regexp.MustCompile(`^[1-9][0-9]{2}$`)

func find(all []Definition, name string) (Definition, bool) {
	for _, d := range all {
		if strings.EqualFold(d.Name, name) {
			return d, true
		}
	}
	return Definition{}, false
}

// grain is an interval.
type grain struct {
	name string // on the wire
	d    time.Duration
}

// grains are the intervals that can be asked for, the shortest first.
var grains = []grain{{"PT1M", time.Minute}, {"PT5M", 5 * time.Minute}, {"PT15M", 15 * time.Minute}, {"PT30M", 30 * time.Minute}, {"PT1H", time.Hour},
	{"PT6H", 6 * time.Hour}, {"PT12H", 12 * time.Hour}, {"P1D", 24 * time.Hour}}

// aggregations are the ways to put the minutes of an interval together, the usual one first.
var aggregations = []string{"Average", "Minimum", "Maximum", "Total", "Count"}

// Resource is what metrics are of.
type Resource struct {
	// Type is the full type, as the reference spells it.
	ID, Type, Region string
}

// List is the wire form of the metrics that a resource has.
func List(r Resource) insights.Definitions {
	var available []insights.Availability
	for _, g := range grains {
		available = append(available, insights.Availability{TimeGrain: g.name, Retention: "P30D"})
	}
	var out insights.Definitions
	for _, d := range Of(r.Type) {
		wire := insights.Definition{
			ID: r.ID + "/providers/Microsoft.Insights/metricDefinitions/" + d.Name, ResourceID: r.ID, Namespace: r.Type,
			Name: d.wireName(), DisplayDescription: d.Help, Unit: d.Unit, PrimaryAggregationType: aggregations[0],
			SupportedAggregationTypes: aggregations, MetricAvailabilities: available,
		}
		if d.Codes {
			wire.Dimensions = []insights.Name{dimensionName(byCode), dimensionName(byClass)}
		}
		out.Value = append(out.Value, wire)
	}
	return out
}

func (d Definition) wireName() insights.Name {
	return insights.Name{Value: d.Name, LocalizedValue: d.Title}
}
