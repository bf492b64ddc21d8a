package training

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	jobset "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/workload"
)

// world is what decide looks at.
type world struct {
	job *v1alpha1.AmlJob
	// itype is nil when the job's instance type does not exist.
	itype *workload.InstanceType
	// around is read only before the job is started.
	around surroundings
	// jobSet is nil when there is none, as the API server itself says.
	jobSet *jobset.JobSet
	jobs   []batchv1.Job
	pods   []corev1.Pod
	// events are those of the job's Jobs and of its JobSet, read only while pods are missing, and those of pods that start slowly.
	events []corev1.Event
	// nodes are those of the pods that are not ready, by name.
	nodes map[string]nodeTrouble
	now   time.Time
}

// action is what has to be done besides writing the status.
type action int

const (
	actNone action = iota
	// actCreate makes the job's objects, the JobSet last.
	actCreate
	// actDelete asks the JobSet, and with it the pods, to end.
	actDelete
)

// decision is what decide says: the status to write, what to do, and when to look again (0: when something changes).
type decision struct {
	status v1alpha1.AmlJobStatus
	action action
	// forsaken are the pods that the operator ends itself.
	forsaken []forsaken
	again    time.Duration
}

// How soon to look again at what no watch tells of, and how long after its timeout a job may go on before the operator ends it.
const (
	eventPoll    = 2 * time.Second
	pullPoll     = 10 * time.Second // the end of a pull changes the pod, which is watched
	timeoutSlack = 2 * time.Minute
)

// decide says what state a job is in and what comes next. It is a pure function. A terminal state never changes.
func decide(w world) decision {
	d := decision{status: *w.job.Status.DeepCopy()}
	if terminal(d.status.State) {
		return d
	}
	if w.jobSet != nil {
		d.status.JobSetCreated = true
		if a := w.jobSet.Status.Restarts; a != d.status.Attempt {
			d.status.Attempt, d.status.State, d.status.Pods, d.status.RunningSince = a, StateQueued, nil, nil
		}
	}
	w.remember(&d.status)
	switch {
	case w.jobSet == nil && !d.status.JobSetCreated:
		w.begin(&d)
	case w.jobSet == nil:
		w.gone(&d)
	case condition(w.jobSet, jobset.JobSetCompleted) || condition(w.jobSet, jobset.JobSetFailed) && w.allDone():
		w.end(&d, w.success())
	case w.jobSet.DeletionTimestamp != nil: // its pods fail because they are told to end: that says nothing
		w.deleting(&d)
	case condition(w.jobSet, jobset.JobSetFailed):
		w.end(&d, w.failure(d.status.Pods))
	case w.job.Spec.Job.Cancel:
		w.explain(&d, ReasonCanceling, cancelingMessage)
		d.action = actDelete
	default:
		w.progress(&d)
	}
	if !terminal(d.status.State) {
		var again time.Duration
		d.forsaken, again = w.forsakenPods()
		d.lookAgain(again)
	}
	return d
}

// lookAgain makes d look again after so long, or sooner; 0 asks for nothing.
func (d *decision) lookAgain(after time.Duration) {
	if after > 0 && (d.again == 0 || after < d.again) {
		d.again = after
	}
}

// begin decides about a job that was not started yet.
func (w world) begin(d *decision) {
	if w.job.Spec.Job.Cancel {
		w.end(d, verdict{state: StateCanceled, reason: ReasonCanceled, message: "canceled before it was started"})
		return
	}
	d.status.State = StateQueued
	if w.itype == nil {
		w.explain(d, ReasonUnknownInstanceType, fmt.Sprintf(
			"instance type %q does not exist in this cluster; create an InstanceType of that name, or set resources.instance_type to one of `kubectl get instancetypes`",
			instanceTypeName(w.job)))
		return
	}
	if w.itype.Conflict != "" {
		w.explain(d, ReasonUnschedulable, w.itype.Conflict)
		return
	}
	if w.around.invalid != "" {
		w.explain(d, ReasonInvalidVolume, w.around.invalid)
		return
	}
	w.explain(d, ReasonPodPending, "waiting for pods to be made")
	d.action = actCreate
}

// gone decides about a job whose JobSet was made and is no more. It is never made again.
func (w world) gone(d *decision) {
	if len(w.pods) > 0 {
		w.explain(d, d.status.Reason, "waiting for the job's pods to end")
		return
	}
	switch {
	case w.job.Spec.Job.Cancel:
		w.end(d, verdict{state: StateCanceled, reason: ReasonCanceled, message: "canceled; all pods have ended"})
	case d.status.Reason == ReasonTimeout:
		w.end(d, verdict{state: StateFailed, reason: ReasonTimeout, message: w.timeoutMessage()})
	default:
		w.end(d, verdict{state: StateFailed, reason: ReasonJobSetDeleted,
			message: "the job's JobSet was deleted in the cluster after the job had started; the job is not started again, so that its command does not run twice. Submit it anew"})
	}
}

const cancelingMessage = "asked to end; a command has 30 s to stop, then its logs are uploaded"

func (w world) deleting(d *decision) {
	if w.job.Spec.Job.Cancel {
		w.explain(d, ReasonCanceling, cancelingMessage)
		return
	}
	w.explain(d, d.status.Reason, "the job's JobSet is being deleted")
}

// progress decides about a job whose gang is there.
func (w world) progress(d *decision) {
	if w.jobSet.Spec.Suspend != nil && *w.jobSet.Spec.Suspend || condition(w.jobSet, jobset.JobSetSuspended) {
		d.status.State = StateQueued
		w.explain(d, ReasonSuspended, "the job's JobSet is suspended: its queue has not admitted it yet")
		return
	}
	g := w.gang(d.status)
	d.status.State = g.state
	if g == (gangState{state: StateRunning}) && d.status.RunningSince == nil {
		d.status.RunningSince = &metav1.Time{Time: w.now}
	}
	if left, limited := w.timeLeft(d.status); limited {
		if left <= 0 && g.state != StateFinalizing {
			w.explain(d, ReasonTimeout, w.timeoutMessage())
			d.action = actDelete
			return
		}
		d.again = max(left, time.Second)
	}
	w.explain(d, g.reason, g.message)
	d.lookAgain(g.poll)
}

// timeLeft is how long until the operator itself ends the job, which it does only if the pods' runtimes did not. As theirs, its limit
// is for the commands of one attempt: what comes before them (pulls, inputs) and attempts that were lost do not count.
func (w world) timeLeft(s v1alpha1.AmlJobStatus) (time.Duration, bool) {
	limit := w.job.Spec.Job.TimeoutSeconds
	if limit <= 0 || s.RunningSince == nil {
		return 0, false
	}
	return s.RunningSince.Add(time.Duration(limit)*time.Second + timeoutSlack).Sub(w.now), true
}

func (w world) timeoutMessage() string {
	return fmt.Sprintf("the job ran longer than limits.timeout, %d s, and was ended; raise the limit or make the job shorter", w.job.Spec.Job.TimeoutSeconds)
}

// remember keeps in the status what is seen of pods now and may be gone later.
func (w world) remember(s *v1alpha1.AmlJobStatus) {
	pods := w.current(s.Attempt)
	for _, p := range pods {
		if t := mainState(p); t != nil && t.started != nil && (s.StartTime == nil || t.started.Before(s.StartTime)) {
			s.StartTime = t.started.DeepCopy()
		}
	}
	if len(pods) == 0 {
		return // what was known of them is told until there are others
	}
	old := s.Pods
	s.Pods = nil
	seen := map[string]bool{}
	for _, p := range pods {
		phase := string(p.Status.Phase)
		if p.DeletionTimestamp != nil && p.Status.Phase != corev1.PodSucceeded {
			phase = podTerminating
		}
		seen[p.Name] = true
		s.Pods = append(s.Pods, v1alpha1.AmlJobPod{Name: p.Name, Node: p.Spec.NodeName, Rank: rank(p), Phase: phase})
	}
	for _, p := range old { // a pod that was deleted may be why the gang fails
		if !seen[p.Name] && p.Phase == podTerminating {
			s.Pods = append(s.Pods, p)
		}
	}
}

// podTerminating is the phase told of a pod that is being deleted.
const podTerminating = "Terminating"

// verdict is how a job ended.
type verdict struct {
	state, reason, message string
	exitCode               *int32
}

// success is Completed, with a reason where a pod has something to say although its command succeeded (a log that is not whole).
func (w world) success() verdict {
	v := verdict{state: StateCompleted}
	for _, p := range w.pods {
		if c := mainState(p); c != nil && c.result != nil && c.result.Code != "" && c.result.ExitCode == 0 {
			v.reason, v.message = c.result.Code, c.result.Message
		}
	}
	return v
}

func (w world) end(d *decision, v verdict) {
	d.status.State, d.status.ExitCode = v.state, v.exitCode
	w.explain(d, v.reason, v.message)
	d.again = 0
	if d.status.JobSetCreated && d.status.StartTime == nil {
		d.status.StartTime = w.jobStart()
	}
	end := metav1.NewTime(w.now)
	if t := w.lastFinish(); t != nil {
		end = *t
	}
	d.status.EndTime = &end
	if v.state == StateCompleted {
		d.status.ExitCode = new(int32)
	}
}

// jobStart is when a job whose container states are lost began: not at all, if no pod of it ever ran.
func (w world) jobStart() *metav1.Time {
	for _, j := range w.jobs {
		if j.Status.Succeeded > 0 {
			return j.Status.StartTime
		}
	}
	return nil
}

func (w world) lastFinish() *metav1.Time {
	var last *metav1.Time
	for _, p := range w.pods {
		if t := mainState(p); t != nil && t.finished != nil && (last == nil || last.Before(t.finished)) {
			last = t.finished
		}
	}
	return last
}

func (w world) explain(d *decision, reason, message string) {
	d.status.Reason, d.status.Message = reason, clip(message)
}

// maxMessage bounds a status message, in bytes.
const maxMessage = 4096

func clip(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return s[:maxMessage-len("…")] + "…"
}

// current are the pods of one attempt, by rank, then by age.
func (w world) current(attempt int32) []corev1.Pod {
	var out []corev1.Pod
	for _, p := range w.pods {
		if attemptOf(p) == attempt {
			out = append(out, p)
		}
	}
	slices.SortStableFunc(out, func(a, b corev1.Pod) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// attemptOf is 0 for a pod that does not tell.
func attemptOf(p corev1.Pod) int32 {
	n, _ := strconv.ParseInt(p.Labels[labelAttempt], 10, 32)
	return int32(n)
}

func rank(p corev1.Pod) int32 {
	n, _ := strconv.ParseInt(p.Labels[LabelRank], 10, 32)
	return int32(n)
}

func condition(js *jobset.JobSet, t jobset.JobSetConditionType) bool {
	return meta.IsStatusConditionTrue(js.Status.Conditions, string(t))
}
