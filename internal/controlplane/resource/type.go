// Package resource is the registry of resource types. One entry per type holds all that is special about it; routes,
// listing, paging, etags, asynchronous operations, systemData and errors are derived from the entry by package server.
package resource

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// Type is one entry of the registry. Func fields that are nil mean "nothing special".
type Type struct {
	// Namespace and Name as the reference spells them: "Microsoft.MachineLearningServices", "workspaces/jobs".
	// Subscriptions and resource groups use Namespace "Microsoft.Resources" with Name "subscriptions" and "resourceGroups".
	Namespace, Name string
	// Extends lists full types this one may be nested under with a second /providers/ segment (extensions on clusters).
	Extends []string
	// APIVersions are advertised newest first; any api-version is accepted.
	APIVersions []string
	// NameRule must match the last name segment; NameHelp says the rule in words for the error.
	NameRule *regexp.Regexp
	NameHelp string
	// NewestFirst orders lists by creation, newest first.
	NewestFirst bool
	// Archivable types honour listViewType and properties.isArchived.
	Archivable bool
	// EmptyWithoutParent types are listed in a parent that is not there, as empty: azure-ai-ml looks for code by its hash under
	// a name that it is about to give.
	EmptyWithoutParent bool
	// SearchBy is a query parameter with which a list is of what all containers beside the named one hold; "" for none. azure-ai-ml
	// finds code that was uploaded before so, since it gives each a new name.
	SearchBy string
	// VersionContainer marks models, environments, data, codes: a PUT of "<type>/versions" makes the container when absent.
	VersionContainer bool
	// Async: PUT and DELETE answer with an operation (201/202 and Azure-AsyncOperation) that a reconciler finishes.
	// Otherwise they are done when answered and provisioningState is Succeeded at once.
	Async bool
	// NoProvisioningState for types whose wire shape has none (jobs, codes …).
	NoProvisioningState bool

	// Absent is why there are none of the type and need be none, half a sentence; "" for types that there are.
	Absent string

	// Admit checks and completes a PUT (or the result of a merged PATCH) inside its transaction: validates, sets defaults,
	// strips read-only fields, moves secrets out of Body, writes desired values. Returned *arm.Error values reach the caller as they are.
	Admit func(ctx context.Context, p *Put) error
	// Patch merges a PATCH body into the stored one; nil means RFC 7396 on tags, identity and properties.
	Patch func(old, patch json.RawMessage) (json.RawMessage, error)
	// Remove runs inside the DELETE's transaction: refuse what is in use, delete desired values. It returns true when
	// removal waits for a reconciler (the record stays with provisioningState Deleting).
	Remove func(ctx context.Context, d *Removal) (wait bool, err error)
	// Show completes a record for the wire (read-only fields computed from Internal and from other records).
	Show func(ctx context.Context, r store.Reader, rec store.Record, body map[string]any) error
	// Samples is what was measured of a resource from one time on and before another; nil for types without metrics.
	Samples func(ctx context.Context, r store.Reader, rec store.Record, from, to time.Time) ([]store.Sample, error)
	// LogsOf is the Key of the cluster whose logs are read below a resource of the type; nil for types without.
	LogsOf func(rec store.Record) string
	// LiveLogs opens what the containers of a resource write, a JSON object a line, which goes on until it is closed or breaks; nil for
	// types without.
	LiveLogs func(ctx context.Context, rec store.Record, query map[string]string) (io.ReadCloser, error)
	// JSONC: bodies may have comments and names without quotes, as azure-cli sends templates.
	JSONC bool
	// Views by lower-case name: GET <id>/<view> lists what belongs to a resource and is none itself, GET <id>/<view>/<name> shows one.
	Views map[string]View
	// Actions by lower-case name: POST <id>/<action>.
	Actions map[string]Action
	// Selections by lower-case name: GET <id>/<name> lists resources beside it that belong to it.
	Selections map[string]Selection
	// Filter narrows a list by query parameters the type understands (tag, jobType, hash, isDefault …); false leaves it out.
	Filter func(q map[string]string, rec store.Record) bool
}

// FullType is Namespace/Name in lower case, as in store.Record.Type.
func (t *Type) FullType() string { return lower(t.Namespace + "/" + t.Name) }

// Selection lists those resources of another type, in the same parent or one further up, that belong to one.
type Selection struct {
	// Type is a full type in lower case.
	Type string
	// Keep tells whether a record of that type belongs to the resource.
	Keep func(id arm.ID, rec store.Record) bool
}

// ErrBusy is the cause of a refusal that ends when an operation on the resource does.
var ErrBusy = errors.New("an operation is under way")

// Put is a PUT in flight.
type Put struct {
	Tx        store.Tx
	ID        arm.ID
	Principal Principal
	// Old is nil when the resource is new.
	Old *store.Record
	// Body is the decoded request body (already merged for PATCH); Admit edits it. Unknown fields are kept.
	Body map[string]any
	// Raw is the request's body as it was sent, whose objects have an order.
	Raw json.RawMessage
	// Record is what will be written; Admit may set Internal, Secret and Archived. Body is marshalled into it afterwards.
	Record *store.Record
	// Operation is the operation a reconciler will finish (Async types); nil otherwise.
	Operation *store.Operation
	// Header are the request's headers (x-azureml-token …).
	Header http.Header
	// AfterCommit are called once the transaction is durable.
	AfterCommit []func()
}

// Removal is a DELETE in flight.
type Removal struct {
	Tx        store.Tx
	ID        arm.ID
	Principal Principal
	Record    store.Record
	Operation *store.Operation
	// Force is ?forceDelete=true.
	Force bool
	Query map[string]string
}

// Principal is who asks.
type Principal struct {
	// ID is the object id; Name what systemData shows; Kind is User, ServicePrincipal, Agent, Run, Deployment or ManagedIdentity.
	ID, Name, Kind string
	// Scope limits Agent (its cluster's key), Run (its job's key) and Deployment (its own), and is the key of the resource that has the
	// identity of a ManagedIdentity; "" otherwise.
	Scope string
	// ScopeSeq is the Seq of the record of Scope that an Agent's, Extension's or ManagedIdentity's token was issued for: one of the same
	// name that is made later has another. 0 otherwise.
	ScopeSeq int64
	// Expires is when the token stops being accepted; what outlives a request ends then. Zero when there is no token.
	Expires time.Time
}

// View lists what belongs to a resource.
type View func(ctx context.Context, r store.Reader, rec store.Record) ([]Viewed, error)

// Viewed is one entry of a view; Body is sent as JSON.
type Viewed struct {
	Name string
	Body any
}

// Action is a POST on a resource.
type Action struct {
	// Permission is the role action needed, "read" or "write" or "secret" (list keys).
	Permission string
	// WithoutRecord: the resource need not exist (startPendingUpload comes before its version); Call.Record is zero then.
	WithoutRecord bool
	// Run answers with a value that is sent as JSON; nil sends an empty 200.
	Run func(ctx context.Context, a *Call) (any, error)
}

// Call is an action in flight.
type Call struct {
	Store     store.Store
	ID        arm.ID
	Record    store.Record
	Principal Principal
	Body      json.RawMessage
	// Header are the request's headers.
	Header http.Header
	// Status may be set to answer with another success code (202).
	Status int
	// Operation is one that the action has begun; the answer points to it.
	Operation *store.Operation
	// ResponseHeader is sent with the answer (Location …).
	ResponseHeader http.Header
}
