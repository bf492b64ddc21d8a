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

// untimed is the key of a request's context as it was before withTimeout.
type untimed struct{}

// withTimeout bounds how long a request may take, also in sending its body; endless lifts that.
func (s *server) withTimeout(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), untimed{}, r.Context()), requestTimeout)
		defer cancel()
		rc := http.NewResponseController(w)
		// Recorders in tests know no deadlines; real connections do.
		if rc.SetReadDeadline(time.Now().Add(requestTimeout)) == nil {
			defer func() { _ = rc.SetReadDeadline(time.Time{}) }()
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// endless is a request whose answer goes on until its client, its token or the server ends; end does it, too.
func (s *server) endless(w http.ResponseWriter, r *http.Request) (out *http.Request, end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	if p := principal(ctx); !p.Expires.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, p.Expires)
	}
	var stops []func() bool
	for _, until := range []context.Context{s.cfg.Stop, r.Context()} {
		if before, ok := until.Value(untimed{}).(context.Context); ok {
			until = before
		}
		stops = append(stops, context.AfterFunc(until, cancel))
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // not every ResponseWriter can
	return r.WithContext(ctx), func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}
