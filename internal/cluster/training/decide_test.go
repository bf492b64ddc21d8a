package training

import (
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	jobset "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

type want struct {
	state, reason string
	// says are parts of the message.
	says   []string
	exit   int32 // -1: none
	action action
	again  time.Duration
}

func TestDecide(t *testing.T) {
	run := func(code int) *commonruntime.Result {
		return &commonruntime.Result{Phase: commonruntime.PhaseRunning, ExitCode: code, Message: "The command ended"}
	}
	word := func(phase, code string, exit int) *commonruntime.Result {
		return &commonruntime.Result{Phase: phase, Code: code, ExitCode: exit, Message: "said " + code}
	}
	failed := has(jobset.JobSetFailed)
	const sched = "0/3 nodes are available: 1 Insufficient cpu, 2 Insufficient nvidia.com/gpu, 3 node(s) didn't match Pod's node affinity/selector, 1 node(s) had untolerated taint {a: b}. preemption: 0/3 nodes are available."
	tests := map[string]struct {
		w    world
		want want
	}{
		"new job": {world{job: aJob(), itype: defaultType()}, want{StateQueued, ReasonPodPending, nil, -1, actCreate, 0}},
		"unknown instance type": {world{job: aJob(typed("big"))},
			want{StateQueued, ReasonUnknownInstanceType, []string{`"big"`, "InstanceType"}, -1, actNone, 0}},
		"canceled before start": {world{job: aJob(canceled), itype: defaultType()}, want{StateCanceled, ReasonCanceled, nil, -1, actNone, 0}},
		"cancel":                {world{job: aJob(canceled), itype: defaultType(), jobSet: aJobSet()}, want{"", ReasonCanceling, nil, -1, actDelete, 0}},
		"canceling, pods fail": {world{job: aJob(canceled, created, inState(StateRunning)), jobSet: aJobSet(beingDeleted, failed),
			pods: []corev1.Pod{aPod(0, ended(143, "Error", 45, word("Running", "Canceled", 143)))}},
			want{StateRunning, ReasonCanceling, nil, -1, actNone, 0}},
		"canceled, pod still there": {world{job: aJob(canceled, created, inState(StateRunning)), pods: []corev1.Pod{aPod(0, running(true, 5))}},
			want{StateRunning, "", []string{"waiting"}, -1, actNone, 0}},
		"canceled":          {world{job: aJob(canceled, created, inState(StateRunning))}, want{StateCanceled, ReasonCanceled, nil, -1, actNone, 0}},
		"cancel comes late": {world{job: aJob(canceled, created), jobSet: aJobSet(has(jobset.JobSetCompleted))}, want{StateCompleted, "", nil, 0, actNone, 0}},
		"jobset deleted":    {world{job: aJob(created, inState(StateRunning))}, want{StateFailed, ReasonJobSetDeleted, []string{"twice"}, -1, actNone, 0}},
		"jobset being deleted": {world{job: aJob(created, inState(StateRunning)), jobSet: aJobSet(beingDeleted)},
			want{StateRunning, "", []string{"being deleted"}, -1, actNone, 0}},
		"suspended": {world{job: aJob(), jobSet: aJobSet(has(jobset.JobSetSuspended))}, want{StateQueued, ReasonSuspended, nil, -1, actNone, 0}},

		"no pods yet": {world{job: aJob(), jobSet: aJobSet()}, want{StateQueued, ReasonPodPending, []string{"0 of 1"}, -1, actNone, eventPoll}},
		"quota": {world{job: aJob(), jobSet: aJobSet(), events: []corev1.Event{warning(1, "old"), warning(9, `pods "x" is forbidden: exceeded quota: q, requested: cpu=1`), warning(2, "old")}},
			want{StateQueued, ReasonQuotaExceeded, []string{"namespace ml", "requested: cpu=1"}, -1, actNone, eventPoll}},
		"forbidden": {world{job: aJob(), jobSet: aJobSet(), events: []corev1.Event{warning(1, `pods "x" is forbidden: violates PodSecurity`)}},
			want{StateQueued, ReasonForbidden, []string{"PodSecurity"}, -1, actNone, eventPoll}},
		"pods not made": {world{job: aJob(), jobSet: aJobSet(), events: []corev1.Event{warning(1, `Internal error occurred`)}},
			want{StateQueued, ReasonPodCreation, []string{"Internal"}, -1, actNone, eventPoll}},
		"unschedulable": {world{job: aJob(typed("gpu"), gangOf(1)), itype: gpuType(), jobSet: aJobSet(),
			pods: []corev1.Pod{aPod(0, podCondition(corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable", sched))}},
			want{StateQueued, ReasonUnschedulable, []string{"no node has enough free cpu and nvidia.com/gpu", "pool=gpu", "taints",
				"Instance type gpu asks for cpu 4, memory 8Gi, nvidia.com/gpu 2 for each of 1 pod(s)", sched}, -1, actNone, 0}},
		"no nodes": {world{job: aJob(), itype: defaultType(), jobSet: aJobSet(),
			pods: []corev1.Pod{aPod(0, podCondition(corev1.PodScheduled, corev1.ConditionFalse, "Unschedulable", "no nodes available to schedule pods"))}},
			want{StateQueued, ReasonUnschedulable, []string{"the cluster has no nodes"}, -1, actNone, 0}},
		"gated": {world{job: aJob(), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, podCondition(corev1.PodScheduled, corev1.ConditionFalse, "SchedulingGated", "gated by x"))}},
			want{StateQueued, ReasonPodPending, []string{"gated by x"}, -1, actNone, 0}},
		"waits for the scheduler": {world{job: aJob(), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0)}}, want{StateQueued, ReasonPodPending, []string{"scheduler"}, -1, actNone, 0}},
		"image pull": {world{job: aJob(), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, mainWaits("ImagePullBackOff", "not found: registry text"))}},
			want{StateQueued, ReasonImagePull, []string{"registry.example/py:1", "node-1", "registry text"}, -1, actNone, 0}},
		"container config": {world{job: aJob(), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, mainWaits("CreateContainerConfigError", "secret not found"))}},
			want{StateQueued, ReasonContainerConfig, []string{"secret not found"}, -1, actNone, 0}},
		"starting": {world{job: aJob(), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, mainWaits("PodInitializing", ""))}}, want{StateQueued, ReasonPodPending, []string{"node-1"}, -1, actNone, eventPoll}},
		"secret missing": {world{job: aJob(), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, mainWaits("PodInitializing", ""))}, events: []corev1.Event{
			warning(3, "jobset trouble"), about("pod-0", warning(2, `secret "x" not found`)), about("pod-7", warning(3, "not mine"))}},
			want{StateQueued, ReasonPodPending, []string{`secret "x" not found`}, -1, actNone, eventPoll}},
		"image is being pulled": {world{job: aJob(), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, mainWaits("PodInitializing", ""))}, events: []corev1.Event{
			podEvent("Pulling", "spec.initContainers{runtime}", 80), podEvent("Pulled", "spec.initContainers{runtime}", 88), podEvent("Pulling", "spec.containers{main}", 88)}},
			want{StateQueued, ReasonImagePull, []string{"image registry.example/py:1 is being pulled on node node-1 (since 12 s)"}, -1, actNone, pullPoll}},
		"image of the init container is being pulled": {world{job: aJob(), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, onNode)}, events: []corev1.Event{
			podEvent("Pulling", "spec.initContainers{runtime}", -30)}},
			want{StateQueued, ReasonImagePull, []string{"image fairlead/runtime:1 is being pulled", "(since 2 min)"}, -1, actNone, pullPoll}},
		"image is there": {world{job: aJob(), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, mainWaits("PodInitializing", ""))}, events: []corev1.Event{
			podEvent("Pulled", "spec.containers{main}", 90), podEvent("Pulling", "spec.containers{main}", 90)}},
			want{StateQueued, ReasonPodPending, []string{"is being started"}, -1, actNone, eventPoll}},
		"image is there, its event is lost": {world{job: aJob(), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, onNode, func(p *corev1.Pod) {
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: initContainer, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		})}, events: []corev1.Event{podEvent("Pulling", "spec.initContainers{runtime}", 90)}},
			want{StateQueued, ReasonPodPending, []string{"is being started"}, -1, actNone, eventPoll}},
		"image is pulled again": {world{job: aJob(), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, mainWaits("PodInitializing", ""))}, events: []corev1.Event{
			podEvent("Failed", "spec.containers{main}", 90), podEvent("Pulling", "spec.containers{main}", 97)}},
			want{StateQueued, ReasonImagePull, []string{"(since 3 s)"}, -1, actNone, pullPoll}},
		"another pod pulls": {world{job: aJob(), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, mainWaits("PodInitializing", ""))}, events: []corev1.Event{
			about("pod-7", podEvent("Pulling", "spec.containers{main}", 97))}},
			want{StateQueued, ReasonPodPending, []string{"is being started"}, -1, actNone, eventPoll}},
		"preparing": {world{job: aJob(), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, running(false, 5))}}, want{StatePreparing, "", nil, -1, actNone, 0}},
		"running":   {world{job: aJob(), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, running(true, 5))}}, want{StateRunning, "", nil, -1, actNone, 0}},
		"finalizing": {world{job: aJob(inState(StateRunning)), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, running(false, 5))}},
			want{StateFinalizing, "", nil, -1, actNone, 0}},
		"ended, not confirmed": {world{job: aJob(inState(StateRunning)), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, ended(0, "Completed", 9, nil))}},
			want{StateFinalizing, "", nil, -1, actNone, 0}},
		"gang waits for one": {world{job: aJob(gangOf(2)), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, running(true, 5)), aPod(1, mainWaits("ErrImagePull", "x"))}},
			want{StateQueued, ReasonImagePull, nil, -1, actNone, 0}},
		"gang runs, one ended": {world{job: aJob(gangOf(2)), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, running(true, 5)), aPod(1, ended(0, "Completed", 9, nil))}},
			want{StateRunning, "", nil, -1, actNone, 0}},
		"node is being lost": {world{job: aJob(inState(StateRunning)), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, running(true, 5), podDeleted, disrupted("DeletionByTaintManager"))}},
			want{StateRunning, ReasonNodeLost, []string{"node-1"}, -1, actNone, 0}},
		"restarting": {world{job: aJob(restarts(2), created, inState(StateRunning)), jobSet: aJobSet(restarted(1)), pods: []corev1.Pod{aPod(0, running(true, 5))}},
			want{StateQueued, ReasonPodPending, []string{"start 2 of 3"}, -1, actNone, eventPoll}},
		"restarted, prepares": {world{job: aJob(restarts(2), created, inState(StateRunning)), jobSet: aJobSet(restarted(1)), pods: []corev1.Pod{aPod(0, attempt("1"), running(false, 5))}},
			want{StatePreparing, "", nil, -1, actNone, 0}},
		"within timeout": {world{job: aJob(limited(60, 0), inState(StateRunning)), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, running(true, 0))}},
			want{StateRunning, "", nil, -1, actNone, 60*time.Second + timeoutSlack - 100*time.Second}},
		"backstop of timeout": {world{job: aJob(limited(60, -200), inState(StateRunning)), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, running(true, -200))}},
			want{StateRunning, ReasonTimeout, []string{"60 s"}, -1, actDelete, 0}},
		"timeout while others finish": {world{job: aJob(limited(60, -200), inState(StateFinalizing)), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, running(false, -200))}},
			want{StateFinalizing, "", nil, -1, actNone, time.Second}},
		"prepares for longer than the timeout": {world{job: aJob(limits(60), began(-900), created, inState(StatePreparing)), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, running(false, -900))}},
			want{StatePreparing, "", nil, -1, actNone, 0}},
		"first seen running": {world{job: aJob(limits(60), began(-900), created, inState(StatePreparing)), jobSet: aJobSet(), pods: []corev1.Pod{aPod(0, running(true, -900))}},
			want{StateRunning, "", nil, -1, actNone, 60*time.Second + timeoutSlack}},
		"timeout counts anew in each attempt": {world{job: aJob(restarts(2), limited(60, -900), created, inState(StateRunning)), jobSet: aJobSet(restarted(1)), pods: []corev1.Pod{aPod(0, attempt("1"), running(true, 90))}},
			want{StateRunning, "", nil, -1, actNone, 60*time.Second + timeoutSlack}},
		"ended by the backstop": {world{job: aJob(limited(60, -200), created, inState(StateRunning), because(ReasonTimeout))},
			want{StateFailed, ReasonTimeout, []string{"60 s"}, -1, actNone, 0}},

		"completed, log not whole": {world{job: aJob(), jobSet: aJobSet(has(jobset.JobSetCompleted)), pods: []corev1.Pod{aPod(0, ended(0, "Completed", 9, word("Done", "LogLost", 0)))}},
			want{StateCompleted, "LogLost", []string{"said LogLost"}, 0, actNone, 0}},
		"completed": {world{job: aJob(), jobSet: aJobSet(has(jobset.JobSetCompleted)), pods: []corev1.Pod{aPod(0, ended(0, "Completed", 9, nil))}}, want{StateCompleted, "", nil, 0, actNone, 0}},
		"done, exit code lost": {world{job: aJob(), jobSet: aJobSet(failed), pods: []corev1.Pod{aPod(0, ended(255, "Unknown", 9, word("Done", "", 0)))}},
			want{StateCompleted, "", nil, 0, actNone, 0}},
		"gang done, one exit code lost": {world{job: aJob(gangOf(2)), jobSet: aJobSet(failed), pods: []corev1.Pod{
			aPod(0, ended(0, "Completed", 9, word("Done", "", 0))), aPod(1, ended(255, "Unknown", 9, word("Done", "", 0)))}},
			want{StateCompleted, "", nil, 0, actNone, 0}},
		"one done and its exit code lost, one ended for it": {world{job: aJob(gangOf(2)), jobSet: aJobSet(failed), pods: []corev1.Pod{
			aPod(0, ended(143, "Error", 9, word("Running", "Canceled", 143))), aPod(1, ended(255, "Unknown", 9, word("Done", "", 0)))}},
			want{StateFailed, ReasonJobFailed, []string{"pod-1 did its work to the end", "node-1 lost its exit code"}, -1, actNone, 0}},
		"one of a gang done, one gone": {world{job: aJob(gangOf(2)), jobSet: aJobSet(failed), pods: []corev1.Pod{aPod(1, ended(255, "Unknown", 9, word("Done", "", 0)))}},
			want{StateFailed, ReasonJobFailed, nil, -1, actNone, 0}},
		"exit code": {world{job: aJob(), jobSet: aJobSet(failed), pods: []corev1.Pod{aPod(0, ended(3, "Error", 9, run(3)))}},
			want{StateFailed, ReasonNonZeroExit, []string{"The command ended"}, 3, actNone, 0}},
		"first failure counts": {world{job: aJob(gangOf(3)), jobSet: aJobSet(failed), pods: []corev1.Pod{
			aPod(0, ended(143, "Error", 8, word("Running", "Canceled", 143))), aPod(1, ended(5, "Error", 20, run(5))), aPod(2, ended(4, "Error", 10, run(4)))}},
			want{StateFailed, ReasonNonZeroExit, nil, 4, actNone, 0}},
		"out of memory": {world{job: aJob(), jobSet: aJobSet(failed), pods: []corev1.Pod{aPod(0, ended(137, "OOMKilled", 9, nil))}},
			want{StateFailed, ReasonOOMKilled, []string{"2Gi", v1alpha1.DefaultInstanceType}, 137, actNone, 0}},
		"killed": {world{job: aJob(), jobSet: aJobSet(failed), pods: []corev1.Pod{aPod(0, ended(137, "Error", 9, nil))}},
			want{StateFailed, ReasonNonZeroExit, []string{"137"}, 137, actNone, 0}},
		"timeout": {world{job: aJob(), jobSet: aJobSet(failed), pods: []corev1.Pod{aPod(0, ended(124, "Error", 9, word("Running", "Timeout", 124)))}},
			want{StateFailed, ReasonTimeout, nil, 124, actNone, 0}},
		"input missing": {world{job: aJob(), jobSet: aJobSet(failed), pods: []corev1.Pod{aPod(0, ended(125, "Error", 9, word("Preparing", "InputDownloadFailed", 125)))}},
			want{StateFailed, "InputDownloadFailed", []string{"said"}, -1, actNone, 0}},
		"claimed": {world{job: aJob(), jobSet: aJobSet(failed), pods: []corev1.Pod{aPod(0, ended(125, "Error", 9, word("Preparing", "AlreadyClaimed", 125)))}},
			want{StateFailed, "AlreadyClaimed", nil, -1, actNone, 0}},
		"no shell": {world{job: aJob(), jobSet: aJobSet(failed), pods: []corev1.Pod{aPod(0, ended(125, "Error", 9, word("Preparing", "CommandNotStarted", 125)))}},
			want{StateFailed, ReasonStartError, nil, -1, actNone, 0}},
		"claim not possible": {world{job: aJob(), jobSet: aJobSet(failed), pods: []corev1.Pod{aPod(0, ended(125, "Error", 9, word("Preparing", "", 125)))}},
			want{StateFailed, ReasonStartError, nil, -1, actNone, 0}},
		"start error": {world{job: aJob(), jobSet: aJobSet(failed), pods: []corev1.Pod{aPod(0, ended(128, "StartError", 9, nil))}},
			want{StateFailed, ReasonStartError, []string{"registry.example/py:1"}, 128, actNone, 0}},
		"init failed": {world{job: aJob(), jobSet: aJobSet(failed), pods: []corev1.Pod{aPod(0, onNode, func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodFailed
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: initContainer, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Message: "disk"}}}}
		})}}, want{StateFailed, ReasonStartError, []string{"installed", "disk"}, -1, actNone, 0}},
		"evicted by the kubelet": {world{job: aJob(), jobSet: aJobSet(failed), pods: []corev1.Pod{aPod(0, onNode, func(p *corev1.Pod) {
			p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "Evicted", Message: "low on memory"}
		})}}, want{StateFailed, ReasonEvicted, []string{"low on memory"}, -1, actNone, 0}},
		"admission": {world{job: aJob(), jobSet: aJobSet(failed), pods: []corev1.Pod{aPod(0, onNode, func(p *corev1.Pod) {
			p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Reason: "OutOfcpu", Message: "no cpu"}
		})}}, want{StateFailed, "OutOfcpu", []string{"no cpu"}, -1, actNone, 0}},
		"pod deleted": {world{job: aJob(), jobSet: aJobSet(failed), pods: []corev1.Pod{aPod(0, ended(143, "Error", 9, word("Running", "Canceled", 143)), podDeleted)}},
			want{StateFailed, ReasonPodDeleted, []string{"pod-0"}, -1, actNone, 0}},
		"pod deleted and gone": {world{job: aJob(remembers("pod-0", podTerminating)), jobSet: aJobSet(failed), jobs: []batchv1.Job{failedJob(batchv1.JobReasonBackoffLimitExceeded, "b")}},
			want{StateFailed, ReasonPodDeleted, []string{"pod-0"}, -1, actNone, 0}},
		"deleted pod of a gang": {world{job: aJob(gangOf(2), remembers("pod-9", podTerminating)), jobSet: aJobSet(failed),
			pods: []corev1.Pod{aPod(1, ended(143, "Error", 9, word("Running", "Canceled", 143)))}},
			want{StateFailed, ReasonPodDeleted, []string{"pod-9"}, -1, actNone, 0}},
		"pods gone unseen": {world{job: aJob(), jobSet: aJobSet(failed), jobs: []batchv1.Job{failedJob(batchv1.JobReasonBackoffLimitExceeded, "b")}},
			want{StateFailed, ReasonPodDeleted, []string{"removed"}, -1, actNone, 0}},
		"node lost": {world{job: aJob(restarts(1), created), jobSet: aJobSet(failed, restarted(1)), pods: []corev1.Pod{aPod(0, attempt("1"), onNode, disrupted("DeletionByPodGC"), func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })}},
			want{StateFailed, ReasonNodeLost, []string{"node-1", "all 1 restarts are used up"}, -1, actNone, 0}},
		"node lost, no restart allowed": {world{job: aJob(), jobSet: aJobSet(failed), jobs: []batchv1.Job{failedJob(batchv1.JobReasonPodFailurePolicy, "Pod ml/x has condition")}},
			want{StateFailed, ReasonNodeLost, []string{"allows no restart"}, -1, actNone, 0}},
		"preempted": {world{job: aJob(), jobSet: aJobSet(failed), pods: []corev1.Pod{aPod(0, ended(143, "Error", 9, nil), disrupted("PreemptionByScheduler"))}},
			want{StateFailed, ReasonPreempted, []string{"priority"}, -1, actNone, 0}},
		"drained": {world{job: aJob(), jobSet: aJobSet(failed), pods: []corev1.Pod{aPod(0, ended(143, "Error", 9, nil), disrupted("EvictionByEvictionAPI"))}},
			want{StateFailed, ReasonEvicted, nil, -1, actNone, 0}},
		"job deadline": {world{job: aJob(), jobSet: aJobSet(failed), jobs: []batchv1.Job{failedJob(batchv1.JobReasonDeadlineExceeded, "d")}}, want{StateFailed, ReasonTimeout, nil, -1, actNone, 0}},
		"job failed":   {world{job: aJob(), jobSet: aJobSet(failed), jobs: []batchv1.Job{failedJob("Strange", "odd")}}, want{StateFailed, ReasonJobFailed, []string{"odd"}, -1, actNone, 0}},
		"nothing left": {world{job: aJob(), jobSet: aJobSet(failed)}, want{StateFailed, ReasonJobFailed, []string{"jobset says so"}, -1, actNone, 0}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			tt.w.now = t0.Add(100 * time.Second)
			before := tt.w.job.DeepCopy()
			d := decide(tt.w)
			if diff := cmp.Diff(before, tt.w.job); diff != "" {
				t.Errorf("decide changed its input:\n%s", diff)
			}
			checkDecision(t, d, tt.want)
			if terminal(d.status.State) {
				checkStays(t, tt.w, d)
			}
		})
	}
}

func checkDecision(t *testing.T, d decision, w want) {
	t.Helper()
	got := want{d.status.State, d.status.Reason, w.says, -1, d.action, d.again}
	if d.status.ExitCode != nil {
		got.exit = *d.status.ExitCode
	}
	if diff := cmp.Diff(w, got, cmp.AllowUnexported(want{})); diff != "" {
		t.Errorf("decision (-want +got):\n%s\nmessage: %s", diff, d.status.Message)
	}
	for _, s := range w.says {
		if !strings.Contains(d.status.Message, s) {
			t.Errorf("message %q lacks %q", d.status.Message, s)
		}
	}
}

// checkStays sees that a terminal state outlasts any later world, and has an end.
func checkStays(t *testing.T, w world, d decision) {
	t.Helper()
	if d.status.EndTime == nil {
		t.Error("terminal status has no end time")
	}
	w.job = w.job.DeepCopy()
	w.job.Status = d.status
	w.job.Spec.Job.Cancel = true
	for _, js := range []*jobset.JobSet{nil, aJobSet(), aJobSet(has(jobset.JobSetCompleted)), aJobSet(has(jobset.JobSetFailed))} {
		w.jobSet, w.pods, w.now = js, []corev1.Pod{aPod(0, running(true, 5))}, w.now.Add(time.Hour)
		if again := decide(w); cmp.Diff(d.status, again.status) != "" || again.action != actNone {
			t.Errorf("terminal status changed:\n%s", cmp.Diff(d.status, again.status))
		}
	}
}

func TestStatusRemembersPods(t *testing.T) {
	w := world{job: aJob(gangOf(2), created, remembers("old-1", podTerminating)), jobSet: aJobSet(), now: t0,
		pods: []corev1.Pod{aPod(1, running(true, 7)), aPod(0, running(true, 5), podDeleted)}}
	s := decide(w).status
	want := []v1alpha1.AmlJobPod{
		{Name: "pod-0", Node: "node-1", Rank: 0, Phase: podTerminating},
		{Name: "pod-1", Node: "node-1", Rank: 1, Phase: "Running"},
		{Name: "old-1", Phase: podTerminating},
	}
	if diff := cmp.Diff(want, s.Pods); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
	start := at(5)
	if diff := cmp.Diff(&start, s.StartTime); diff != "" {
		t.Errorf("start time (-want +got):\n%s", diff)
	}
	w.job = w.job.DeepCopy()
	w.job.Status = s
	w.jobSet, w.pods = aJobSet(restarted(1)), nil
	s = decide(w).status
	if s.Pods != nil || s.Attempt != 1 || s.State != StateQueued || !s.StartTime.Equal(&start) {
		t.Errorf("after a restart: %+v", s)
	}
}

func TestMessageIsBounded(t *testing.T) {
	var d decision
	world{}.explain(&d, "x", strings.Repeat("a", 2*maxMessage))
	if n := len(d.status.Message); n > maxMessage {
		t.Errorf("message has %d bytes", n)
	}
}

// TestOddTexts gives decide texts that nobody expects of a scheduler or a runtime.
func TestOddTexts(t *testing.T) {
	w := world{job: aJob(), itype: gpuType(), jobSet: aJobSet(has(jobset.JobSetFailed)), now: t0}
	for _, s := range []string{"", "Insufficient ", "1 Insufficient cpu, 2 Too many pods.", "\x00\xff", `{"phase":1}`, `{"phase":"Running","exitCode":1e99}`,
		`{"phase":"Running","exitCode":-1,"code":"\u0000"}`, "[]", "null", strings.Repeat("{", 5000)} {
		if msg := w.itype.Unschedulable(s, w.job.Spec.Job.InstanceCount); !strings.HasSuffix(msg, s) {
			t.Errorf("%q lacks the scheduler's text %q", msg, s)
		}
		p := aPod(0, ended(1, "Error", 9, nil))
		p.Status.ContainerStatuses[0].State.Terminated.Message = s
		w.pods = []corev1.Pod{p}
		if d := decide(w); d.status.State != StateFailed || d.status.Reason == "" {
			t.Errorf("%q: decision %+v", s, d)
		}
	}
}
