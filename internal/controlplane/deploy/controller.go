package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/operation"
	"fairlead.dev/fairlead/internal/controlplane/reconcile"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/template"
	"fairlead.dev/fairlead/internal/controlplane/types/scan"
)

const (
	// look is how often operations under way are looked at.
	look = 250 * time.Millisecond
	// claim is for how long a server that stopped in between keeps others from going on.
	claim = time.Minute
	// patience is how long a deployment may take.
	patience = 24 * time.Hour
)

var _ reconcile.Controller = (*Deployer)(nil)

// Name is deploy.
func (d *Deployer) Name() string { return "deploy" }

// Keys are deployments that were written.
func (d *Deployer) Keys(c store.Change) []string {
	if c.Kind == "resource" && c.Type == Type && !c.Deleted {
		return []string{c.Key}
	}
	return nil
}

// All lists the deployments that have not ended.
func (d *Deployer) All(ctx context.Context) ([]string, error) {
	var keys []string
	err := scan.Each(ctx, d.cfg.Store, store.Query{Type: Type, AnyParent: true}, func(rec store.Record) (bool, error) {
		if !arm.Terminal(operation.State(rec.Body)) {
			keys = append(keys, rec.Key)
		}
		return true, nil
	})
	return keys, err
}

// Reconcile takes a deployment one round further: every step that can be begun is, and every one under way is looked at.
func (d *Deployer) Reconcile(ctx context.Context, key string) (reconcile.Result, error) {
	rec, err := d.cfg.Store.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("reading %s: %w", key, err)
	}
	switch operation.State(rec.Body) {
	case StateRunning:
	case arm.StateDeleting:
		return reconcile.Result{}, d.cfg.Store.Update(ctx, func(tx store.Tx) error { return operation.FinishDeleteAt(ctx, tx, rec, d.cfg.Clock()) })
	default:
		return reconcile.Result{}, nil
	}
	st, err := decodeState(rec)
	if err != nil {
		return reconcile.Result{}, err
	}
	now := d.cfg.Clock().UTC()
	if left := st.Claimed.Sub(now); left > 0 {
		return reconcile.Result{RequeueAfter: left}, nil
	}
	r := &round{d: d, rec: rec, st: st, now: now}
	if now.Sub(st.Began) > patience {
		return reconcile.Result{}, r.end(ctx, arm.Errorf(http.StatusConflict, "DeploymentTimeout", "The deployment '%s' did not end in %s.", rec.Name, patience))
	}
	if err := r.load(ctx); err != nil {
		if ae, ok := errors.AsType[*arm.Error](err); ok {
			return reconcile.Result{}, r.end(ctx, ae)
		}
		return reconcile.Result{}, err
	}
	return r.run(ctx)
}

// round is one look at a deployment.
type round struct {
	d   *Deployer
	rec store.Record
	st  state
	now time.Time
	dep *template.Deployment
}

func (r *round) load(ctx context.Context) error {
	kept, err := r.d.open(r.rec)
	if err != nil {
		return err
	}
	parameters, err := json.Marshal(kept.Parameters)
	if err != nil {
		return fmt.Errorf("encoding parameters of %s: %w", r.rec.Key, err)
	}
	r.dep, err = r.d.load(ctx, r.d.cfg.Store, arm.MustParseID(r.rec.ID), kept.Template, parameters)
	return err
}

func (r *round) run(ctx context.Context) (reconcile.Result, error) {
	was, _ := json.Marshal(r.st)
	for _, s := range decide(r.dep.Resources, r.st.Steps).watch {
		if err := r.watch(ctx, s); err != nil {
			return reconcile.Result{}, err
		}
	}
	begin, err := r.free(ctx, decide(r.dep.Resources, r.st.Steps).begin)
	if err != nil {
		return reconcile.Result{}, err
	}
	var trouble error
	if len(begin) > 0 {
		r.st.Claimed = r.now.Add(claim)
		if err := r.write(ctx); err != nil {
			return reconcile.Result{}, err
		}
		for _, s := range begin {
			if trouble = r.begin(ctx, s); trouble != nil {
				break
			}
		}
		r.st.Claimed = time.Time{}
	}
	if next := decide(r.dep.Resources, r.st.Steps); next.over && trouble == nil {
		if next.failed {
			return reconcile.Result{}, r.end(ctx, failure(r.st.Steps))
		}
		return reconcile.Result{}, r.succeed(ctx)
	}
	if is, _ := json.Marshal(r.st); string(is) != string(was) {
		if err := r.write(context.WithoutCancel(ctx)); err != nil {
			return reconcile.Result{}, err
		}
	}
	return reconcile.Result{RequeueAfter: look}, trouble
}

// free are the steps whose resource nobody is working on, not even an earlier begin of ours that was cut off.
func (r *round) free(ctx context.Context, steps []*step) ([]*step, error) {
	var out []*step
	for _, s := range steps {
		ops, err := operation.Pending(ctx, r.d.cfg.Store, arm.MustParseID(s.ID).Key())
		if err != nil {
			return nil, err
		}
		if len(ops) == 0 {
			out = append(out, s)
		}
	}
	return out, nil
}

// begin makes one resource. An error is one that passes; what does not is the step's.
func (r *round) begin(ctx context.Context, s *step) error {
	id := arm.MustParseID(s.ID)
	s.Began, s.State = r.d.cfg.Clock().UTC(), StateRunning
	if s.Note = r.d.whyNot(id); s.Note != "" {
		s.Status = http.StatusOK
		s.end(arm.StateSucceeded, s.Began)
		return nil
	}
	res, err := r.put(ctx, id)
	now := r.d.cfg.Clock().UTC()
	if passes(err) || ctx.Err() != nil {
		s.State = ""
		return errors.Join(err, ctx.Err())
	}
	switch s.Status = http.StatusOK; {
	case err != nil:
		s.fail(operation.Public(err), now)
		return nil
	case res.Created:
		s.Status = http.StatusCreated
	}
	s.ID = res.Record.ID
	if res.Operation != nil {
		s.Operation = res.Operation.ID
		return nil
	}
	s.end(arm.StateSucceeded, now)
	return nil
}

// passes reports whether a write may go through later: the store is away, or somebody else writes at the same time.
func passes(err error) bool {
	if err == nil {
		return false
	}
	ae, ok := errors.AsType[*arm.Error](err)
	return !ok || ae.Status >= http.StatusInternalServerError && ae.Status != http.StatusNotImplemented || ae.Status == http.StatusTooManyRequests || errors.Is(err, store.ErrConflict) || errors.Is(err, resource.ErrBusy)
}

func (r *round) put(ctx context.Context, id arm.ID) (engine.PutResult, error) {
	var res engine.PutResult
	for _, tr := range r.dep.Resources {
		if tr.ID.Key() != id.Key() {
			continue
		}
		body, err := r.dep.Body(tr, reader{ctx: ctx, d: r.d, who: r.st.Principal})
		if err != nil {
			return res, evaluation(err)
		}
		raw, err := json.Marshal(body)
		if err != nil {
			return res, fmt.Errorf("encoding %s: %w", id, err)
		}
		if err := r.d.allowed(ctx, r.st.Principal, id, "write"); err != nil {
			return res, err
		}
		return r.d.Engine.Put(ctx, engine.PutRequest{ID: id, Principal: r.st.Principal, Body: raw, Header: http.Header{}})
	}
	return res, fmt.Errorf("bug: %s is not in its template", id)
}

// evaluation is the error of an expression: that of the store or of a resource that was asked, else the template's.
func evaluation(err error) error {
	ae, ok := errors.AsType[*arm.Error](err)
	switch {
	case ok:
		return &arm.Error{Status: ae.Status, Code: ae.Code, Message: ae.Message, Cause: err}
	case errors.Is(err, errRead):
		return err
	}
	return arm.Errorf(http.StatusBadRequest, "InvalidTemplate", "Unable to process template language expressions: '%s'.", err)
}

// watch looks whether the operation of a step has ended.
func (r *round) watch(ctx context.Context, s *step) error {
	op, err := r.d.cfg.Store.Operation(ctx, s.Operation)
	now := r.d.cfg.Clock().UTC()
	switch {
	case errors.Is(err, store.ErrNotFound):
		s.fail(arm.Errorf(http.StatusConflict, "OperationNotFound", "The operation on '%s' is not known any more.", s.ID), now)
	case err != nil:
		return fmt.Errorf("reading operation of %s: %w", s.ID, err)
	case op.Status == arm.StateSucceeded:
		s.end(arm.StateSucceeded, now)
	case arm.Terminal(op.Status):
		body := arm.ErrorBody{}
		if json.Unmarshal(op.Error, &body) != nil || body.Error == nil {
			body.Error = operation.Public(nil)
		}
		body.Error.Status = http.StatusConflict
		s.fail(body.Error, now)
	}
	return nil
}

// write keeps the steps.
func (r *round) write(ctx context.Context) error {
	raw, err := json.Marshal(r.st)
	if err != nil {
		return fmt.Errorf("encoding state of %s: %w", r.rec.Key, err)
	}
	r.rec.Internal, r.rec.UpdatedAt = raw, r.now
	return r.d.cfg.Store.Update(ctx, func(tx store.Tx) error {
		out, err := tx.Put(ctx, r.rec)
		if err == nil {
			r.rec = out
		}
		return err
	})
}

func (r *round) succeed(ctx context.Context) error {
	outputs, err := r.dep.Outputs(reader{ctx: ctx, d: r.d, who: r.st.Principal})
	if err = evaluationOf(err); passes(err) {
		return err
	}
	if err != nil {
		return r.end(ctx, &arm.Error{Status: http.StatusBadRequest, Code: "DeploymentOutputEvaluationFailed", Message: "Unable to evaluate template outputs: " + operation.Public(err).Message})
	}
	return r.d.cfg.Store.Update(ctx, func(tx store.Tx) error {
		return r.d.finish(ctx, tx, r.rec, r.st, arm.StateSucceeded, outputs, nil)
	})
}

func evaluationOf(err error) error {
	if err == nil {
		return nil
	}
	return evaluation(err)
}

// end ends the deployment without success.
func (r *round) end(ctx context.Context, cause *arm.Error) error {
	return r.d.cfg.Store.Update(ctx, func(tx store.Tx) error {
		return r.d.finish(ctx, tx, r.rec, r.st, arm.StateFailed, nil, cause)
	})
}

// finish writes how a deployment ended, and forgets its parameters, which may be secret.
func (d *Deployer) finish(ctx context.Context, tx store.Tx, rec store.Record, st state, status string, outputs map[string]any, cause *arm.Error) error {
	now := d.cfg.Clock().UTC()
	var body struct {
		Tags       json.RawMessage `json:"tags,omitempty"`
		Properties map[string]any  `json:"properties"`
	}
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		return fmt.Errorf("decoding %s: %w", rec.Key, err)
	}
	made := []any{}
	for _, s := range st.Steps {
		if s.State == arm.StateSucceeded && s.Note == "" {
			made = append(made, map[string]any{"id": s.ID})
		}
	}
	body.Properties["outputResources"], body.Properties["timestamp"], body.Properties["duration"] = made, arm.FormatTime(now), duration(now.Sub(st.Began))
	if outputs != nil {
		body.Properties["outputs"] = outputs
	}
	var failed error
	if cause != nil {
		body.Properties["error"], failed = cause, cause
	}
	kept, err := d.open(rec)
	if err != nil {
		return err
	}
	kept.Parameters = nil
	rawBody, err1 := json.Marshal(body)
	rawState, err2 := json.Marshal(st)
	rawKept, err3 := json.Marshal(kept)
	if err := errors.Join(err1, err2, err3); err != nil {
		return fmt.Errorf("encoding %s: %w", rec.Key, err)
	}
	if rec.Secret, err = d.cfg.Seal(rawKept); err != nil {
		return fmt.Errorf("sealing template of %s: %w", rec.Key, err)
	}
	rec.Body, rec.Internal = rawBody, rawState
	_, err = operation.FinishAt(ctx, tx, rec, "", status, failed, now)
	return err
}

// duration is in ISO 8601, as clients parse it: minutes and seconds.
func duration(d time.Duration) string {
	d = max(0, d)
	out := "PT"
	if m := int(d / time.Minute); m > 0 {
		out += strconv.Itoa(m) + "M"
	}
	return out + strconv.FormatFloat((d%time.Minute).Seconds(), 'f', 7, 64) + "S"
}

// allowed is the role check of a template's write or read.
func (d *Deployer) allowed(ctx context.Context, who resource.Principal, id arm.ID, verb string) error {
	t, err := d.Engine.TypeOf(id)
	if err != nil {
		return err
	}
	return d.cfg.Authorize(ctx, who, t.Namespace+"/"+t.Name+"/"+verb, id.Key())
}
