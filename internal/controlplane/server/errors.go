package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/api/arm"
)

// sendError is the one place where an error becomes an answer. Errors that are not meant for users become 500 and are logged.
func (s *server) sendError(w http.ResponseWriter, r *http.Request, err error) {
	if me, ok := errors.AsType[*methodError](err); ok {
		w.Header().Set("Allow", strings.Join(me.allowed, ", "))
	}
	ae := s.public(r, err)
	if ae.RetryAfterSeconds > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(ae.RetryAfterSeconds))
	}
	w.Header().Set("x-ms-error-code", ae.Code)
	if err := s.json(w, ae.Status, arm.ErrorBody{Error: ae}); err != nil {
		s.log.DebugContext(r.Context(), "answering", "error", err)
	}
}

func (s *server) public(r *http.Request, err error) *arm.Error {
	if ae, ok := errors.AsType[*arm.Error](err); ok {
		if ae.Status == 0 {
			clone := *ae
			clone.Status = http.StatusBadRequest
			ae = &clone
		}
		if ae.Status >= 500 || ae.Cause != nil {
			s.log.WarnContext(r.Context(), "request failed", "error", err, "cause", ae.Cause, "requestId", requestID(r.Context()))
		}
		return ae
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return arm.Errorf(http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "The request body is larger than %d bytes. Put large content in a blob and refer to it.", maxBody)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &arm.Error{Status: http.StatusServiceUnavailable, Code: "ServerTimeout", Message: "The request took too long. Try again.", RetryAfterSeconds: 5, Cause: err}
	}
	if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
		return arm.Errorf(499, "ClientClosedRequest", "The client closed the request.")
	}
	s.log.ErrorContext(r.Context(), "request failed", "error", err, "requestId", requestID(r.Context()))
	return arm.Errorf(http.StatusInternalServerError, "InternalServerError", "The server could not do this because of an error of its own. Its log has the reason under request id '%s'.", requestID(r.Context()))
}

// methodError is a 405; the allowed methods are sent with it.
type methodError struct {
	err     *arm.Error
	allowed []string
}

func (e *methodError) Error() string { return e.err.Message }

func (e *methodError) Unwrap() error { return e.err }

// allow refuses methods other than the given ones.
func allow(r *http.Request, methods ...string) error {
	if slices.Contains(methods, r.Method) {
		return nil
	}
	what := "has no method of its own"
	if len(methods) > 0 {
		what = "supports " + strings.Join(methods, ", ")
	}
	return &methodError{allowed: methods, err: arm.Errorf(http.StatusMethodNotAllowed, "MethodNotAllowed", "The method %s is not supported for '%s', which %s.", r.Method, r.URL.Path, what)}
}

// json answers with a JSON body.
func (s *server) json(w http.ResponseWriter, status int, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding answer: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("Content-Length", strconv.Itoa(len(raw)))
	w.WriteHeader(status)
	if _, err := w.Write(raw); err != nil {
		s.log.Debug("writing answer", "error", err)
	}
	return nil
}

func (s *server) serveUnknown(w http.ResponseWriter, r *http.Request) error {
	return arm.Errorf(http.StatusNotFound, "NotFound", "There is nothing at '%s'. Resources are under /subscriptions, cloud metadata is at /metadata/endpoints.", r.URL.Path)
}
