package extension

import (
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/kubernetesconfiguration"
	"fairlead.dev/fairlead/internal/link"
)

// input is all that an extension's state is decided by.
type input struct {
	now time.Time
	// state is the provisioningState and since when the operation under way began.
	state string
	since time.Time
	// generation is that of the newest desired value.
	generation int64
	// observed is nil when the cluster has said nothing of the extension.
	observed *link.ExtensionStatus
	// offline says why the cluster cannot act now; "" when it is connected.
	offline string
}

// output is what the record shall say.
type output struct {
	// state is the provisioningState: terminal when an operation ends.
	state string
	// gone: the cluster has uninstalled; the record goes.
	gone         bool
	installState string
	version      string
	statuses     []kubernetesconfiguration.ExtensionStatus
	errorInfo    *kubernetesconfiguration.ErrorInfo
	cause        error
	again        time.Duration
}

func plan(in input) output {
	out := output{state: in.state, installState: link.ExtensionPending, statuses: statuses(in)}
	if o := in.observed; o != nil {
		out.version = o.Version
	}
	if in.state == arm.StateDeleting {
		return planRemoval(in, out)
	}
	o := in.observed
	switch {
	case o == nil || o.Generation < in.generation || o.State == link.ExtensionPending || o.State == link.ExtensionRemoved:
		return planPending(in, out)
	case o.State == link.ExtensionInstalled:
		out.state, out.installState = arm.StateSucceeded, link.ExtensionInstalled
	case o.State == link.ExtensionFailed:
		return failed(out, o.Code, o.Message)
	}
	return out
}

func planPending(in input, out output) output {
	if arm.Terminal(in.state) && in.observed != nil && in.observed.Generation >= in.generation {
		return out // the cluster works on it again by itself; the operation has ended
	}
	left := in.since.Add(patienceInstall).Sub(in.now)
	if left > 0 {
		if !arm.Terminal(in.state) {
			out.again = left
		}
		return out
	}
	why := in.offline
	if why == "" {
		why = "the cluster's extension manager has not answered; look at the pods in namespace azure-arc"
	}
	return failed(out, "ExtensionOperationTimedOut", "The extension was not installed within 48 hours: "+why+". Create it again when that is mended.")
}

func planRemoval(in input, out output) output {
	waited := in.now.Sub(in.since)
	switch {
	case in.observed != nil && in.observed.State == link.ExtensionRemoved,
		in.observed == nil && in.offline == "" && waited >= patienceUnknown:
		out.gone = true
	case in.observed == nil && in.offline == "":
		out.again = patienceUnknown - waited
	case in.offline != "": // deleted as soon as the cluster is back
	case waited < patienceRemove:
		out.again = patienceRemove - waited
	default:
		return failed(out, "ExtensionRemovalTimedOut", "The cluster has not uninstalled the extension within 15 minutes ("+in.observed.Message+"). Delete it again with --force to forget it without uninstalling.")
	}
	return out
}

func failed(out output, code, message string) output {
	if code == "" {
		code = "ExtensionOperationFailed"
	}
	out.state, out.installState = arm.StateFailed, link.ExtensionFailed
	out.errorInfo = &kubernetesconfiguration.ErrorInfo{Code: code, Message: message}
	out.cause = arm.Errorf(400, "ExtensionOperationFailed", "The extension operation failed with the following error: %s", message)
	return out
}

// statuses are what the cluster checked, and before them that it is away.
func statuses(in input) []kubernetesconfiguration.ExtensionStatus {
	out := []kubernetesconfiguration.ExtensionStatus{}
	if in.offline != "" && !arm.Terminal(in.state) {
		out = append(out, kubernetesconfiguration.ExtensionStatus{Code: "ClusterOffline", DisplayStatus: "Waiting", Level: "Warning",
			Message: in.offline + "; this goes on when it is back", Time: in.since.UTC().Format(time.RFC3339)})
	}
	if in.observed == nil {
		return out
	}
	for _, c := range in.observed.Checks {
		out = append(out, kubernetesconfiguration.ExtensionStatus{Code: c.Code, DisplayStatus: in.observed.State, Level: c.Level, Message: c.Message, Time: c.Time})
	}
	return out
}
