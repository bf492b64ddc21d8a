package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// operationPath is where an operation on a resource is looked at. Extension resources have theirs below themselves, others
// at their provider's location.
func (s *server) operationPath(id arm.ID, opID, what string) string {
	n := len(id.Segments)
	if n > 1 && what == "operationStatuses" {
		return id.String() + "/operations/" + opID
	}
	ns := "Microsoft.Resources"
	if n > 0 {
		ns = id.Segments[n-1].Namespace
	}
	return "/subscriptions/" + id.Subscription + "/providers/" + ns + "/locations/" + s.cfg.Locations[0] + "/" + what + "/" + opID
}

// serveOperation answers what Azure-AsyncOperation and Location point to.
func (s *server) serveOperation(w http.ResponseWriter, c *call) error {
	if err := allow(c.Request, http.MethodGet); err != nil {
		return err
	}
	op, err := s.cfg.Engine.Store.Operation(c.Context(), strings.ToLower(c.name))
	if errors.Is(err, store.ErrNotFound) {
		return noOperation(c)
	}
	if err != nil {
		return fmt.Errorf("reading operation: %w", err)
	}
	id, err := arm.ParseID(op.Key)
	if err != nil {
		return fmt.Errorf("reading operation %s: %w", op.ID, err)
	}
	inPath := len(c.id.Segments) == 0 && strings.EqualFold(id.Subscription, c.id.Subscription) || c.id.Key() == op.Key
	if !inPath {
		return noOperation(c)
	}
	if err := s.cfg.Authorizer.Check(c.Context(), principal(c.Context()), id.Type()+"/read", op.Key); err != nil {
		return err
	}
	if !arm.Terminal(op.Status) {
		w.Header().Set("Retry-After", pollSeconds)
	}
	if c.kind == kindOperationResult {
		return s.sendResult(w, c, id, op)
	}
	body := arm.OperationStatus{ID: c.URL.Path, Name: op.ID, Status: op.Status, StartTime: arm.FormatTime(op.StartedAt), EndTime: arm.FormatTime(op.EndedAt),
		Error: operationError(op), Properties: json.RawMessage("{}")}
	return s.json(w, http.StatusOK, body)
}

func noOperation(c *call) error {
	return arm.Errorf(http.StatusNotFound, "OperationNotFound", "The operation '%s' was not found for '%s'.", c.name, c.id)
}

func operationError(op store.Operation) *arm.Error {
	if len(op.Error) == 0 {
		return nil
	}
	var body arm.ErrorBody
	if err := json.Unmarshal(op.Error, &body); err != nil || body.Error == nil {
		return &arm.Error{Code: "OperationFailed", Message: "The operation did not complete."}
	}
	return body.Error
}

// sendResult is 202 while the operation runs, then the resource, nothing (it was deleted), or the error.
func (s *server) sendResult(w http.ResponseWriter, c *call, id arm.ID, op store.Operation) error {
	if !arm.Terminal(op.Status) {
		w.Header().Set("Location", s.withVersion(c, c.URL.Path))
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	if e := operationError(op); e != nil {
		e.Status = http.StatusConflict
		return e
	}
	rec, err := s.cfg.Engine.Store.Get(c.Context(), id.Key())
	if errors.Is(err, store.ErrNotFound) {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", op.Key, err)
	}
	return s.sendRecord(w, c, http.StatusOK, rec)
}

// requireSubscription checks that the caller sees the subscription and that it exists.
func (s *server) requireSubscription(c *call, action string) error {
	scope := "/"
	if !c.root {
		scope = arm.ID{Subscription: c.id.Subscription}.Key()
	}
	p := principal(c.Context())
	sees, err := s.cfg.Authorizer.Sees(c.Context(), p, scope)
	if err != nil {
		return err
	}
	if !sees {
		return s.cfg.Authorizer.Check(c.Context(), p, action, scope)
	}
	if c.root {
		return nil
	}
	_, err = s.cfg.Engine.Get(c.Context(), s.cfg.Engine.Store, arm.ID{Subscription: c.id.Subscription})
	return err
}

// provided reports whether a namespace has types in the registry, and how it is spelled.
func provided(e *engine.Engine, ns string) (string, bool) {
	for _, known := range e.Namespaces() {
		if strings.EqualFold(known, ns) {
			return known, true
		}
	}
	return "", false
}
