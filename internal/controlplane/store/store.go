// Package store is the one seam to the database: resources, operations, the change log, the two last-value maps of
// every cluster, and experiment tracking. Packages sqlite and postgres implement it; package storetest says how both must behave.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Errors that callers branch on.
var (
	// ErrNotFound: the caller answers 404 or treats the thing as absent.
	ErrNotFound = errors.New("not found")
	// ErrConflict: the record's version is not the expected one (someone wrote in between); read again, decide again.
	ErrConflict = errors.New("version conflict")
	// ErrCompacted: what followed the given sequence number is no longer kept (or the number was never handed out here).
	// A reader of Desired starts again from 0 (the link's Reset); a follower of Changes looks at everything and follows from LastChange.
	ErrCompacted = errors.New("sequence number is no longer kept")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("store is closed")
	// ErrOldSchema: the store is as a server of an earlier release made it.
	ErrOldSchema = errors.New("its tables are of an earlier release; upgrade all servers first, which brings them up to date")
)

// Locker is a store that several processes share, which also orders what they do elsewhere.
type Locker interface {
	// Lock waits until no other process has the lock of this name, for some minutes at most. It is free again with unlock, or when the
	// process or its connection ends: held tells its holder whether it still is.
	Lock(ctx context.Context, name string) (held func() error, unlock func(), err error)
}

// Record is one resource. Keys (Key, Type, Parent) are lower case; ID and Name keep the case of the first write.
type Record struct {
	// Key is the lower-case ARM id.
	Key string
	ID  string
	// Type is the lower-case full type, e.g. microsoft.machinelearningservices/workspaces/jobs.
	Type string
	// Parent is the Key of the resource whose collection lists this one (its resource group, or its parent resource); "" at the root.
	Parent string
	Name   string
	// Seq orders creation (unique, ascending); set by the store on first write.
	Seq int64
	// Version grows by every write of this record; 0 in a Put means "must not exist yet"; set by the store.
	Version int64
	// Body is the wire envelope without id, name, type, systemData and etag: location, tags, identity, kind, sku, properties.
	Body json.RawMessage
	// Internal is what reconcilers remember; never on the wire.
	Internal json.RawMessage
	// Secret is encrypted by the caller (package seal); never on the wire.
	Secret []byte
	// Archived records are left out of lists unless asked for.
	Archived             bool
	CreatedAt, UpdatedAt time.Time // UTC, microseconds; set by the caller's clock
	CreatedBy, UpdatedBy string    // principal
}

// Operation is one asynchronous operation on a resource. Status is Creating, Updating, Deleting, Succeeded, Failed or Canceled.
type Operation struct {
	ID, Key, Status string
	Error           json.RawMessage // arm.ErrorBody when Failed
	StartedAt       time.Time
	EndedAt         time.Time // zero while it runs
}

// Change is one entry of the change log, which reconcilers and watchers follow.
type Change struct {
	Seq int64
	// Kind is resource, operation, desired or observed.
	Kind string
	// Key is a record's Key; for desired and observed it is the cluster's Key.
	Key string
	// Type is the record's Type; for desired and observed it is the map's key (job/…).
	Type    string
	Deleted bool
}

// Query selects records of one type below one parent. Parent "" with AnyParent selects the type everywhere.
type Query struct {
	Type, Parent string
	AnyParent    bool
	// Prefix limits to keys that begin with it (a subscription's or a group's resources).
	Prefix string
	// Newest first when Descending (jobs), else by creation.
	Descending bool
	// After is the Seq of the last record of the previous page; 0 begins.
	After int64
	// Limit is 1..1000.
	Limit int
	// IncludeArchived, OnlyArchived: reference's listViewType All, ArchivedOnly; neither: ActiveOnly.
	IncludeArchived, OnlyArchived bool
}

// Entry is one key of a last-value map.
type Entry struct {
	Key     string
	Value   json.RawMessage
	Seq     int64
	Deleted bool
	At      time.Time
}

// Sample is what was measured of one thing in one minute.
type Sample struct {
	// Owner is what was measured: a job's id in its cluster, which no other job has, or the key of an endpoint or deployment.
	Owner string
	// At is the end of the minute.
	At time.Time
	// Values is a JSON object, metric to value.
	Values json.RawMessage
}

// LogStream is the log of one container of a cluster, from its start to its end.
type LogStream struct {
	// ID is unique within Owner, which is one cluster: another of the same name has another.
	Owner, ID                                            string
	Namespace, Pod, UID, Container, Node, Job, Workspace string
	Restart                                              int
	// File and Offset are the place in the cluster up to which it is kept.
	File   string
	Offset int64
	// Object is the ID of the object that is written now; "" before the first.
	Object string
	// Updated is when it was last written, here.
	Updated time.Time
}

// LogObject is one blob with lines of a stream. Only its first Bytes count.
type LogObject struct {
	Owner, ID, Stream string
	// First and Last are the times of the earliest and the latest line; zero while it has none.
	First, Last time.Time
	Updated     time.Time
	Bytes       int64
}

// LogQuery selects streams, and objects with lines from one time on and before another, or written since Updated. What is
// empty selects all.
type LogQuery struct {
	Owner, ID, Namespace, Pod, Container, Job, Workspace string
	From, To, Updated                                    time.Time
	// Limit bounds the answer: the newest are given.
	Limit int
}

// LogEntry is an object with its stream.
type LogEntry struct {
	LogStream
	LogObject LogObject
}

// LogSummary is a stream with what there is of it.
type LogSummary struct {
	LogStream
	First, Last time.Time
	Bytes       int64
}

// LogUsage is how much one owner's objects hold.
type LogUsage struct {
	Owner string
	Bytes int64
}

// Reader is what can be read, inside and outside a transaction.
type Reader interface {
	TrackingReader
	Get(ctx context.Context, key string) (Record, error)
	List(ctx context.Context, q Query) ([]Record, error)
	Operation(ctx context.Context, id string) (Operation, error)
	// OperationsOf lists unfinished operations of a record.
	OperationsOf(ctx context.Context, key string) ([]Operation, error)
	// Desired lists entries of a cluster's desired map with Seq > after, tombstones included when after > 0, by Seq.
	// ErrCompacted when tombstones after that number are gone; the caller then reads from 0.
	Desired(ctx context.Context, cluster, prefix string, after int64) ([]Entry, error)
	// Observed returns one entry, or ErrNotFound.
	Observed(ctx context.Context, cluster, key string) (Entry, error)
	ObservedPrefix(ctx context.Context, cluster, prefix string) ([]Entry, error)
	// Samples lists an owner's samples from one time on and before another, by At.
	Samples(ctx context.Context, owner string, from, to time.Time) ([]Sample, error)
	// SampledThrough is up to when a cluster has sent its samples; the zero time when it has sent none.
	SampledThrough(ctx context.Context, cluster string) (time.Time, error)
	// LogStream returns one stream, or ErrNotFound; LogObject one object, likewise.
	LogStream(ctx context.Context, owner, id string) (LogStream, error)
	LogObject(ctx context.Context, owner, id string) (LogObject, error)
	// LogSummaries lists streams that have lines, LogEntries the objects that hold them, both by their latest line, newest first.
	LogSummaries(ctx context.Context, q LogQuery) ([]LogSummary, error)
	LogEntries(ctx context.Context, q LogQuery) ([]LogEntry, error)
	// LogUsage says how much each owner's objects hold, owners without bytes included.
	LogUsage(ctx context.Context) ([]LogUsage, error)
	// OldLogs lists objects not written since before, oldest first, of one owner or of all.
	OldLogs(ctx context.Context, owner string, before time.Time, limit int) ([]LogObject, error)
}

// Tx is a transaction: everything in it happens, with its change-log entries, or nothing does.
type Tx interface {
	Reader
	TrackingTx
	// Put inserts (Version 0) or replaces (Version as read) and returns the record with Seq and Version set; ErrConflict otherwise.
	Put(ctx context.Context, r Record) (Record, error)
	// Delete removes a record; ErrNotFound when absent.
	Delete(ctx context.Context, key string) error
	PutOperation(ctx context.Context, o Operation) error
	PutDesired(ctx context.Context, cluster, key string, value json.RawMessage) error
	DeleteDesired(ctx context.Context, cluster, key string) error
	// PutObserved keeps the newest value; an equal value changes only At and logs no change.
	PutObserved(ctx context.Context, cluster, key string, value json.RawMessage, at time.Time) error
	DeleteObserved(ctx context.Context, cluster, key string) error
	// UseOnce reports whether id, which may be used once, has not been used, and remembers it at least until the given time.
	UseOnce(ctx context.Context, id string, until time.Time) (bool, error)
	// PutSamples writes samples, in place of those of the same owner and time. Nobody follows them: they log no change.
	PutSamples(ctx context.Context, samples []Sample) error
	// SetSampledThrough raises what SampledThrough says.
	SetSampledThrough(ctx context.Context, cluster string, at time.Time) error
	// PutLogStream and PutLogObject insert or replace. Nobody follows logs: they log no change.
	PutLogStream(ctx context.Context, s LogStream) error
	PutLogObject(ctx context.Context, o LogObject) error
	// DeleteLogObject removes an object; DeleteLogStreams those of an owner ("" is all) that have none and were not written since before.
	DeleteLogObject(ctx context.Context, owner, id string) error
	DeleteLogStreams(ctx context.Context, owner string, before time.Time) error
}

// Store is a database.
type Store interface {
	Reader
	// Update runs fn in a serializable transaction, again on a serialization failure (at most 10 times).
	// fn holds the only writer: it must not call Update, nor wait for anything but the Tx.
	Update(ctx context.Context, fn func(Tx) error) error
	// Changes returns up to limit changes after seq, by Seq, with no gaps that could still fill. They are kept for at
	// least an hour; ErrCompacted when some after seq are gone.
	Changes(ctx context.Context, after int64, limit int) ([]Change, error)
	// LastChange returns the newest sequence number.
	LastChange(ctx context.Context) (int64, error)
	// Wait returns when something may have changed after seq, or ctx ends.
	Wait(ctx context.Context, seq int64) error
	Close() error
}

// Compactor is a store that forgets: desired tombstones and changes older than before are removed, used ids that need not be
// remembered until then, operations that ended 23 hours or more before that, and samples of 30 days or more before that.
// Stores compact themselves, with an hour ago; tests call it.
type Compactor interface {
	Compact(ctx context.Context, before time.Time) error
}
