package blobs

import (
	"errors"
	"fmt"
	"net/http"

	"fairlead.dev/fairlead/api/arm"
)

// Refusal is an AuthorizeFunc's decision against a request; its text reaches the caller.
type Refusal struct{ Reason string }

// Error is the reason.
func (r *Refusal) Error() string { return r.Reason }

// Refusef makes a Refusal.
func Refusef(format string, args ...any) error { return &Refusal{Reason: fmt.Sprintf(format, args...)} }

// refused tells a decision from what kept the authorizer from deciding: a store that is away, a record that does not decode.
func refused(err error) bool {
	var no *Refusal
	if errors.As(err, &no) {
		return true
	}
	var ae *arm.Error
	return errors.As(err, &ae) && (ae.Status == http.StatusForbidden || ae.Status == http.StatusNotFound)
}
