package server

import (
	"net/http"
	"slices"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
)

// serveView answers what belongs to a resource and is none itself: a list, or one of it by name.
func (s *server) serveView(w http.ResponseWriter, c *call) error {
	if err := allow(c.Request, http.MethodGet); err != nil {
		return err
	}
	if err := s.check(c, c.typ, c.view+"/read", c.id.String()); err != nil {
		return err
	}
	rec, err := s.cfg.Engine.Get(c.Context(), s.cfg.Engine.Store, c.id)
	if err != nil {
		return err
	}
	entries, err := c.typ.Views[c.view](c.Context(), s.cfg.Engine.Store, rec)
	if err != nil {
		return err
	}
	if c.name != "" {
		i := slices.IndexFunc(entries, func(e resource.Viewed) bool { return strings.EqualFold(e.Name, c.name) })
		if i < 0 {
			return arm.Errorf(http.StatusNotFound, "ResourceNotFound", "'%s' has none of its %s called '%s'.", rec.ID, c.view, c.name)
		}
		return s.json(w, http.StatusOK, entries[i].Body)
	}
	value := make([]any, 0, len(entries))
	for _, e := range entries {
		value = append(value, e.Body)
	}
	return s.json(w, http.StatusOK, map[string]any{"value": value})
}
