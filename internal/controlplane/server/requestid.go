package server

import (
	"context"
	"net/http"
	"strings"

	"github.com/google/uuid"
)

// contextKey is the type of this package's context keys.
type contextKey int

const (
	keyRequest contextKey = iota
	keyPrincipal
)

// withRequestID gives every request an id and answers with it and the client's own ids.
func (s *server) withRequestID(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := uuid.NewString()
		correlation := printable(r.Header.Get("x-ms-correlation-request-id"))
		if correlation == "" {
			correlation = id
		}
		h := w.Header()
		h.Set("x-ms-request-id", id)
		h.Set("x-ms-correlation-request-id", correlation)
		if c := printable(r.Header.Get("x-ms-client-request-id")); c != "" && strings.EqualFold(r.Header.Get("x-ms-return-client-request-id"), "true") {
			h.Set("x-ms-client-request-id", c)
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), keyRequest, &requestInfo{id: id, correlation: correlation})))
	})
}

// requestInfo is what is remembered of a request for its log line.
type requestInfo struct {
	id, correlation string
	// principal is set once the caller is known.
	principal string
}

func info(ctx context.Context) *requestInfo {
	if i, ok := ctx.Value(keyRequest).(*requestInfo); ok {
		return i
	}
	return &requestInfo{}
}

func requestID(ctx context.Context) string { return info(ctx).id }

// printable drops ids that are too long or have characters that do not belong in a header or a log.
func printable(s string) string {
	if len(s) > 128 || strings.ContainsFunc(s, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
		return ""
	}
	return s
}
