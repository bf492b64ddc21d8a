package server

import (
	"net/http"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

func (s *server) serveResource(w http.ResponseWriter, c *call) error {
	switch c.Method {
	case http.MethodGet, http.MethodHead:
		return s.getResource(w, c)
	case http.MethodPut:
		return s.putResource(w, c, false)
	case http.MethodPatch:
		return s.putResource(w, c, true)
	case http.MethodDelete:
		return s.deleteResource(w, c)
	}
	return allow(c.Request, http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPatch, http.MethodDelete)
}

// getResource answers GET with the resource, and HEAD, which only asks whether it exists, with 204.
func (s *server) getResource(w http.ResponseWriter, c *call) error {
	if err := s.check(c, c.typ, "read", c.id.String()); err != nil {
		return err
	}
	rec, err := s.cfg.Engine.Get(c.Context(), s.cfg.Engine.Store, c.id)
	if err != nil {
		return err
	}
	if c.Method == http.MethodHead {
		w.Header().Set("ETag", engine.ETag(rec))
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if inm := c.Header.Get("If-None-Match"); inm == engine.ETag(rec) {
		w.Header().Set("ETag", inm)
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return s.sendRecord(w, c, http.StatusOK, rec)
}

func (s *server) sendRecord(w http.ResponseWriter, c *call, status int, rec store.Record) error {
	body, err := s.cfg.Engine.Show(c.Context(), s.cfg.Engine.Store, rec)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", engine.ETag(rec))
	return s.json(w, status, body)
}

func (s *server) putResource(w http.ResponseWriter, c *call, merge bool) error {
	if err := s.check(c, c.typ, "write", c.id.String()); err != nil {
		return err
	}
	body, err := readObject(c.Request, c.typ)
	if err != nil {
		return err
	}
	res, err := s.cfg.Engine.Put(c.Context(), engine.PutRequest{
		ID: c.id, Principal: principal(c.Context()), Body: body, Merge: merge, Header: c.Header,
		IfMatch: c.Header.Get("If-Match"), IfNoneMatch: c.Header.Get("If-None-Match"),
	})
	if err != nil {
		return err
	}
	status := http.StatusOK
	if res.Created {
		status = http.StatusCreated
	}
	if res.Operation != nil {
		s.setOperation(w, c, res.Record.ID, *res.Operation)
		if merge {
			status = http.StatusAccepted
		}
	}
	return s.sendRecord(w, c, status, res.Record)
}

func (s *server) deleteResource(w http.ResponseWriter, c *call) error {
	if err := s.check(c, c.typ, "delete", c.id.String()); err != nil {
		return err
	}
	res, err := s.cfg.Engine.Delete(c.Context(), engine.DeleteRequest{
		ID: c.id, Principal: principal(c.Context()), IfMatch: c.Header.Get("If-Match"),
		Force: strings.EqualFold(c.query["forcedelete"], "true"), Query: c.query,
	})
	switch {
	case err != nil:
		return err
	case !res.Existed:
		w.WriteHeader(http.StatusNoContent)
	case res.Operation != nil:
		s.setOperation(w, c, c.id.String(), *res.Operation)
		w.WriteHeader(http.StatusAccepted)
	default:
		w.WriteHeader(http.StatusOK)
	}
	return nil
}

// setOperation points the client to an operation and to its result.
func (s *server) setOperation(w http.ResponseWriter, c *call, id string, op store.Operation) {
	h := w.Header()
	h.Set("Azure-AsyncOperation", s.withVersion(c, s.operationPath(arm.MustParseID(id), op.ID, "operationStatuses")))
	h.Set("Location", s.withVersion(c, s.operationPath(arm.MustParseID(id), op.ID, "operationResults")))
	h.Set("Retry-After", pollSeconds)
	h.Set("x-ms-async-operation-timeout", "PT48H")
}
