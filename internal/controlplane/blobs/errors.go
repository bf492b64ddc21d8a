package blobs

import (
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"

	"gocloud.dev/gcerrors"
)

// Error is an error of the blob protocol. Code is one of the service's words; Message names what was wrong and the fix.
type Error struct {
	Status  int
	Code    string
	Message string
	// Cause is for logs only.
	Cause error
}

// Error is the code and the message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Unwrap gives the private cause.
func (e *Error) Unwrap() error { return e.Cause }

func errorf(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func errBlobNotFound(n blobName) *Error {
	return errorf(http.StatusNotFound, "BlobNotFound", "The specified blob does not exist: %s/%s/%s.", n.account, n.container, n.name)
}

// errBusy makes clients try again.
func errBusy(cause error) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Code: "ServerBusy", Cause: cause,
		Message: "The server is currently unable to receive requests. Please retry your request."}
}

// isNotFound tells a missing object from other errors of the bucket.
func isNotFound(err error) bool { return gcerrors.Code(err) == gcerrors.NotFound }

type xmlError struct {
	XMLName xml.Name `xml:"Error"`
	Code    string   `xml:"Code"`
	Message string   `xml:"Message"`
}

// fail is the one place where errors become answers.
func (f *Front) fail(w http.ResponseWriter, r *http.Request, err error) {
	var e *Error
	if !errors.As(err, &e) {
		f.logCause(r, err)
		e = errorf(http.StatusInternalServerError, "InternalError", "The server encountered an internal error. Please retry the request.")
	}
	if e.Cause != nil {
		f.logCause(r, e.Cause)
	}
	h := w.Header()
	for _, k := range []string{"Content-Length", "Content-Range", "Content-MD5", "Content-Encoding", "Content-Disposition"} {
		h.Del(k)
	}
	h.Set("x-ms-error-code", e.Code)
	if e.Status == http.StatusNotModified {
		w.WriteHeader(e.Status)
		return
	}
	body, _ := xml.Marshal(xmlError{Code: e.Code, Message: e.Message + "\nRequestId:" + h.Get("x-ms-request-id")})
	h.Set("Content-Type", "application/xml")
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(append([]byte(xml.Header), body...))
	}
}

// logCause tells the log what the answer does not.
func (f *Front) logCause(r *http.Request, err error) {
	if r.Context().Err() != nil {
		f.cfg.Log.Debug("blob request ended by its client", "method", r.Method, "path", r.URL.Path, "err", err)
		return
	}
	f.cfg.Log.Error("serving blob request", "method", r.Method, "path", r.URL.Path, "err", err)
}
