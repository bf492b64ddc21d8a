package job

import (
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/link"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func facts() clusterstate.Facts {
	return clusterstate.Facts{Exists: true, Name: "edge", Connectivity: "Connected", LastSeen: now,
		Extension: clusterstate.Extension{Exists: true, Name: "arcml", Training: true, State: "Succeeded"}}
}

func offline() clusterstate.Facts {
	f := facts()
	f.Connectivity, f.LastSeen = "Offline", now.Add(-time.Minute)
	return f
}

func TestPlan(t *testing.T) {
	one := 1
	sent := runstate.State{JobID: "id", TokenAt: now}
	cancel := sent
	cancel.CancelRequested = true
	st := func(state string) *link.JobStatus { return &link.JobStatus{ID: "id", State: state} }
	off, noExt, noTraining := offline(), facts(), facts()
	noExt.Extension = clusterstate.Extension{}
	noTraining.Extension.Training = false
	for name, c := range map[string]struct {
		state        runstate.State
		status       string
		facts        *clusterstate.Facts
		observed     *link.JobStatus
		lost         bool
		want, reason string
		token        bool
		cancel       bool
		remove       bool
		text         string
	}{
		"new":                     {status: "NotStarted", want: "Queued", token: true},
		"new, cluster offline":    {status: "NotStarted", facts: &off, want: "Queued", token: true, reason: "ClusterOffline", text: "cluster edge is offline since 2026-01-02T03:03:05Z; the job starts when it is back"},
		"new, no extension":       {status: "NotStarted", facts: &noExt, want: "Queued", token: true, reason: "ExtensionMissing"},
		"new, no training":        {status: "NotStarted", facts: &noTraining, want: "Queued", token: true, reason: "TrainingDisabled"},
		"new, cluster gone":       {status: "NotStarted", facts: &clusterstate.Facts{}, want: "Failed", reason: "ClusterDeleted", remove: true},
		"new, canceled":           {state: runstate.State{CancelRequested: true}, status: "CancelRequested", want: "Canceled", reason: "Canceled", remove: true},
		"sent":                    {state: sent, status: "Queued", want: "Queued"},
		"sent and lost":           {state: sent, status: "Running", lost: true, want: "Failed", reason: "ClusterDeleted", remove: true},
		"waits in the cluster":    {state: sent, status: "Queued", observed: &link.JobStatus{ID: "id", State: "Queued", Reason: "Unschedulable", Message: "0/3 nodes"}, want: "Queued", reason: "Unschedulable", text: "0/3"},
		"runs":                    {state: sent, status: "Queued", observed: st("Running"), want: "Running"},
		"runs, cluster offline":   {state: sent, status: "Running", facts: &off, observed: st("Running"), want: "Running", reason: "ClusterOffline", text: "goes on there"},
		"runs, extension gone":    {state: sent, status: "Running", facts: &noExt, observed: st("Running"), want: "Running"},
		"starts again":            {state: sent, status: "Running", observed: &link.JobStatus{ID: "id", State: "Queued", Attempt: 1}, want: "Queued"},
		"unknown word":            {state: sent, status: "Running", observed: st("Dreaming"), want: "Running"},
		"another job's word":      {state: sent, status: "Queued", observed: &link.JobStatus{ID: "x", State: "Completed"}, want: "Queued"},
		"completed":               {state: sent, status: "Running", observed: st("Completed"), want: "Completed"},
		"failed":                  {state: sent, status: "Running", observed: &link.JobStatus{ID: "id", State: "Failed", Reason: "NonZeroExit", ExitCode: &one}, want: "Failed", reason: "NonZeroExit", text: "AzureML Kubernetes job failed. 1:"},
		"failed without a word":   {state: sent, status: "Running", observed: st("Failed"), want: "Failed", reason: "JobFailed", text: "gave no reason"},
		"failed before it ran":    {state: sent, status: "Queued", observed: st("Failed"), want: "Failed", reason: "JobFailed"},
		"cancel asked":            {state: cancel, status: "CancelRequested", observed: st("Running"), want: "CancelRequested", cancel: true},
		"cancel asked, offline":   {state: cancel, status: "CancelRequested", facts: &off, want: "CancelRequested", reason: "ClusterOffline", cancel: true},
		"deleted in the cluster":  {state: sent, status: "Running", observed: &link.JobStatus{ID: "id", State: "Failed", Reason: link.ReasonAmlJobDeleted}, want: "Failed", reason: link.ReasonAmlJobDeleted, remove: true},
		"ended before deleted":    {state: runstate.State{JobID: "id", RecordedAt: now}, status: "Completed", observed: &link.JobStatus{ID: "id", State: "Failed", Reason: link.ReasonAmlJobDeleted}, want: "Completed"},
		"canceled":                {state: cancel, status: "CancelRequested", observed: st("Canceled"), want: "Canceled"},
		"completed before cancel": {state: cancel, status: "CancelRequested", observed: st("Completed"), want: "Completed"},
		"token half over":         {state: runstate.State{JobID: "id", TokenAt: now.Add(-tokenTTL / 2)}, status: "Running", observed: st("Running"), want: "Running", token: true},
		"ended, kept":             {state: runstate.State{JobID: "id", RecordedAt: now.Add(-retention + 1)}, status: "Completed", want: "Completed"},
		"ended, other word later": {state: runstate.State{JobID: "id", RecordedAt: now}, status: "Completed", observed: st("Failed"), want: "Completed"},
		"ended, retention over":   {state: runstate.State{JobID: "id", RecordedAt: now.Add(-retention)}, status: "Failed", want: "Failed", remove: true},
		"ended, removed":          {state: runstate.State{JobID: "id", Removed: true}, status: "Failed", want: "Failed"},
		"ended, cluster gone":     {state: runstate.State{JobID: "id", RecordedAt: now}, status: "Failed", facts: &clusterstate.Facts{}, want: "Failed", remove: true},
	} {
		t.Run(name, func(t *testing.T) {
			in := input{now: now, id: "id", state: c.state, view: runstate.View{Status: c.status}, facts: facts(), observed: c.observed, lost: c.lost}
			if c.facts != nil {
				in.facts = *c.facts
			}
			out := plan(in)
			if out.view.Status != c.want || out.view.Reason != c.reason || !strings.Contains(out.view.Message, c.text) {
				t.Errorf("view %+v; want %s, reason %q, %q in the message", out.view, c.want, c.reason, c.text)
			}
			if out.token != c.token || out.cancel != c.cancel || out.remove != c.remove {
				t.Errorf("token %v, cancel %v, remove %v", out.token, out.cancel, out.remove)
			}
			if runstate.Terminal(out.view.Status) && !out.state.Removed && out.again <= 0 {
				t.Error("an ended job is never removed")
			}
			// What plan returned, it leaves alone.
			in.state, in.view = out.state, out.view
			if again := plan(in); !out.remove && (again.view.Status != out.view.Status || again.view.Reason != out.view.Reason || again.token) {
				t.Errorf("a second step goes on to %+v", again.view)
			}
		})
	}
}

// TestClear: what pods of a batch job shared is deleted when it ends, and again when its pods are gone for good; other jobs share nothing.
func TestClear(t *testing.T) {
	shared := commonruntime.JobSpec{Batch: &commonruntime.Batch{}}
	for name, c := range map[string]struct {
		state  runstate.State
		status string
		want   bool
	}{
		"runs":                        {runstate.State{Spec: shared, JobID: "id", TokenAt: now}, "Running", false},
		"ended":                       {runstate.State{Spec: shared, JobID: "id", RecordedAt: now}, "Completed", true},
		"ended, cleared":              {runstate.State{Spec: shared, JobID: "id", RecordedAt: now, Cleared: true}, "Completed", false},
		"ended, retention over":       {runstate.State{Spec: shared, JobID: "id", RecordedAt: now.Add(-retention), Cleared: true}, "Failed", true},
		"canceled before it was sent": {runstate.State{Spec: shared, Removed: true}, "Canceled", true},
		"removed, cleared":            {runstate.State{Spec: shared, Removed: true, Cleared: true}, "Canceled", false},
		"another job":                 {runstate.State{JobID: "id", RecordedAt: now.Add(-retention)}, "Failed", false},
	} {
		t.Run(name, func(t *testing.T) {
			out := plan(input{now: now, id: "id", state: c.state, view: runstate.View{Status: c.status}, facts: facts()})
			if out.clear != c.want {
				t.Errorf("clear %t, want %t", out.clear, c.want)
			}
			if ended := runstate.Terminal(c.status) && c.state.Spec.Batch != nil; out.state.Cleared != ended {
				t.Errorf("cleared %t, want %t", out.state.Cleared, ended)
			}
		})
	}
}
