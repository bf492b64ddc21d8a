package store

import (
	"context"
	"encoding/json"
)

// TrackedRun is a run of experiment tracking. Times are milliseconds since 1970, as clients give them.
type TrackedRun struct {
	// Seq is the store's number of the run; 0 before it was written.
	Seq int64
	// Workspace is the GUID of a workspace. ID is unique within it.
	Workspace, ID    string
	Experiment, Name string
	User, Status     string
	// Start is when it began; End is 0 while it has not ended.
	Start, End int64
	// Artifacts is where its files are.
	Artifacts string
	Deleted   bool
	// Job is the name of the job that the run is or that made it; "" for those of other clients.
	Job string
	// Models are the logged models that it read and made.
	Models json.RawMessage
}

// TrackedText is a parameter or a tag.
type TrackedText struct{ Key, Value string }

// TrackedMetric is one point of a metric. A value that is not a number has NaN set and Value 0.
type TrackedMetric struct {
	Key      string
	Value    float64
	NaN      bool
	Step, At int64
}

// TrackedDataset is a data set that a run read.
type TrackedDataset struct {
	Name, Digest, Context string
	// Body is its wire form.
	Body json.RawMessage
}

// TrackedData is what was logged to a run: parameters and tags by key, of each metric the latest point.
type TrackedData struct {
	Params, Tags []TrackedText
	Metrics      []TrackedMetric
	Datasets     []TrackedDataset
}

// TrackedSize is how many data sets a run read, and the bytes of what is kept of them; Logged is about how many an answer has of its
// parameters, tags and latest points.
type TrackedSize struct{ Datasets, Bytes, Logged int64 }

// TrackedField is what a condition or an order looks at.
type TrackedField string

// The fields. An attribute's key is run_id, run_name, user_id, status, artifact_uri, start_time or end_time; a data set's is name, digest or context.
const (
	TrackedAttribute    TrackedField = "attribute"
	TrackedMetricField  TrackedField = "metric"
	TrackedParamField   TrackedField = "parameter"
	TrackedTagField     TrackedField = "tag"
	TrackedDatasetField TrackedField = "dataset"
)

// TrackedCondition is one comparison of a search.
type TrackedCondition struct {
	Field TrackedField
	Key   string
	// Op is =, !=, <, <=, >, >=, LIKE, ILIKE, IN, NOT IN, IS NULL or IS NOT NULL.
	Op string
	// Text, Number or List is what is compared with, by Field, Key and Op.
	Text   string
	Number float64
	List   []string
}

// TrackedOrder is one sort key of a search.
type TrackedOrder struct {
	Field      TrackedField
	Key        string
	Descending bool
}

// TrackedQuery selects runs: those that fulfil all conditions, by the orders, then the newest first, then by ID.
type TrackedQuery struct {
	Workspace   string
	Experiments []string
	// Active and Deleted say which runs are wanted.
	Active, Deleted bool
	Conditions      []TrackedCondition
	Orders          []TrackedOrder
	// AfterStart and AfterID continue after a run when there are no Orders; AfterID "" begins. Offset skips runs otherwise.
	AfterStart int64
	AfterID    string
	Offset     int
	Limit      int
}

// TrackedDoc is a small document of tracking: an experiment or a logged model, whose form package tracking knows.
type TrackedDoc struct {
	Workspace, Kind, ID string
	// Parent groups documents of a kind.
	Parent string
	Body   json.RawMessage
}

// TrackingReader is what can be read of experiment tracking.
type TrackingReader interface {
	// TrackedRun returns one run, or ErrNotFound.
	TrackedRun(ctx context.Context, workspace, id string) (TrackedRun, error)
	// TrackedData returns what was logged to runs, by their Seq.
	TrackedData(ctx context.Context, runs ...int64) (map[int64]*TrackedData, error)
	// TrackedSizes says how large is what TrackedData has of runs, by their Seq; those that logged nothing are not in it.
	TrackedSizes(ctx context.Context, runs ...int64) (map[int64]TrackedSize, error)
	// TrackedTexts returns those parameters (TrackedParamField) or tags of a run that have one of the keys, by key.
	TrackedTexts(ctx context.Context, run int64, field TrackedField, keys ...string) ([]TrackedText, error)
	SearchTracked(ctx context.Context, q TrackedQuery) ([]TrackedRun, error)
	// TrackedHistory lists a metric's points by time, step and value, each once.
	TrackedHistory(ctx context.Context, run int64, key string) ([]TrackedMetric, error)
	// TrackedDoc returns one document, or ErrNotFound; TrackedDocs those of a kind by ID, of one parent or ("") of all.
	TrackedDoc(ctx context.Context, workspace, kind, id string) (TrackedDoc, error)
	TrackedDocs(ctx context.Context, workspace, kind, parent string) ([]TrackedDoc, error)
}

// TrackingTx writes experiment tracking. Nobody follows it: it logs no change.
type TrackingTx interface {
	// AddTrackedRun inserts a run with its tags unless one of its ID is there.
	AddTrackedRun(ctx context.Context, r TrackedRun, tags []TrackedText) error
	// SetTrackedRun replaces a run, by Seq.
	SetTrackedRun(ctx context.Context, r TrackedRun) error
	// SetTrackedState replaces status, start and end of the run that is a job; one that is not there is no error.
	SetTrackedState(ctx context.Context, workspace, id, status string, start, end int64) error
	// SetTrackedDeleted marks all runs of an experiment.
	SetTrackedDeleted(ctx context.Context, workspace, experiment string, deleted bool) error
	// LogTracked appends points and writes parameters and tags, in place of those of the same key.
	LogTracked(ctx context.Context, run int64, metrics []TrackedMetric, params, tags []TrackedText) error
	AddTrackedDatasets(ctx context.Context, run int64, sets []TrackedDataset) error
	// DeleteTrackedTag removes a tag; one that is absent is no error.
	DeleteTrackedTag(ctx context.Context, run int64, key string) error
	// PutTrackedDoc inserts or replaces a document, AddTrackedDoc inserts one that is not there.
	PutTrackedDoc(ctx context.Context, d TrackedDoc) error
	AddTrackedDoc(ctx context.Context, d TrackedDoc) error
	DeleteTrackedDoc(ctx context.Context, workspace, kind, id string) error
	// DropTracked removes the runs of a job, or with job "" all that a workspace has. No job's run is found afterwards; what was logged,
	// and a workspace's runs, which nobody asks for again, go piece by piece when the store is compacted.
	DropTracked(ctx context.Context, workspace, job string) error
}
