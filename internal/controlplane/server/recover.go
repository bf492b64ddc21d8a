package server

import (
	"net/http"
	"runtime/debug"

	"fairlead.dev/fairlead/api/arm"
)

// withRecover turns a panic into a 500 when nothing was sent yet, and into a broken connection otherwise.
func (s *server) withRecover(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			p := recover()
			if p == nil {
				return
			}
			if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares it by identity too
				panic(p)
			}
			s.log.ErrorContext(r.Context(), "panic in a handler", "panic", p, "requestId", requestID(r.Context()), "stack", string(debug.Stack()))
			if sw, ok := w.(*statusWriter); ok && sw.code != 0 {
				panic(http.ErrAbortHandler)
			}
			s.sendError(w, r, arm.Errorf(http.StatusInternalServerError, "InternalServerError",
				"The server could not do this because of an error of its own. Its log has the reason under request id '%s'.", requestID(r.Context())))
		}()
		next.ServeHTTP(w, r)
	})
}
