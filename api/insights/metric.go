// Package insights has the wire types of Microsoft.Insights: metrics of a resource and what they mean.
package insights

import "time"

// APIVersion is the newest version of metrics that clients know.
const APIVersion = "2018-01-01"

// Response answers GET <resource>/providers/Microsoft.Insights/metrics.
type Response struct {
	Cost     int    `json:"cost"`
	Timespan string `json:"timespan"`
	Interval string `json:"interval"`
	// Value has one entry for each metric asked for.
	Value          []Metric `json:"value"`
	Namespace      string   `json:"namespace"`
	ResourceRegion string   `json:"resourceregion"`
}

// Name is a name for programs and one for people.
type Name struct {
	Value          string `json:"value"`
	LocalizedValue string `json:"localizedValue"`
}

// Metric is one metric's share of a Response.
type Metric struct {
	ID                 string       `json:"id"`
	Type               string       `json:"type"`
	Name               Name         `json:"name"`
	DisplayDescription string       `json:"displayDescription"`
	Unit               string       `json:"unit"`
	Timeseries         []Timeseries `json:"timeseries"`
	ErrorCode          string       `json:"errorCode"`
}

// Timeseries are the values of one metric, or, if a filter splits it, those of one value of its dimension.
type Timeseries struct {
	MetadataValues []MetadataValue `json:"metadatavalues"`
	Data           []Value         `json:"data"`
}

// MetadataValue says what a series is of.
type MetadataValue struct {
	Name  Name   `json:"name"`
	Value string `json:"value"`
}

// Value is one interval. It has the aggregations that were asked for; none where nothing was measured.
type Value struct {
	TimeStamp time.Time `json:"timeStamp"`
	Average   *float64  `json:"average,omitempty"`
	Minimum   *float64  `json:"minimum,omitempty"`
	Maximum   *float64  `json:"maximum,omitempty"`
	Total     *float64  `json:"total,omitempty"`
	Count     *float64  `json:"count,omitempty"`
}

// Definitions answers GET <resource>/providers/Microsoft.Insights/metricDefinitions.
type Definitions struct {
	Value []Definition `json:"value"`
}

// Definition says what a metric is and how it can be asked for.
type Definition struct {
	ID                        string         `json:"id"`
	ResourceID                string         `json:"resourceId"`
	Namespace                 string         `json:"namespace"`
	Name                      Name           `json:"name"`
	DisplayDescription        string         `json:"displayDescription"`
	IsDimensionRequired       bool           `json:"isDimensionRequired"`
	Unit                      string         `json:"unit"`
	PrimaryAggregationType    string         `json:"primaryAggregationType"`
	SupportedAggregationTypes []string       `json:"supportedAggregationTypes"`
	Dimensions                []Name         `json:"dimensions,omitempty"`
	MetricAvailabilities      []Availability `json:"metricAvailabilities"`
}

// Availability is an interval that a metric can be had in, and how long it is kept.
type Availability struct {
	TimeGrain string `json:"timeGrain"`
	Retention string `json:"retention"`
}
