package inference

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/workload"
)

// pullPatience is how long an image may be missing before the deployment counts as failed; quotaPatience the same for room in a quota.
// Nodes may be added until startGrace is over.
const (
	pullPatience  = 3 * time.Minute
	quotaPatience = time.Minute
	// crashes are how often a container may end before that counts as its manner: what a script does wrong it does again.
	crashes       = 3
	scriptCrashes = 2
)

// podProblem says why one pod does not serve.
func (w world) podProblem(p corev1.Pod) problem {
	age := w.now.Sub(unready(p))
	if q, is := w.unscheduled(p, age); is {
		return q
	}
	for _, cs := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if q, is := w.cannotStart(p, cs, age); is {
			return q
		}
		if q, is := w.ended(p, cs); is {
			return q
		}
	}
	q := problem{message: fmt.Sprintf("pod %s %s", p.Name, doing(p))}
	if e := w.warning(p.Name); e != nil {
		q.message += fmt.Sprintf("; the last warning is %s: %s", e.Reason, e.Message)
	}
	if age > startGrace {
		q.reason, q.fatal = ReasonNotReady, true
		q.message = fmt.Sprintf("pod %s has not been ready for %s: it %s", p.Name, startGrace, strings.TrimPrefix(q.message, "pod "+p.Name+" "))
	}
	return q
}

// doing is how far a pod is in which nothing has failed.
func doing(p corev1.Pod) string {
	for _, cs := range p.Status.InitContainerStatuses {
		if cs.State.Running != nil && cs.Name == v1alpha1.FetchContainer {
			return "is fetching model and code"
		}
	}
	for _, cs := range p.Status.ContainerStatuses {
		if cs.State.Running != nil {
			return "runs and does not answer its probes yet"
		}
	}
	return fmt.Sprintf("is being started on node %s", p.Spec.NodeName)
}

func (w world) unscheduled(p corev1.Pod, age time.Duration) (problem, bool) {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return problem{ReasonUnschedulable, w.itype.Unschedulable(c.Message, w.replicas()), age > startGrace}, true
		}
	}
	return problem{}, false
}

// cannotStart tells of a container that the kubelet cannot make.
func (w world) cannotStart(p corev1.Pod, cs corev1.ContainerStatus, age time.Duration) (problem, bool) {
	wait := cs.State.Waiting
	if wait == nil {
		return problem{}, false
	}
	switch {
	case slices.Contains(workload.PullReasons, wait.Reason):
		return problem{ReasonImagePull, fmt.Sprintf("container %s of pod %s: image %s cannot be pulled on node %s (%s): %s. %s", cs.Name, p.Name, workload.ImageOf(p, cs), p.Spec.NodeName,
			wait.Reason, cmp.Or(wait.Message, "the node gave no details"), workload.PullAdvice(p, wait.Message, "update the deployment")),
			age > pullPatience || wait.Reason == "InvalidImageName"}, true
	case wait.Reason == "CreateContainerConfigError" || wait.Reason == "CreateContainerError" || wait.Reason == "RunContainerError":
		return problem{ReasonCrash, fmt.Sprintf("container %s of pod %s cannot be made (%s): %s", cs.Name, p.Name, wait.Reason, wait.Message), age > pullPatience}, true
	}
	return problem{}, false
}

// ended tells of a container that ended, with what it said.
func (w world) ended(p corev1.Pod, cs corev1.ContainerStatus) (problem, bool) {
	t := cs.State.Terminated
	if t == nil {
		t = cs.LastTerminationState.Terminated
	}
	init := cs.Name == v1alpha1.FetchContainer
	if t == nil || init && t.ExitCode == 0 {
		return problem{}, false
	}
	ends := cs.RestartCount
	if cs.State.Terminated != nil {
		ends++
	}
	said := strings.TrimSpace(t.Message)
	q := problem{reason: ReasonCrash, fatal: ends >= crashes}
	var r commonruntime.Result
	if json.Unmarshal([]byte(t.Message), &r) == nil && r.Code != "" {
		said = r.Message
		q.fatal = ends >= scriptCrashes
		if strings.HasPrefix(r.Code, "UserScript") {
			q.reason = r.Code
		}
	}
	if t.Reason == "OOMKilled" {
		q.reason, q.fatal = ReasonOutOfMemory, ends >= scriptCrashes
		limit := w.resources.Limits[corev1.ResourceMemory]
		q.message = fmt.Sprintf("container %s of pod %s used more memory than its limit, %s, and was killed; raise resources.limits.memory or choose an instance type with more", cs.Name, p.Name, limit.String())
		return q, true
	}
	q.message = fmt.Sprintf("container %s of pod %s ended with exit code %d (%d time(s))", cs.Name, p.Name, t.ExitCode, ends)
	if said != "" {
		q.message += ": " + said
	}
	return q, true
}

// notMade says why pods are missing, by the Deployment's own word.
func (w world) notMade() problem {
	if w.deployment == nil {
		return problem{}
	}
	for _, c := range w.deployment.Status.Conditions {
		if c.Type != appsv1.DeploymentReplicaFailure || c.Status != corev1.ConditionTrue {
			continue
		}
		if strings.Contains(c.Message, "quota") {
			return problem{ReasonQuota, fmt.Sprintf("namespace %s has no quota left for the deployment's pods: %s", w.od.Namespace, c.Message), w.now.Sub(c.LastTransitionTime.Time) > quotaPatience}
		}
		return problem{ReasonInvalid, fmt.Sprintf("the cluster refuses the deployment's pods in namespace %s: %s", w.od.Namespace, c.Message), true}
	}
	return problem{}
}

// warning is the newest warning about a pod that is slow to start; nil when there is none.
func (w world) warning(pod string) *corev1.Event {
	var newest *corev1.Event
	for i, e := range w.events {
		if e.Type == corev1.EventTypeWarning && e.InvolvedObject.Name == pod && e.Reason != "Unhealthy" && (newest == nil || e.LastTimestamp.After(newest.LastTimestamp.Time)) {
			newest = &w.events[i]
		}
	}
	return newest
}
