package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/operation"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// PutRequest is a PUT, or a PATCH when Merge is set.
type PutRequest struct {
	ID        arm.ID
	Principal resource.Principal
	// Body is a JSON object; it is decoded anew for every attempt of the transaction.
	Body  json.RawMessage
	Merge bool
	// IfMatch and IfNoneMatch are the headers of those names, "" when absent.
	IfMatch, IfNoneMatch string
	Header               http.Header
}

// PutResult is what a PUT wrote.
type PutResult struct {
	Record  store.Record
	Created bool
	// Operation is set when a reconciler still has work to do.
	Operation *store.Operation
}

// Put creates, replaces or merges a resource with its operation in one transaction.
func (e *Engine) Put(ctx context.Context, req PutRequest) (PutResult, error) {
	t, err := e.TypeOf(req.ID)
	if err != nil {
		return PutResult{}, err
	}
	var res PutResult
	var after []func()
	err = e.Store.Update(ctx, func(tx store.Tx) error {
		res, after = PutResult{}, nil
		w := &write{e: e, t: t, tx: tx, req: req}
		if err := w.run(ctx); err != nil {
			return err
		}
		res, after = w.res, w.after
		return nil
	})
	if err != nil {
		return PutResult{}, conflict(err, req.ID)
	}
	for _, fn := range after {
		fn()
	}
	e.committed(t.FullType())
	return res, nil
}

func conflict(err error, id arm.ID) error {
	if _, ok := errors.AsType[*arm.Error](err); ok || !errors.Is(err, store.ErrConflict) {
		return err
	}
	return &arm.Error{Status: http.StatusConflict, Code: "Conflict", Cause: err,
		Message: fmt.Sprintf("'%s' was changed by another request at the same time. Read it again and repeat the request.", id)}
}

// write is one attempt of a PUT.
type write struct {
	e      *Engine
	t      *resource.Type
	tx     store.Tx
	req    PutRequest
	parent *store.Record
	old    *store.Record
	res    PutResult
	after  []func()
}

func (w *write) run(ctx context.Context) error {
	if err := w.load(ctx); err != nil {
		return err
	}
	if err := checkMatch(w.old, w.req.IfMatch, w.req.IfNoneMatch, w.req.ID); err != nil {
		return err
	}
	if w.old != nil && deleting(*w.old) {
		return arm.Errorf(http.StatusConflict, "ResourceBeingDeleted", "'%s' is being deleted and can't be written. Wait until it is gone, then repeat the request.", w.req.ID)
	}
	body, err := w.body()
	if err != nil {
		return err
	}
	id := w.canonicalID()
	rec, op := w.record(id)
	stripReadOnly(body)
	p := &resource.Put{Tx: w.tx, ID: id, Principal: w.req.Principal, Old: w.old, Body: body, Raw: w.req.Body, Record: &rec, Operation: op, Header: w.req.Header}
	if w.t.Admit != nil {
		if err := w.t.Admit(ctx, p); err != nil {
			return err
		}
	}
	return w.store(ctx, p)
}

// load reads the record and its parent, making the container of a version when it is absent.
func (w *write) load(ctx context.Context) error {
	old, err := w.tx.Get(ctx, w.req.ID.Key())
	switch {
	case err == nil:
		w.old = &old
	case !errors.Is(err, store.ErrNotFound):
		return fmt.Errorf("reading %s: %w", w.req.ID.Key(), err)
	case w.req.Merge:
		return w.e.missing(ctx, w.tx, w.req.ID, "write")
	default:
		if err := checkName(w.t, w.req.ID); err != nil {
			return err
		}
	}
	pid, ok := w.req.ID.Parent()
	if !ok {
		return nil
	}
	parent, err := w.tx.Get(ctx, pid.Key())
	if errors.Is(err, store.ErrNotFound) {
		parent, err = w.container(ctx, pid)
	}
	if err != nil {
		return err
	}
	if w.old == nil && deleting(parent) {
		return beingDeleted(pid)
	}
	w.parent = &parent
	return nil
}

func beingDeleted(pid arm.ID) error {
	if len(pid.Segments) == 0 {
		return arm.Errorf(http.StatusConflict, "ResourceGroupBeingDeleted", "The resource group '%s' is in deprovisioning state and cannot perform this operation.", pid.Name())
	}
	return arm.Errorf(http.StatusConflict, "ParentResourceBeingDeleted", "The parent resource '%s' is being deleted; nothing can be made in it.", pid)
}

// container makes the parent of a version, or explains which part of the id is absent.
func (w *write) container(ctx context.Context, pid arm.ID) (store.Record, error) {
	pt, ok := w.e.Registry.Lookup(pid.Type())
	if !ok || !pt.VersionContainer {
		return store.Record{}, w.e.missing(ctx, w.tx, w.req.ID, "write")
	}
	c := &write{e: w.e, t: pt, tx: w.tx, req: PutRequest{ID: pid, Principal: w.req.Principal, Body: json.RawMessage(`{"properties":{}}`), Header: http.Header{}}}
	if err := c.run(ctx); err != nil {
		return store.Record{}, err
	}
	w.after = append(w.after, c.after...)
	return c.res.Record, nil
}

// body is the request's body, merged into the stored one for a PATCH.
func (w *write) body() (map[string]any, error) {
	raw := w.req.Body
	if w.req.Merge {
		merge := w.t.Patch
		if merge == nil {
			merge = MergeEnvelope
		}
		var err error
		if raw, err = merge(w.old.Body, raw); err != nil {
			return nil, err
		}
	}
	body := map[string]any{}
	if err := json.Unmarshal(raw, &body); err != nil || body == nil {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidRequestContent", "The request content must be a JSON object.")
	}
	if err := checkEnvelope(body); err != nil {
		return nil, err
	}
	return body, w.checkLocation(body)
}

// checkLocation keeps a resource where it is: the location of a replaced resource may be left out but not changed.
func (w *write) checkLocation(body map[string]any) error {
	if w.old == nil {
		return nil
	}
	var was struct {
		Location string `json:"location"`
	}
	if err := json.Unmarshal(w.old.Body, &was); err != nil {
		return fmt.Errorf("decoding %s: %w", w.old.Key, err)
	}
	now, _ := body["location"].(string)
	switch {
	case was.Location == "":
	case now == "":
		body["location"] = was.Location
	case normalLocation(now) != normalLocation(was.Location):
		return arm.Errorf(http.StatusConflict, "InvalidResourceLocation", "The resource '%s' already exists in location '%s'. A resource with the same name cannot be created in location '%s'.", w.old.Name, was.Location, now)
	}
	return nil
}

func normalLocation(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }

// canonicalID spells types as the registry does and outer names as they were first written.
func (w *write) canonicalID() arm.ID {
	id := w.req.ID
	switch {
	case w.old != nil:
		return arm.MustParseID(w.old.ID)
	case w.parent == nil:
		return id
	case len(id.Segments) == 0:
		return arm.MustParseID(w.parent.ID + "/resourceGroups/" + id.ResourceGroup)
	}
	last := id.Segments[len(id.Segments)-1]
	levels := strings.Split(w.t.Name, "/")
	if len(last.Types) > 1 {
		return arm.MustParseID(w.parent.ID + "/" + levels[len(levels)-1] + "/" + id.Name())
	}
	return arm.MustParseID(w.parent.ID + "/providers/" + w.t.Namespace + "/" + levels[0] + "/" + id.Name())
}

// record is the record to be written and, for types that have them, its operation.
func (w *write) record(id arm.ID) (store.Record, *store.Operation) {
	now := w.e.now()
	rec := store.Record{Key: id.Key(), ID: id.String(), Type: w.t.FullType(), Name: id.Name(), CreatedAt: now, CreatedBy: resource.Author(w.req.Principal)}
	status := arm.StateCreating
	if w.old != nil {
		rec, status = *w.old, arm.StateUpdating
	}
	if w.parent != nil {
		rec.Parent = w.parent.Key
	}
	rec.UpdatedAt, rec.UpdatedBy = now, resource.Author(w.req.Principal)
	if !w.t.Async {
		return rec, nil
	}
	op := operation.New(rec.Key, status, now)
	return rec, &op
}

// store writes the admitted record. Admit may have set a final provisioningState: then there is nothing to wait for.
func (w *write) store(ctx context.Context, p *resource.Put) error {
	if !w.t.NoProvisioningState {
		state := arm.StateSucceeded
		if p.Operation != nil {
			state = p.Operation.Status
		}
		setState(p, state)
	}
	raw, err := json.Marshal(p.Body)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", p.Record.Key, err)
	}
	p.Record.Body = raw
	rec, err := w.tx.Put(ctx, *p.Record)
	if err != nil {
		return fmt.Errorf("writing %s: %w", p.Record.Key, err)
	}
	w.res = PutResult{Record: rec, Created: w.old == nil}
	if p.Operation != nil && !arm.Terminal(operation.State(raw)) {
		if err := w.tx.PutOperation(ctx, *p.Operation); err != nil {
			return fmt.Errorf("writing operation of %s: %w", rec.Key, err)
		}
		w.res.Operation = p.Operation
	}
	w.after = append(w.after, p.AfterCommit...)
	if w.res.Created {
		return w.countVersion(ctx, rec)
	}
	return nil
}

func setState(p *resource.Put, state string) {
	props, ok := p.Body["properties"].(map[string]any)
	if !ok {
		props = map[string]any{}
		p.Body["properties"] = props
	}
	if s, _ := props["provisioningState"].(string); s == "" {
		props["provisioningState"] = state
	}
}
