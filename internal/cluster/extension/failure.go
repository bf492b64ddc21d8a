package extension

import (
	"context"
	"errors"
	"fmt"
	"net"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// operation is what was asked for, in the reference's word.
type operation string

const (
	opCreate operation = "Create"
	opUpdate operation = "Update"
)

// operationFailed words an error as the reference does, with the cause in the innermost place. done is what became of the
// release ("uninstalled", "rolled back"), empty when nothing was applied.
func operationFailed(op operation, release, what string, cause error, done string) string {
	verb := "installation"
	if op == opUpdate {
		verb = "upgrade"
	}
	inner := cause.Error()
	if done != "" {
		inner = fmt.Sprintf("release %s failed, and has been %s due to atomic being set: %v", release, done, cause)
	}
	return fmt.Sprintf("Error: [ InnerError: [Helm %s failed : %s : InnerError [%s]]] occurred while doing the operation : [%s] on the config", verb, what, inner, op)
}

// transient reports whether an error is the API server's or the network's, and not the chart's: it is worth another try.
func transient(err error) bool {
	var network net.Error
	return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) ||
		utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err) ||
		errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded)
}
