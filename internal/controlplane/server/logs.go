package server

import (
	"context"
	"net/http"
	"strconv"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// Logs reads what is kept of the logs of a cluster.
type Logs interface {
	List(ctx context.Context, cluster store.Record, query map[string]string) (any, error)
	Serve(w http.ResponseWriter, r *http.Request, cluster store.Record, query map[string]string) error
}

var logKinds = map[string]kind{"logs": kindLogs, "logstreams": kindLogStreams}

// serveLogs answers GET <extension>/{logs,logStreams} and GET <deployment>/logs.
func (s *server) serveLogs(w http.ResponseWriter, c *call) error {
	if err := allow(c.Request, http.MethodGet); err != nil {
		return err
	}
	if err := s.check(c, c.typ, "read", c.id.String()); err != nil {
		return err
	}
	rec, err := s.cfg.Engine.Get(c.Context(), s.cfg.Engine.Store, c.id)
	if err != nil {
		return err
	}
	if c.typ.LiveLogs != nil {
		return s.serveLive(w, c, rec)
	}
	if s.cfg.Logs == nil {
		return arm.Errorf(http.StatusNotFound, "LogsNotKept", "This control plane keeps no logs.")
	}
	cluster, err := s.cfg.Engine.Store.Get(c.Context(), c.typ.LogsOf(rec))
	if err != nil {
		return err
	}
	if c.kind == kindLogs {
		r, end := c.Request, func() {}
		if follow, err := strconv.ParseBool(c.query["follow"]); err == nil && follow {
			r, end = s.endless(w, r)
		}
		defer end()
		return s.cfg.Logs.Serve(w, r, cluster, c.query)
	}
	answer, err := s.cfg.Logs.List(c.Context(), cluster, c.query)
	if err != nil {
		return err
	}
	return s.json(w, http.StatusOK, answer)
}
