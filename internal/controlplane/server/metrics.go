package server

import (
	"net/http"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/insight"
)

// serveMetrics answers GET <resource>/providers/Microsoft.Insights/{metrics,metricDefinitions}.
func (s *server) serveMetrics(w http.ResponseWriter, c *call) error {
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
	if c.typ.Samples == nil {
		return arm.Errorf(http.StatusBadRequest, "ResourceTypeNotSupported", "Resources of type '%s/%s' have no metrics; jobs, online endpoints and their deployments have.", c.typ.Namespace, c.typ.Name)
	}
	of := insight.Resource{ID: rec.ID, Type: c.typ.Namespace + "/" + c.typ.Name, Region: s.cfg.Locations[0]}
	if c.kind == kindMetricDefinitions {
		return s.json(w, http.StatusOK, insight.List(of))
	}
	q, err := insight.Parse(c.query, insight.Of(of.Type), s.cfg.Now())
	if err != nil {
		return err
	}
	// A sample bears the end of its minute.
	samples, err := c.typ.Samples(c.Context(), s.cfg.Engine.Store, rec, q.From.Add(insight.Step), q.To.Add(insight.Step))
	if err != nil {
		return err
	}
	answer, err := insight.Answer(of, q, samples)
	if err != nil {
		return err
	}
	return s.json(w, http.StatusOK, answer)
}
