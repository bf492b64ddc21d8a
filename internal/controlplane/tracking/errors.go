package tracking

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/blobs"
)

// MLflow's error codes.
const (
	codeAbsent   = "RESOURCE_DOES_NOT_EXIST"
	codeExists   = "RESOURCE_ALREADY_EXISTS"
	codeInvalid  = "INVALID_PARAMETER_VALUE"
	codeState    = "INVALID_STATE"
	codeDenied   = "PERMISSION_DENIED"
	codeEndpoint = "ENDPOINT_NOT_FOUND"
	codeInternal = "INTERNAL_ERROR"
)

// problem is an error as MLflow's clients read it.
type problem struct {
	Status  int    `json:"-"`
	Code    string `json:"error_code"`
	Message string `json:"message"`
}

func (p *problem) Error() string { return p.Code + ": " + p.Message }

func errorf(status int, code, format string, args ...any) *problem {
	return &problem{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *problem {
	return errorf(http.StatusBadRequest, codeInvalid, format, args...)
}

func absent(format string, args ...any) *problem {
	return errorf(http.StatusNotFound, codeAbsent, format, args...)
}

// problemOf finds the public form of an error; nil when it has none.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	if p, ok := errors.AsType[*blobs.Refusal](err); ok {
		return errorf(http.StatusForbidden, codeDenied, "%v", p)
	}
	if e, ok := errors.AsType[*blobs.Error](err); ok && e.Status < http.StatusInternalServerError {
		code := codeInvalid
		if e.Status == http.StatusNotFound {
			code = codeAbsent
		}
		return errorf(e.Status, code, "%s", e.Message)
	}
	e, ok := errors.AsType[*arm.Error](err)
	if !ok {
		return nil
	}
	code, known := map[int]string{http.StatusUnauthorized: "UNAUTHENTICATED", http.StatusForbidden: codeDenied, http.StatusNotFound: codeAbsent,
		http.StatusConflict: "RESOURCE_CONFLICT", http.StatusTooManyRequests: "REQUEST_LIMIT_EXCEEDED"}[e.Status]
	switch {
	case known:
	case e.Status < http.StatusInternalServerError:
		code = codeInvalid
	default:
		return nil
	}
	return errorf(e.Status, code, "%s", e.Message)
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p == nil {
		if r.Context().Err() != nil {
			return
		}
		s.cfg.Log.Error("serving experiment tracking", "path", r.URL.Path, "err", err)
		p = errorf(http.StatusInternalServerError, codeInternal, "The server could not do this; its log says why. Try again.")
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p)
}
