package front

import (
	"net/http"
	"slices"
)

// cors adds what a browser needs to hand an answer to a page of another origin, where that is allowed, and answers its preliminary
// question. It reports whether the request is answered.
func (f *Front) cors(c *call, w http.ResponseWriter, r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if len(f.cfg.Origins) == 0 || origin == "" {
		return false
	}
	h := w.Header()
	h.Add("Vary", "Origin")
	allowed := slices.Contains(f.cfg.Origins, origin) || slices.Contains(f.cfg.Origins, "*")
	if c.cors = true; allowed {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", HeaderRequestID+", "+HeaderDeployment)
	}
	if r.Method != http.MethodOptions || r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	if allowed {
		h.Set("Access-Control-Allow-Methods", "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, "+HeaderDeployment+", "+HeaderClientRequestID)
		h.Set("Access-Control-Max-Age", "600")
	}
	w.WriteHeader(http.StatusNoContent)
	return true
}
