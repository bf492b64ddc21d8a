package rollout

import (
	"fmt"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/link"
)

const (
	// patience is the reference's limit for a deployment to come up.
	patience = 20 * time.Minute
	// grace is how long a failure that the cluster told before an operation began is not taken for the operation's.
	grace = time.Minute
)

// input is all that the next step is decided by.
type input struct {
	now  time.Time
	what string // endpoint or deployment
	// state is the provisioningState, and since when the operation under way began.
	state string
	since time.Time
	// revision is that of what the cluster is told.
	revision string
	// observed is nil while the cluster has said nothing.
	observed   *link.ServingStatus
	observedAt time.Time
	facts      clusterstate.Facts
}

// output is what the record shall say.
type output struct {
	// state is the provisioningState: another than before when an operation ends.
	state string
	cause error
	// reason and message say what it waits for, or why it does not serve.
	reason, message string
	// keep: nothing is known that would take the place of what the record says of that.
	keep  bool
	again time.Duration
}

func plan(in input) output {
	o, done := in.observed, arm.Terminal(in.state)
	current := o != nil && o.Revision == in.revision
	switch {
	case !in.facts.Exists:
		return failed(in, "KubernetesUnaccessible", fmt.Sprintf("The cluster of the %s, %s, does not exist any more. Connect it again, or delete the %s.", in.what, in.facts.Key, in.what))
	case current && o.State == link.ServingSucceeded:
		return output{state: arm.StateSucceeded}
	case current && o.State == link.ServingFailed && (done || in.observedAt.After(in.since) || in.now.Sub(in.since) >= grace):
		return failed(in, o.Reason, o.Message)
	}
	out := output{state: in.state}
	out.reason, out.message = obstacle(in.facts)
	if out.reason == "" && current {
		out.reason, out.message = o.Reason, o.Message
	}
	if done {
		out.keep = out.reason == "" && !current
		return out
	}
	left := in.since.Add(patience).Sub(in.now)
	if left <= 0 {
		if out.reason == "" {
			out.reason, out.message = "KubernetesUnaccessible", "the cluster has not said anything of it; look at the pods gateway and cluster-status-reporter in the extension's namespace"
		}
		return failed(in, out.reason, fmt.Sprintf("The %s did not come up in %v: %s", in.what, patience, out.message))
	}
	if out.again = left; current && o.State == link.ServingFailed {
		out.again = min(left, in.since.Add(grace).Sub(in.now))
	}
	return out
}

// failed ends an operation. What serves already stays Succeeded, and says what is wrong.
func failed(in input, reason, message string) output {
	if reason == "" {
		reason = "InternalServerError"
	}
	out := output{state: arm.StateFailed, reason: reason, message: message, cause: arm.Errorf(400, reason, "%s", message)}
	if in.state == arm.StateSucceeded {
		out.state, out.cause = in.state, nil
	}
	return out
}

// obstacle is what keeps a cluster from going on.
func obstacle(f clusterstate.Facts) (reason, message string) {
	if since := f.OfflineSince(); since != "" {
		return "KubernetesUnaccessible", since + "; what serves there goes on serving, and changes come when it is back"
	}
	switch {
	case !f.Extension.Exists:
		return "ExtensionMissing", fmt.Sprintf("cluster %s has no extension Microsoft.AzureML.Kubernetes any more; deploy it again with enableInference=True", f.Name)
	case !f.Extension.Inference:
		return "InferenceDisabled", fmt.Sprintf("extension %s of cluster %s has enableInference=False; set it to True", f.Extension.Name, f.Name)
	}
	return "", ""
}
