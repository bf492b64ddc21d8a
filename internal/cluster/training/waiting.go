package training

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/workload"
)

// gangState is where a gang is as a whole: as far as its hindmost pod.
type gangState struct {
	state, reason, message string
	// poll asks to look again after so long, because no watch tells of a change; 0 is not to.
	poll time.Duration
}

// stages in order; a pod that has ended well does not hold the others back.
var stages = []string{StateQueued, StatePreparing, StateRunning, StateFinalizing}

func (w world) gang(prev v1alpha1.AmlJobStatus) gangState {
	pods := w.current(prev.Attempt)
	want := int(w.job.Spec.Job.InstanceCount)
	ranks := map[int32]bool{}
	for _, p := range pods {
		ranks[rank(p)] = true
	}
	if len(ranks) < want {
		g := w.missing(len(ranks), want)
		g.state = StateQueued
		if prev.Attempt > 0 && g.reason == ReasonPodPending {
			g.message = fmt.Sprintf("start %d of %d after a node was lost: %s", prev.Attempt+1, w.job.Spec.Job.MaxRestarts+1, g.message)
		}
		return g
	}
	least := gangState{state: StateFinalizing}
	for _, p := range pods {
		g := w.podStage(p, prev.State)
		if slices.Index(stages, g.state) < slices.Index(stages, least.state) || g.state == least.state && least.reason == "" {
			least = g
		}
	}
	return least
}

// podStage is where one pod is, with the reason if it waits.
func (w world) podStage(p corev1.Pod, prev string) gangState {
	if g, lost := w.losing(p); lost {
		return g
	}
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return gangState{state: StateFinalizing}
	}
	if p.Spec.NodeName == "" {
		return w.unscheduled(p)
	}
	if g, waits := w.containerWaits(p); waits {
		return g
	}
	m := mainState(p)
	switch {
	case m == nil || m.started == nil:
		return w.starting(p)
	case m.finished != nil:
		return gangState{state: StateFinalizing}
	case m.ready:
		return gangState{state: StateRunning}
	case prev == StateRunning || prev == StateFinalizing:
		return gangState{state: StateFinalizing}
	}
	return gangState{state: StatePreparing}
}

// starting tells of a pod that a node is about to start, with what the node complained of last (a Secret or volume that is missing …).
func (w world) starting(p corev1.Pod) gangState {
	if g, pulls := w.pulling(p); pulls {
		return g
	}
	g := gangState{state: StateQueued, reason: ReasonPodPending, poll: eventPoll,
		message: fmt.Sprintf("pod %s is being started on node %s (image %s)", p.Name, p.Spec.NodeName, w.job.Spec.Job.Image)}
	if e := w.newestWarning(func(e corev1.Event) bool { return e.InvolvedObject.Name == p.Name }); e != nil {
		g.message += fmt.Sprintf("; the last warning is %s: %s", e.Reason, e.Message)
	}
	return g
}

// pulling tells of an image that a node is fetching: a container of the pod has an event Pulling, none as new that ended it, and
// has not started.
func (w world) pulling(p corev1.Pod) (gangState, bool) {
	var pull *corev1.Event
	for i, e := range w.events {
		if e.InvolvedObject.Name == p.Name && e.Reason == "Pulling" && (pull == nil || !eventTime(e).Before(eventTime(*pull))) {
			pull = &w.events[i]
		}
	}
	if pull == nil {
		return gangState{}, false
	}
	ended := func(e corev1.Event) bool {
		return e.InvolvedObject.Name == p.Name && e.InvolvedObject.FieldPath == pull.InvolvedObject.FieldPath &&
			slices.Contains(pullEnds, e.Reason) && !eventTime(e).Before(eventTime(*pull))
	}
	container := containerOf(p, *pull)
	if container == nil || slices.ContainsFunc(w.events, ended) || started(p, container.Name) {
		return gangState{}, false
	}
	return gangState{state: StateQueued, reason: ReasonImagePull, poll: pullPoll, message: fmt.Sprintf(
		"image %s is being pulled on node %s (since %s)", container.Image, p.Spec.NodeName, age(w.now.Sub(eventTime(*pull))))}, true
}

// pullEnds are the events of a container after Pulling, whether the image came or not.
var pullEnds = []string{"Pulled", "Failed", "BackOff", "Created", "Started"}

// containerOf is the container that an event of a pod is about, by a field path such as spec.containers{main}; nil when it names none.
func containerOf(p corev1.Pod, e corev1.Event) *corev1.Container {
	_, rest, _ := strings.Cut(e.InvolvedObject.FieldPath, "{")
	name := strings.TrimSuffix(rest, "}")
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// started says whether a container runs or ran: then its image is there, whatever events say.
func started(p corev1.Pod, container string) bool {
	return slices.ContainsFunc(slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses), func(cs corev1.ContainerStatus) bool {
		return cs.Name == container && (cs.State.Running != nil || cs.State.Terminated != nil)
	})
}

// age is a duration in whole seconds, from a minute on in whole minutes, so that a status which tells it is seldom written anew.
func age(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%d s", max(0, int(d/time.Second)))
	}
	return fmt.Sprintf("%d min", int(d/time.Minute))
}

func (w world) newestWarning(about func(corev1.Event) bool) *corev1.Event {
	var newest *corev1.Event
	for i, e := range w.events {
		if e.Type == corev1.EventTypeWarning && about(e) && (newest == nil || eventTime(e).After(eventTime(*newest))) {
			newest = &w.events[i]
		}
	}
	return newest
}

// unscheduled says why no node was found yet.
func (w world) unscheduled(p corev1.Pod) gangState {
	for _, c := range p.Status.Conditions {
		if c.Type != corev1.PodScheduled || c.Status == corev1.ConditionTrue {
			continue
		}
		if c.Reason == corev1.PodReasonUnschedulable {
			return gangState{state: StateQueued, reason: ReasonUnschedulable, message: w.itype.Unschedulable(c.Message, w.job.Spec.Job.InstanceCount)}
		}
		if c.Message != "" {
			return gangState{state: StateQueued, reason: ReasonPodPending, message: c.Message}
		}
	}
	return gangState{state: StateQueued, reason: ReasonPodPending, message: fmt.Sprintf("pod %s waits for the scheduler", p.Name)}
}

// containerWaits tells of a container that cannot be started as things are.
func (w world) containerWaits(p corev1.Pod) (gangState, bool) {
	for _, cs := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		wait := cs.State.Waiting
		if wait == nil {
			continue
		}
		switch {
		case slices.Contains(workload.PullReasons, wait.Reason):
			return gangState{state: StateQueued, reason: ReasonImagePull, message: fmt.Sprintf("image %s cannot be pulled on node %s (%s): %s. %s",
				workload.ImageOf(p, cs), p.Spec.NodeName, wait.Reason, cmp.Or(wait.Message, "the node gave no details"), workload.PullAdvice(p, wait.Message, "submit the job again"))}, true
		case wait.Reason == "CreateContainerConfigError" || wait.Reason == "CreateContainerError" || wait.Reason == "RunContainerError":
			return gangState{state: StateQueued, reason: ReasonContainerConfig, message: fmt.Sprintf(
				"container %s of pod %s cannot be made (%s): %s", cs.Name, p.Name, wait.Reason, wait.Message)}, true
		}
	}
	return gangState{}, false
}

// missing says why there are fewer pods than wanted, from the newest warning about the Job or JobSet.
func (w world) missing(have, want int) gangState {
	g := gangState{reason: ReasonPodPending, message: fmt.Sprintf("waiting for pods: %d of %d made", have, want), poll: eventPoll}
	newest := w.newestWarning(func(e corev1.Event) bool { return e.InvolvedObject.Kind != "Pod" })
	if newest == nil {
		return g
	}
	switch text := newest.Message; {
	case strings.Contains(text, "exceeded quota") || strings.Contains(text, "failed quota"):
		g.reason = ReasonQuotaExceeded
		g.message = fmt.Sprintf("namespace %s has no quota left for the job's pods: %s", w.job.Namespace, text)
	case strings.Contains(text, "forbidden") || strings.Contains(text, "denied the request"):
		g.reason = ReasonForbidden
		g.message = fmt.Sprintf("the cluster refuses the job's pods in namespace %s: %s", w.job.Namespace, text)
	default:
		g.reason = ReasonPodCreation
		g.message = fmt.Sprintf("the job's pods cannot be made: %s", text)
	}
	return g
}

func eventTime(e corev1.Event) time.Time {
	if !e.LastTimestamp.IsZero() {
		return e.LastTimestamp.Time
	}
	if !e.EventTime.IsZero() {
		return e.EventTime.Time
	}
	return e.CreationTimestamp.Time
}
