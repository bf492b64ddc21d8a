package server

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// serveAction answers POST <resource>/<action>.
func (s *server) serveAction(w http.ResponseWriter, c *call) error {
	act, ok := c.typ.Actions[strings.ToLower(c.name)]
	if !ok {
		return unknownAction(c)
	}
	if err := allow(c.Request, http.MethodPost); err != nil {
		return err
	}
	verb := c.name + "/action"
	if act.Permission == "read" {
		verb = "read"
	}
	if err := s.check(c, c.typ, verb, c.id.String()); err != nil {
		return err
	}
	body, err := readJSON(c.Request)
	if err != nil {
		return err
	}
	if len(body) > 0 {
		if c.typ.JSONC {
			body = relaxed(body)
		}
		if err := checkObject(body); err != nil {
			return err
		}
	}
	rec, err := s.cfg.Engine.Get(c.Context(), s.cfg.Engine.Store, c.id)
	if err != nil {
		// Actions that begin an upload come before the resource they prepare.
		if !act.WithoutRecord {
			return err
		}
		rec = store.Record{}
	}
	return s.runAction(w, c, act, rec, body)
}

func (s *server) runAction(w http.ResponseWriter, c *call, act resource.Action, rec store.Record, body json.RawMessage) error {
	call := &resource.Call{Store: s.cfg.Engine.Store, ID: c.id, Record: rec, Principal: principal(c.Context()), Body: body, Header: c.Header, ResponseHeader: http.Header{}}
	answer, err := act.Run(c.Context(), call)
	if err != nil {
		return err
	}
	for k, v := range call.ResponseHeader {
		w.Header()[k] = v
	}
	if call.Operation != nil {
		s.setOperation(w, c, rec.ID, *call.Operation)
	}
	status := call.Status
	if status == 0 {
		status = http.StatusOK
	}
	if answer == nil {
		w.WriteHeader(status)
		return nil
	}
	return s.json(w, status, answer)
}

func unknownAction(c *call) error {
	var known []string
	for name := range c.typ.Actions {
		known = append(known, name)
	}
	slices.Sort(known)
	if len(known) == 0 {
		return arm.Errorf(http.StatusNotFound, "InvalidAction", "The resource type '%s/%s' has no action '%s'; it has none.", c.typ.Namespace, c.typ.Name, c.name)
	}
	return arm.Errorf(http.StatusNotFound, "InvalidAction", "The resource type '%s/%s' has no action '%s'. Its actions are: %s.", c.typ.Namespace, c.typ.Name, c.name, strings.Join(known, ", "))
}
