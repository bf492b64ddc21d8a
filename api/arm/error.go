package arm

import "fmt"

// Error is an error of the resource manager protocol: an HTTP status and the body {"error":{code,message,target,details}}.
// Message is public: it names the field, the value and the fix.
type Error struct {
	Status  int     `json:"-"`
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Target  string  `json:"target,omitempty"`
	Details []Error `json:"details,omitempty"`
	// RetryAfterSeconds is sent as Retry-After when positive.
	RetryAfterSeconds int `json:"-"`
	// Cause is for logs only.
	Cause error `json:"-"`
}

// Error is the code and the public message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Unwrap gives the private cause.
func (e *Error) Unwrap() error { return e.Cause }

// ErrorBody is the wire form of an error.
type ErrorBody struct {
	Error *Error `json:"error"`
}

// Errorf makes an Error.
func Errorf(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Invalid is a 400 that names the field at fault.
func Invalid(target, format string, args ...any) *Error {
	return &Error{Status: 400, Code: "InvalidRequestContent", Target: target, Message: fmt.Sprintf(format, args...)}
}
