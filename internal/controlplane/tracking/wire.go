package tracking

import (
	"encoding/json"
	"math"
	"slices"
	"strings"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// keyValue is a parameter, a tag.
type keyValue struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// wireMetric is one point of a metric.
type wireMetric struct {
	Key       string   `json:"key"`
	Value     *real    `json:"value"`
	Timestamp *integer `json:"timestamp"`
	Step      integer  `json:"step"`
	// ModelID, DatasetName and DatasetDigest say what was measured; RunID is given of points of several runs.
	ModelID       string `json:"model_id,omitempty"`
	DatasetName   string `json:"dataset_name,omitempty"`
	DatasetDigest string `json:"dataset_digest,omitempty"`
	RunID         string `json:"run_id,omitempty"`
}

func metricOf(m store.TrackedMetric) wireMetric {
	v, at := real(m.Value), integer(m.At)
	if m.NaN {
		v = real(math.NaN())
	}
	return wireMetric{Key: m.Key, Value: &v, Timestamp: &at, Step: integer(m.Step)}
}

// wireInfo is what a run is; the ids are there twice because older clients read the second.
type wireInfo struct {
	RunID      string `json:"run_id"`
	RunUUID    string `json:"run_uuid"`
	RunName    string `json:"run_name"`
	Experiment string `json:"experiment_id"`
	UserID     string `json:"user_id"`
	Status     string `json:"status"`
	StartTime  int64  `json:"start_time"`
	EndTime    int64  `json:"end_time,omitempty"`
	Artifacts  string `json:"artifact_uri"`
	Lifecycle  string `json:"lifecycle_stage"`
}

type wireData struct {
	Metrics []wireMetric `json:"metrics,omitempty"`
	Params  []keyValue   `json:"params,omitempty"`
	Tags    []keyValue   `json:"tags,omitempty"`
}

// wireInput is a data set that a run read.
type wireInput struct {
	Tags    []keyValue  `json:"tags,omitempty"`
	Dataset wireDataset `json:"dataset"`
}

type wireDataset struct {
	Name       string `json:"name"`
	Digest     string `json:"digest"`
	SourceType string `json:"source_type"`
	Source     string `json:"source"`
	Schema     string `json:"schema,omitempty"`
	Profile    string `json:"profile,omitempty"`
}

// wireModel is a logged model that a run read or made.
type wireModel struct {
	ModelID string   `json:"model_id"`
	Step    *integer `json:"step,omitempty"`
}

type wireInputs struct {
	Datasets []json.RawMessage `json:"dataset_inputs,omitempty"`
	Models   []wireModel       `json:"model_inputs,omitempty"`
}

type wireOutputs struct {
	Models []wireModel `json:"model_outputs,omitempty"`
}

type wireRun struct {
	Info    wireInfo     `json:"info"`
	Data    wireData     `json:"data"`
	Inputs  wireInputs   `json:"inputs"`
	Outputs *wireOutputs `json:"outputs,omitempty"`
}

// runModels is a TrackedRun's Models.
type runModels struct {
	Read []wireModel `json:"read,omitempty"`
	Made []wireModel `json:"made,omitempty"`
}

func stage(deleted bool) string {
	if deleted {
		return "deleted"
	}
	return "active"
}

func infoOf(r store.TrackedRun) wireInfo {
	return wireInfo{RunID: r.ID, RunUUID: r.ID, RunName: r.Name, Experiment: r.Experiment, UserID: r.User, Status: r.Status, StartTime: r.Start, EndTime: r.End,
		Artifacts: r.Artifacts, Lifecycle: stage(r.Deleted)}
}

func textsOf(in []store.TrackedText) []keyValue {
	out := make([]keyValue, len(in))
	for i, v := range in {
		out[i] = keyValue(v)
	}
	return out
}

func runOf(r store.TrackedRun, d *store.TrackedData) wireRun {
	out := wireRun{Info: infoOf(r), Data: wireData{Params: textsOf(d.Params), Tags: textsOf(d.Tags), Metrics: make([]wireMetric, len(d.Metrics))}}
	for i, m := range d.Metrics {
		out.Data.Metrics[i] = metricOf(m)
	}
	for _, set := range d.Datasets {
		out.Inputs.Datasets = append(out.Inputs.Datasets, set.Body)
	}
	var models runModels
	if len(r.Models) > 0 && json.Unmarshal(r.Models, &models) == nil {
		out.Inputs.Models = models.Read
		if len(models.Made) > 0 {
			out.Outputs = &wireOutputs{models.Made}
		}
	}
	return out
}

// pairs is a map as a list, by key.
func pairs(m map[string]string) []keyValue {
	out := make([]keyValue, 0, len(m))
	for k, v := range m {
		out = append(out, keyValue{k, v})
	}
	slices.SortFunc(out, func(a, b keyValue) int { return strings.Compare(a.Key, b.Key) })
	return out
}
