package job

import (
	"fmt"
	"time"

	"fairlead.dev/fairlead/api/hybridkubernetes"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/link"
)

const (
	// retention is how long a cluster keeps what belongs to a job that has ended, for those who look at its pods.
	retention = 10 * time.Minute
	// tokenTTL is how long a run's token is good; it is renewed at half of that, so that a run outlives days without link.
	tokenTTL = 21 * 24 * time.Hour
)

// input is all that a job's next step is decided by.
type input struct {
	now   time.Time
	id    string // the job's name in the cluster
	state runstate.State
	view  runstate.View
	facts clusterstate.Facts
	// lost: the cluster was told of the job, but its map does not have it any more (the cluster was deleted and made again).
	lost bool
	// observed is nil while the cluster has said nothing.
	observed *link.JobStatus
}

// output is what the job becomes and what is told to the cluster.
type output struct {
	state runstate.State
	view  runstate.View
	// token: a (new) run token is needed, and the desired value with it.
	token bool
	// started: the desired value must say that the job has begun, so that it is never begun anew.
	started bool
	// cancel: the desired value must ask for the job's end.
	cancel bool
	// remove: the cluster shall forget the job.
	remove bool
	// clear: what the pods of a batch job shared shall be deleted.
	clear bool
	again time.Duration
}

// plan decides the next step. Calling it again with what it returned changes nothing.
func plan(in input) output {
	out := output{state: in.state, view: in.view}
	switch {
	case runstate.Terminal(in.view.Status):
		return planEnded(in, out)
	case !in.facts.Exists || in.lost:
		return ended(in, out, machinelearning.JobFailed, "ClusterDeleted",
			fmt.Sprintf("Cluster %s was deleted before the job ended. Connect it again or choose another compute, and submit the job under a new name.", in.state.Cluster))
	case in.state.CancelRequested && in.state.JobID == "":
		return ended(in, out, machinelearning.JobCanceled, "Canceled", "Canceled before the cluster was told of it.")
	}
	if in.state.JobID == "" || in.now.Sub(in.state.TokenAt) >= tokenTTL/2 {
		out.token = true
		out.state.JobID, out.state.TokenAt = in.id, in.now.UTC()
	}
	out.cancel = in.state.CancelRequested
	out.again = out.state.TokenAt.Add(tokenTTL / 2).Sub(in.now)
	if in.observed != nil && in.observed.ID == in.id {
		return follow(in, out)
	}
	return waiting(in, out, machinelearning.JobQueued)
}

// planEnded has deleted what pods shared, at once and again with what a late pod made, and tells the cluster to forget the job when
// its retention has passed.
func planEnded(in input, out output) output {
	batch := in.state.Spec.Batch != nil
	out.clear = batch && !in.state.Cleared
	out.state.Cleared = batch
	if in.state.Removed {
		return out
	}
	left := in.state.RecordedAt.Add(retention).Sub(in.now)
	if in.state.JobID != "" && in.facts.Exists && left > 0 {
		out.again = left
		return out
	}
	out.remove, out.state.Removed, out.clear = true, true, batch
	return out
}

// ended makes a job terminal without the cluster's word.
func ended(in input, out output, status, reason, message string) output {
	out.view = runstate.View{Status: status, Reason: reason, Message: message}
	out.state.EndedAt, out.state.RecordedAt = in.now.UTC(), in.now.UTC()
	out.state.Removed, out.remove = true, true
	return out
}

// follow takes over what the cluster says. The newest word counts, whatever came before it; only the end is for good.
func follow(in input, out output) output {
	o := in.observed
	out.state.Attempt = o.Attempt
	if t, err := time.Parse(time.RFC3339, o.StartTime); err == nil {
		out.started = in.state.StartedAt.IsZero()
		out.state.StartedAt = t.UTC()
	}
	if o.Terminal() {
		out.view = runstate.View{Status: o.State, Reason: o.Reason, Message: o.Message, ExitCode: o.ExitCode}
		if o.State == machinelearning.JobFailed {
			explain(&out.view)
		}
		out.state.EndedAt, out.state.RecordedAt = in.now.UTC(), in.now.UTC()
		if t, err := time.Parse(time.RFC3339, o.EndTime); err == nil {
			out.state.EndedAt = t.UTC()
		}
		out.token, out.started, out.cancel, out.again = false, false, false, retention
		if o.Reason == link.ReasonAmlJobDeleted { // nothing is left to look at, and it must not be made again
			out.state.Removed, out.remove, out.again = true, true, 0
		}
		return out
	}
	switch o.State {
	case machinelearning.JobQueued, machinelearning.JobPreparing, machinelearning.JobRunning, machinelearning.JobFinalizing,
		"Starting", "Provisioning", "NotResponding", "Paused":
	default: // a word of a newer agent
		return waiting(in, out, known(in.view.Status))
	}
	out = waiting(in, out, o.State)
	if out.view.Reason == "" {
		out.view.Reason, out.view.Message = o.Reason, o.Message
	}
	return out
}

// known keeps a status that is not the one before anything was sent.
func known(status string) string {
	if status == machinelearning.JobNotStarted || status == "" {
		return machinelearning.JobQueued
	}
	return status
}

// waiting says in which state the job is and what of the cluster it waits for, if anything.
func waiting(in input, out output, status string) output {
	reason, message := obstacle(in.facts, status)
	out.view = runstate.View{Status: status, Reason: reason, Message: message}
	if in.state.CancelRequested {
		out.view.Status = machinelearning.JobCancelRequested
	}
	return out
}

// obstacle is what keeps a cluster from going on with a job.
func obstacle(f clusterstate.Facts, status string) (reason, message string) {
	begun := status == machinelearning.JobRunning || status == machinelearning.JobFinalizing
	if since := f.OfflineSince(); since != "" {
		reason := "ClusterOffline"
		if f.Connectivity == hybridkubernetes.Expired {
			return "ClusterExpired", since + "; connect the cluster again"
		}
		if begun {
			return reason, since + "; the job goes on there, and what it has done is shown when the cluster is back"
		}
		return reason, since + "; the job starts when it is back"
	}
	switch {
	case begun:
	case !f.Extension.Exists:
		return "ExtensionMissing", fmt.Sprintf("cluster %s has no extension Microsoft.AzureML.Kubernetes any more; the job starts when it is deployed again with enableTraining=True", f.Name)
	case !f.Extension.Training:
		return "TrainingDisabled", fmt.Sprintf("extension %s of cluster %s has enableTraining=False; the job starts when that is True", f.Extension.Name, f.Name)
	}
	return "", ""
}

// explain gives a failure words when the cluster gave none.
func explain(v *runstate.View) {
	if v.Reason == "" {
		v.Reason = "JobFailed"
	}
	switch {
	case v.Message != "":
	case v.ExitCode != nil:
		v.Message = fmt.Sprintf("AzureML Kubernetes job failed. %d: the command ended with exit code %d; see user_logs/std_log.txt.", *v.ExitCode, *v.ExitCode)
	default:
		v.Message = "AzureML Kubernetes job failed. The cluster gave no reason; see user_logs/std_log.txt and system_logs."
	}
}
