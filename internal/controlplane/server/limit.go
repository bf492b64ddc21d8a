package server

import (
	"context"
	"net/http"
	"time"

	"fairlead.dev/fairlead/api/arm"
)

// withBodyLimit refuses bodies over maxBody, before reading them when the client says their length.
func (s *server) withBodyLimit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.URL.Path) > maxPath {
			s.sendError(w, r, arm.Errorf(http.StatusRequestURITooLong, "RequestUriTooLong", "The path has %d bytes; at most %d are allowed.", len(r.URL.Path), maxPath))
			return
		}
		if r.ContentLength > maxBody {
			w.Header().Set("Connection", "close")
			s.sendError(w, r, &http.MaxBytesError{Limit: maxBody})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// withTimeout bounds how long a request may take, also in sending its body. Streams do not pass here.
func (s *server) withTimeout(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		rc := http.NewResponseController(w)
		// Recorders in tests know no deadlines; real connections do.
		if rc.SetReadDeadline(time.Now().Add(requestTimeout)) == nil {
			defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}
