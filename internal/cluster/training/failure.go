package training

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

// containerState is what is known of a pod's main container.
type containerState struct {
	started, finished *metav1.Time
	ready             bool
	end               *corev1.ContainerStateTerminated
	// result is nil when the runtime left none (it was killed, or never began).
	result *commonruntime.Result
}

// mainState is nil before the kubelet knows of the container.
func mainState(p corev1.Pod) *containerState {
	for _, cs := range p.Status.ContainerStatuses {
		if cs.Name != mainContainer {
			continue
		}
		switch {
		case cs.State.Running != nil:
			return &containerState{started: nonZero(cs.State.Running.StartedAt), ready: cs.Ready}
		case cs.State.Terminated != nil:
			t := cs.State.Terminated
			return &containerState{started: nonZero(t.StartedAt), finished: nonZero(t.FinishedAt), end: t, result: parseResult(t.Message)}
		}
		return &containerState{}
	}
	return nil
}

func nonZero(t metav1.Time) *metav1.Time {
	if t.IsZero() || t.Unix() == 0 { // the kubelet tells 1970 of a container that never began
		return nil
	}
	return &t
}

// parseResult reads a termination message; nil when it is not the runtime's.
func parseResult(s string) *commonruntime.Result {
	var r commonruntime.Result
	if json.Unmarshal([]byte(s), &r) != nil || r.Phase == "" {
		return nil
	}
	return &r
}

// failure says why a gang failed: what happened first, where a pod that was merely told to end counts last.
func (w world) failure(known []v1alpha1.AmlJobPod) verdict {
	var found []blamed
	for _, p := range w.current(w.jobSet.Status.Restarts) {
		if v, weight, ok := w.podFailure(p); ok {
			found = append(found, blamed{v, weight, finishTime(p)})
		}
	}
	if len(found) > 0 {
		slices.SortStableFunc(found, func(a, b blamed) int {
			return cmp.Or(cmp.Compare(a.weight, b.weight), a.at.Compare(b.at.Time))
		})
		if found[0].weight == 0 {
			return found[0].verdict
		}
	}
	if v, ok := deletedPod(known); ok {
		return v
	}
	if len(found) > 0 {
		return found[0].verdict
	}
	return w.failureWithoutPods()
}

// deletedPod blames a pod that was seen being deleted.
func deletedPod(known []v1alpha1.AmlJobPod) (verdict, bool) {
	for _, p := range known {
		if p.Phase == podTerminating {
			return verdict{state: StateFailed, reason: ReasonPodDeleted, message: podDeletedMessage(p.Name)}, true
		}
	}
	return verdict{}, false
}

func podDeletedMessage(pod string) string {
	return fmt.Sprintf("pod %s was deleted in the cluster while the job ran; the command is not run again on its own. Submit the job anew", pod)
}

type blamed struct {
	verdict
	// weight orders causes: 0 a cause of its own, 1 the pod was told to end.
	weight int
	at     metav1.Time
}

func finishTime(p corev1.Pod) metav1.Time {
	if m := mainState(p); m != nil && m.finished != nil {
		return *m.finished
	}
	return p.CreationTimestamp
}

// podFailure says why one pod failed; ok is false when it did not.
func (w world) podFailure(p corev1.Pod) (v verdict, weight int, ok bool) {
	if p.Status.Phase != corev1.PodFailed && !(p.DeletionTimestamp != nil && p.Status.Phase != corev1.PodSucceeded) {
		return v, 0, false
	}
	v.state = StateFailed
	if reason := disruption(p); reason != "" {
		v.reason, v.message = reason, w.disruptionMessage(p, reason)+w.restartsText()
		return v, 0, true
	}
	m := mainState(p)
	if m != nil && m.end != nil {
		code := m.end.ExitCode
		v.exitCode = &code
		if m.end.Reason == "OOMKilled" {
			v.reason, v.message = ReasonOOMKilled, w.oomMessage(p)
			return v, 0, true
		}
		if m.result != nil {
			return w.fromResult(p, *m.result, v)
		}
		v.reason, v.message = w.fromExit(p, m.end)
		return v, 0, true
	}
	v.reason, v.message = fromPod(p)
	return v, 0, true
}

// fromResult translates what the runtime left.
func (w world) fromResult(p corev1.Pod, r commonruntime.Result, v verdict) (verdict, int, bool) {
	code := int32(r.ExitCode)
	v.exitCode, v.message = &code, r.Message
	switch {
	case r.Code == "Canceled":
		v.reason = ReasonPodDeleted
		v.message, v.exitCode = podDeletedMessage(p.Name), nil
		return v, 1, true
	case r.Code == "CommandNotStarted":
		v.reason, v.exitCode = ReasonStartError, nil
	case r.Code != "":
		v.reason = r.Code
		if r.Code != ReasonTimeout {
			v.exitCode = nil // the code is the runtime's own, not the command's
		}
	case succeeded(&r):
		v.reason, v.exitCode, v.message = ReasonJobFailed, nil, lostExitMessage(p)
	case r.Phase == commonruntime.PhasePreparing:
		v.reason, v.exitCode = ReasonStartError, nil
	default:
		v.reason = ReasonNonZeroExit
	}
	return v, 0, true
}

// succeeded is a runtime's last word when all is done; anything less than that is another phase.
func succeeded(r *commonruntime.Result) bool {
	return r != nil && r.Phase == commonruntime.PhaseDone && r.ExitCode == 0
}

// allDone says whether every pod of the gang did its work to the end, by the word of the runtime in it. A node whose container runtime
// ends at the same moment loses the exit code and calls such a pod failed.
func (w world) allDone() bool {
	done := map[int32]bool{}
	for _, p := range w.current(w.jobSet.Status.Restarts) {
		if m := mainState(p); m != nil && succeeded(m.result) {
			done[rank(p)] = true
		}
	}
	return len(done) > 0 && len(done) == int(w.job.Spec.Job.InstanceCount)
}

func lostExitMessage(p corev1.Pod) string {
	return fmt.Sprintf("pod %s did its work to the end, but node %s lost its exit code, so that Kubernetes ended the job's other pods; was the node's container runtime started again? Submit the job anew",
		p.Name, p.Spec.NodeName)
}

// fromExit is for a container that ended without a word from the runtime.
func (w world) fromExit(p corev1.Pod, t *corev1.ContainerStateTerminated) (reason, message string) {
	switch t.Reason {
	case "StartError", "ContainerCannotRun", "RunContainerError":
		return ReasonStartError, fmt.Sprintf("the container could not be started from image %s: %s", w.job.Spec.Job.Image, t.Message)
	}
	if t.ExitCode == 137 {
		return ReasonNonZeroExit, fmt.Sprintf("pod %s was killed (exit code 137) on node %s without saying why; out of memory on the node is the usual cause", p.Name, p.Spec.NodeName)
	}
	return ReasonNonZeroExit, fmt.Sprintf("pod %s ended with exit code %d: %s", p.Name, t.ExitCode, cmp.Or(t.Message, t.Reason))
}

// fromPod is for a pod whose main container never ended by itself.
func fromPod(p corev1.Pod) (reason, message string) {
	for _, cs := range p.Status.InitContainerStatuses {
		if t := cs.State.Terminated; t != nil && t.ExitCode != 0 {
			return ReasonStartError, fmt.Sprintf("the runtime could not be installed in pod %s (exit code %d): %s", p.Name, t.ExitCode, cmp.Or(t.Message, t.Reason))
		}
	}
	if p.Status.Reason == "Evicted" {
		return ReasonEvicted, fmt.Sprintf("pod %s was evicted from node %s: %s", p.Name, p.Spec.NodeName, p.Status.Message)
	}
	if p.DeletionTimestamp != nil {
		return ReasonPodDeleted, podDeletedMessage(p.Name)
	}
	return cmp.Or(p.Status.Reason, ReasonJobFailed), fmt.Sprintf("pod %s failed on node %s: %s", p.Name, p.Spec.NodeName, cmp.Or(p.Status.Message, "the node gave no details"))
}

// failureWithoutPods is for a gang whose failed pods are gone.
func (w world) failureWithoutPods() verdict {
	v := verdict{state: StateFailed}
	for _, j := range w.jobs {
		for _, c := range j.Status.Conditions {
			if c.Type != batchv1.JobFailed || c.Status != corev1.ConditionTrue {
				continue
			}
			switch {
			case c.Reason == batchv1.JobReasonPodFailurePolicy:
				v.reason, v.message = ReasonNodeLost, c.Message+w.restartsText()
			case c.Reason == batchv1.JobReasonDeadlineExceeded:
				v.reason, v.message = ReasonTimeout, w.timeoutMessage()
			case c.Reason == batchv1.JobReasonBackoffLimitExceeded:
				v.reason = ReasonPodDeleted
				v.message = "a pod of the job failed and was removed from the cluster before its result could be read; see the job's logs"
			default:
				v.reason, v.message = ReasonJobFailed, c.Message
			}
			return v
		}
	}
	v.reason, v.message = ReasonJobFailed, "the job's JobSet failed, and neither a Job nor a pod of it is left to tell why"
	for _, c := range w.jobSet.Status.Conditions {
		if c.Type == "Failed" && c.Message != "" {
			v.message = c.Message
		}
	}
	return v
}

// disruption is the reason of a pod that Kubernetes took away, or "".
func disruption(p corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type != corev1.DisruptionTarget || c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Reason {
		case corev1.PodReasonPreemptionByScheduler:
			return ReasonPreempted
		case "EvictionByEvictionAPI", corev1.PodReasonTerminationByKubelet:
			return ReasonEvicted
		}
		return ReasonNodeLost
	}
	return ""
}

func (w world) disruptionMessage(p corev1.Pod, reason string) string {
	said := ""
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.DisruptionTarget {
			said = strings.TrimSuffix(c.Message, ".")
		}
	}
	switch reason {
	case ReasonPreempted:
		return fmt.Sprintf("pod %s was preempted on node %s by one of higher priority (%s)", p.Name, p.Spec.NodeName, said)
	case ReasonEvicted:
		return fmt.Sprintf("pod %s was evicted from node %s (%s)", p.Name, p.Spec.NodeName, said)
	}
	if p.Status.Reason == ReasonNodeLost { // the operator's own mark, see giveUp
		return p.Status.Message
	}
	if trouble, is := w.nodes[p.Spec.NodeName]; is {
		return troubleText(p, trouble)
	}
	return fmt.Sprintf("node %s of pod %s was lost (%s)", p.Spec.NodeName, p.Name, said)
}

func (w world) restartsText() string {
	if w.job.Spec.Job.MaxRestarts == 0 {
		return "; the job allows no restart"
	}
	return fmt.Sprintf("; all %d restarts are used up", w.job.Spec.Job.MaxRestarts)
}

func (w world) oomMessage(p corev1.Pod) string {
	limit, of := "its limit", instanceTypeName(w.job)
	for _, c := range p.Spec.Containers {
		if q, ok := c.Resources.Limits[corev1.ResourceMemory]; ok && c.Name == mainContainer {
			limit = q.String()
		}
	}
	return fmt.Sprintf("pod %s used more memory than %s, the limit of instance type %s, and was killed; use a type with more memory or make the job need less (what is in /dev/shm counts too)",
		p.Name, limit, of)
}
