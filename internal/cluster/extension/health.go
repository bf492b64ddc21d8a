package extension

import (
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// crashes is how often a container may end before waiting any longer is pointless (the back-off is then over a minute).
const crashes = 4

// workloads is what a release runs in its namespace.
type workloads struct {
	deployments  []appsv1.Deployment
	statefulSets []appsv1.StatefulSet
	daemonSets   []appsv1.DaemonSet
	pods         []corev1.Pod
	// replicaSets and revisions tell which pods are of their workload's newest template.
	replicaSets []appsv1.ReplicaSet
	revisions   []appsv1.ControllerRevision
	// lost are the names of nodes that are not ready.
	lost map[string]bool
}

// problem is one reason why a release is not ready.
type problem struct {
	// pod and container are empty for a reason that is not a pod's.
	pod, container string
	reason         string
	message        string
	// fatal problems do not go away by waiting.
	fatal bool
	// logs says that the container's last output may tell more; previous that its last run is meant.
	logs, previous bool
}

// String says the problem in one line.
func (p problem) String() string {
	var b strings.Builder
	if p.pod != "" {
		fmt.Fprintf(&b, "pod %s: ", p.pod)
	}
	if p.container != "" {
		fmt.Fprintf(&b, "container %s: ", p.container)
	}
	b.WriteString(p.reason)
	if p.message != "" {
		b.WriteString(": " + p.message)
	}
	return b.String()
}

// unready lists what is not ready yet; an empty list means that everything is.
func (w workloads) unready() []string {
	var out []string
	for _, d := range w.deployments {
		want := replicas(d.Spec.Replicas)
		s := d.Status
		if s.ObservedGeneration < d.Generation || s.UpdatedReplicas < want || s.AvailableReplicas < want || s.Replicas > s.UpdatedReplicas {
			out = append(out, fmt.Sprintf("Deployment %s (%d of %d ready)", d.Name, min(s.AvailableReplicas, s.UpdatedReplicas), want))
		}
	}
	for _, d := range w.statefulSets {
		want := replicas(d.Spec.Replicas)
		s := d.Status
		if s.ObservedGeneration < d.Generation || s.UpdatedReplicas < want || s.ReadyReplicas < want {
			out = append(out, fmt.Sprintf("StatefulSet %s (%d of %d ready)", d.Name, min(s.ReadyReplicas, s.UpdatedReplicas), want))
		}
	}
	for _, d := range w.daemonSets {
		s := w.onLiveNodes(d)
		if s.ObservedGeneration < d.Generation || s.UpdatedNumberScheduled < s.DesiredNumberScheduled || s.NumberReady < s.DesiredNumberScheduled {
			out = append(out, fmt.Sprintf("DaemonSet %s (%d of %d ready)", d.Name, s.NumberReady, s.DesiredNumberScheduled))
		}
	}
	slices.Sort(out)
	return out
}

// onLiveNodes is a DaemonSet's status without its pods on lost nodes: nothing makes those ready, and they follow when their nodes are
// back. Where one has such a pod, those of the other nodes are counted here. A set that has no others is not spared: nothing shows that it works.
func (w workloads) onLiveNodes(d appsv1.DaemonSet) appsv1.DaemonSetStatus {
	pods, lost := w.ofLiveNodes(d.UID)
	if lost == 0 || len(pods) == 0 {
		return d.Status
	}
	live := appsv1.DaemonSetStatus{ObservedGeneration: d.Status.ObservedGeneration}
	found := int32(0)
	for _, p := range pods {
		found++
		if p.DeletionTimestamp == nil && w.current(p) {
			live.UpdatedNumberScheduled++
			if podReady(p) {
				live.NumberReady++
			}
		}
	}
	// Misscheduled pods are not among the desired, and may be those of the lost nodes; others that are not there end soon.
	lost = max(0, lost-d.Status.NumberMisscheduled)
	live.DesiredNumberScheduled = max(found, d.Status.DesiredNumberScheduled-lost)
	return live
}

// ofLiveNodes are a DaemonSet's pods but those on lost nodes; lost is how many such nodes have one.
func (w workloads) ofLiveNodes(set types.UID) (pods []corev1.Pod, lost int32) {
	nodes := map[string]bool{}
	for _, p := range w.pods {
		owner := metav1.GetControllerOf(&p)
		switch node := p.Spec.NodeName; {
		case owner == nil || owner.UID != set:
		case !w.lost[node]:
			pods = append(pods, p)
		case !nodes[node]:
			nodes[node] = true
			lost++
		}
	}
	return pods, lost
}

// spared reports whether nobody waits for a pod of a lost node.
func (w workloads) spared(p corev1.Pod) bool {
	owner := metav1.GetControllerOf(&p)
	if owner == nil || owner.Kind != "DaemonSet" {
		return false
	}
	others, _ := w.ofLiveNodes(owner.UID)
	return len(others) > 0
}

func podReady(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

// problems says why, most telling first.
func (w workloads) problems() []problem {
	var out []problem
	for _, d := range w.deployments {
		for _, c := range d.Status.Conditions {
			if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
				out = append(out, problem{reason: "Deployment " + d.Name + " cannot create pods", message: c.Message})
			}
		}
	}
	for _, p := range w.pods {
		switch {
		case p.DeletionTimestamp != nil || !w.current(p):
		case !w.lost[p.Spec.NodeName]:
			out = append(out, podProblems(p)...)
		case !w.spared(p):
			out = append(out, problem{pod: p.Namespace + "/" + p.Name, reason: "NodeNotReady", message: "node " + p.Spec.NodeName + " is not ready"})
		}
	}
	slices.SortStableFunc(out, func(a, b problem) int { return weight(b) - weight(a) })
	return out
}

func weight(p problem) int {
	switch {
	case p.fatal:
		return 3
	case p.logs || p.pod == "":
		return 2
	case p.container != "" && p.reason == reasonNotReady:
		return 0
	}
	return 1
}

const reasonNotReady = "running and not ready"

func podProblems(p corev1.Pod) []problem {
	name := p.Namespace + "/" + p.Name
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return []problem{{pod: name, reason: c.Reason, message: c.Message}}
		}
	}
	if p.Status.Phase == corev1.PodFailed && p.Status.Reason != "" {
		return []problem{{pod: name, reason: p.Status.Reason, message: p.Status.Message}}
	}
	var out []problem
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if q, bad := containerProblem(c); bad {
			q.pod, q.container = name, c.Name
			out = append(out, q)
		}
	}
	return out
}

func containerProblem(c corev1.ContainerStatus) (problem, bool) {
	ended := c.State.Terminated
	if ended == nil {
		ended = c.LastTerminationState.Terminated
	}
	crashed := ended != nil && ended.ExitCode != 0
	switch w := c.State.Waiting; {
	case crashed && !c.Ready:
		message := fmt.Sprintf("ended %d times, last with exit code %d", c.RestartCount+1, ended.ExitCode)
		if ended.Reason != "" && ended.Reason != "Error" {
			message += " (" + ended.Reason + ")"
		}
		if ended.Message != "" {
			message += ": " + oneLine(ended.Message)
		}
		return problem{reason: "crashes", message: message, fatal: c.RestartCount >= crashes, logs: true, previous: c.State.Terminated == nil}, true
	case w != nil && w.Reason != "" && w.Reason != "PodInitializing" && w.Reason != "ContainerCreating":
		fatal := w.Reason == "InvalidImageName" || w.Reason == "ErrImageNeverPull"
		return problem{reason: w.Reason, message: oneLine(w.Message), fatal: fatal}, true
	case c.State.Running != nil && !c.Ready:
		return problem{reason: reasonNotReady, logs: false}, true
	}
	return problem{}, false
}

// oneLine joins lines, so that a reason stays one sentence wherever it is shown.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
