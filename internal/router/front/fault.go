package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"fairlead.dev/fairlead/internal/router/gate"
)

// fault is an answer of the router's own: a status of the reference's table, a code for programs and a reason for people.
type fault struct {
	status        int
	code, message string
}

// statusClientGone is for the log: nobody reads the answer.
const statusClientGone = 499

var (
	// preflight answers a browser's preliminary question, which is all in the header.
	preflight     = &fault{status: http.StatusNoContent}
	errNoSuchPath = &fault{http.StatusNotFound, "NotFound", "There is nothing at this path. Endpoints are at /api/v1/endpoint/<endpoint>/score."}
	errNoBody     = &fault{http.StatusRequestTimeout, "RequestBodyIncomplete", "The request's body did not arrive in time, or not whole."}
	errNoRoute    = &fault{http.StatusNotFound, "NoRoute", "No route found or no valid deployments to route to, please check that the endpoint has at least one " +
		"deployment with positive weight values or use a deployment specific header to route."}
)

func noEndpoint(name string) *fault {
	return &fault{http.StatusNotFound, "EndpointNotFound", fmt.Sprintf("There is no endpoint %.64q in this cluster.", name)}
}

func unauthorized(err error) *fault {
	return &fault{http.StatusUnauthorized, "Unauthorized", "Not authorized: " + err.Error() + "."}
}

func tooLarge(limit int64) *fault {
	return &fault{http.StatusRequestEntityTooLarge, "RequestTooLarge", fmt.Sprintf("The request's body is larger than %d bytes.", limit)}
}

// errTimeout ends a request at a pod that did not begin its answer in time.
var errTimeout = errors.New("the pod did not begin its answer in time")

// faultOf is what a caller is told of an error on the way to a pod.
func faultOf(ctx context.Context, err error, c *call) *fault {
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return tooLarge(large.Limit)
	case c.uploadFailed.Load():
		return errNoBody
	case errors.Is(context.Cause(ctx), errTimeout):
		return &fault{http.StatusGatewayTimeout, "RequestTimeout", fmt.Sprintf("Request times out: deployment %s did not begin its answer within %s.", c.deployment.Name, c.deployment.Timeout)}
	case ctx.Err() != nil:
		return &fault{statusClientGone, "ClientGone", "The caller closed the connection."}
	case errors.Is(err, gate.ErrFull), errors.Is(err, gate.ErrWaited):
		return &fault{http.StatusServiceUnavailable, "Overloaded", fmt.Sprintf("Too many requests for deployment %s (overloaded): %v.", c.deployment.Name, err)}
	case errors.Is(err, gate.ErrNoPods):
		return &fault{http.StatusServiceUnavailable, "NoReadyPod", fmt.Sprintf("Deployment %s has no pod that is ready.", c.deployment.Name)}
	case errors.Is(err, gate.ErrGone):
		return &fault{http.StatusNotFound, "DeploymentDeleted", fmt.Sprintf("Deployment %s was deleted while the request waited.", c.deployment.Name)}
	case isDial(err):
		return &fault{http.StatusServiceUnavailable, "PodUnreachable", fmt.Sprintf("No pod of deployment %s accepts connections.", c.deployment.Name)}
	default:
		return &fault{http.StatusBadGateway, "ModelCrashed", fmt.Sprintf("The container of deployment %s ended the connection without an answer.", c.deployment.Name)}
	}
}

// answer is what the fault looks like to a caller.
func (f *fault) answer(c *call, to []field) (fields []field, body []byte) {
	c.reason = f.code
	to = c.toCaller(to)
	if f == preflight {
		return to, nil
	}
	switch f.status {
	case http.StatusUnauthorized:
		to = append(to, field{"Www-Authenticate", "Bearer"})
	case http.StatusServiceUnavailable:
		to = append(to, field{"Retry-After", strconv.Itoa(int(retryAfter / time.Second))})
	}
	body, _ = json.Marshal(map[string]any{"error": map[string]string{"code": f.code, "message": f.message, "requestId": c.id}})
	return append(to, field{"Content-Type", "application/json"}, field{"Content-Length", strconv.Itoa(len(body))}), body
}

// write sends the fault.
func (f *fault) write(w http.ResponseWriter, c *call) {
	fields, body := f.answer(c, nil)
	set(w.Header(), fields)
	w.WriteHeader(f.status)
	_, _ = w.Write(body)
}

const retryAfter = time.Second
