package relayserver

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// followed is what a follower knows of one pod.
type followed struct {
	name string
	// instance is the id of the container whose log is read or was; a container that starts again has another.
	instance string
	// reading says that its log is being read, whole that it was read to its end.
	reading, whole bool
	// said is the last event that was told of the pod.
	said string
	// missed counts the looks at which the pod was gone but its log went on.
	missed int
}

// Kinds of action.
const (
	actTell   = "tell" // an event
	actRead   = "read" // a log, from where it was read to
	actCut    = "cut"  // end reading: its node does not
	maxMissed = 3
)

// action is what to do next about a pod; one without a pod is of the deployment.
type action struct {
	kind  string
	uid   types.UID
	pod   string
	event string
	// late says that the pod came after the first look, so that its log is read from the beginning.
	late bool
}

// plan compares the pods that there are, the newest first, with those that are known, and remembers in known what it has decided. The
// newest maxLogPods are followed; what is read of older ones goes on.
// What is said of an end comes after the last line: while a log is still being read it waits.
func plan(known map[types.UID]*followed, pods []corev1.Pod, container string, first bool) []action {
	var out []action
	there := map[types.UID]bool{}
	for _, pod := range pods {
		there[pod.UID] = true
	}
	for _, pod := range slices.Backward(pods[:min(len(pods), maxLogPods)]) { // in the order in which they came
		k := known[pod.UID]
		if k == nil {
			k = &followed{name: pod.Name}
			known[pod.UID] = k
			if !first {
				out = append(out, action{kind: actTell, pod: pod.Name, event: "joined"})
			}
		}
		status := statusOf(&pod, container)
		if status.ContainerID != "" && status.ContainerID != k.instance && !k.reading {
			k.instance, k.whole, k.said = status.ContainerID, false, ""
		}
		if k.instance != "" && !k.reading && (!k.whole || status.State.Running != nil) {
			k.reading, k.whole = true, false
			out = append(out, action{kind: actRead, uid: pod.UID, pod: pod.Name, late: !first})
			continue
		}
		if event := eventOf(&pod, status); event != "" && event != k.said && !k.reading {
			k.said = event
			out = append(out, action{kind: actTell, pod: pod.Name, event: event})
		}
	}
	return append(out, gone(known, there)...)
}

// gone forgets the pods that are not there any more.
func gone(known map[types.UID]*followed, there map[types.UID]bool) []action {
	var out []action
	for uid, k := range known {
		switch {
		case there[uid]:
			k.missed = 0
		case !k.reading:
			delete(known, uid)
			out = append(out, action{kind: actTell, pod: k.name, event: "is gone"})
		default:
			if k.missed++; k.missed == maxMissed {
				out = append(out, action{kind: actCut, uid: uid})
			}
		}
	}
	slices.SortFunc(out, func(a, b action) int { return cmp.Compare(a.pod, b.pod) })
	return out
}

// statusOf is the status of a container, the zero one as long as there is none.
func statusOf(pod *corev1.Pod, container string) corev1.ContainerStatus {
	for _, s := range slices.Concat(pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses) {
		if s.Name == container {
			return s
		}
	}
	return corev1.ContainerStatus{}
}

// eventOf is what there is to say of a container that writes nothing, "" when it runs or starts.
func eventOf(pod *corev1.Pod, s corev1.ContainerStatus) string {
	switch w, t := s.State.Waiting, s.State.Terminated; {
	case t != nil && t.Reason != "":
		return fmt.Sprintf("container ended with exit code %d (%s)", t.ExitCode, t.Reason)
	case t != nil:
		return fmt.Sprintf("container ended with exit code %d", t.ExitCode)
	case w != nil && w.Reason != "" && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing":
		return trim("container waits: " + w.Reason + colon(w.Message))
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return trim("pod waits for a node" + colon(c.Message))
		}
	}
	return ""
}

func colon(message string) string {
	if message == "" {
		return ""
	}
	return ": " + message
}

// trim bounds the text of an event.
func trim(event string) string {
	if len(event) <= maxEvent {
		return event
	}
	return strings.ToValidUTF8(event[:maxEvent], "") + " …"
}
