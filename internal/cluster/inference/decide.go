package inference

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/workload"
)

// world is all that is decided upon.
type world struct {
	now time.Time
	od  *v1alpha1.OnlineDeployment
	// itype is nil when there is no such type.
	itype *workload.InstanceType
	// deployment is nil before it is made; beside are the objects besides it that there are.
	deployment *appsv1.Deployment
	beside     []client.Object
	pods       []corev1.Pod
	// events are of pods that are slow to start.
	events      []corev1.Event
	pullSecrets []corev1.LocalObjectReference
	// wanted is the autoscaler's word; nil when it has none.
	wanted *int32

	// resources of each pod, once the spec has been checked.
	resources corev1.ResourceRequirements
}

// decision is what to write.
type decision struct {
	status v1alpha1.OnlineDeploymentStatus
	// deployment and beside are what is to be made or changed.
	deployment *appsv1.Deployment
	beside     []client.Object
	// drop is what is to go.
	drop client.Object
	// awaits is what keeps pods of this spec from being made.
	awaits problem
	// scale sets only the number of pods.
	scale *int32
	// again asks to look again after so long, because time changes the answer; 0 is not to.
	again time.Duration
}

// lookAgain is how often a deployment is looked at that is not as it should be.
const lookAgain = 5 * time.Second

func decide(w world, cfg Config) decision {
	d := decision{status: v1alpha1.OnlineDeploymentStatus{ObservedGeneration: w.od.Generation, ReadyReplicas: w.ready(anyTemplate)}}
	if w.deployment != nil && w.deployment.Spec.Replicas != nil {
		d.status.Replicas = *w.deployment.Spec.Replicas
	}
	var wrong string
	if w.resources, wrong = check(w.od, w.itype); wrong != "" {
		d.fail(ReasonInvalid, wrong+w.oldServe(v1alpha1.DeploymentFailed))
		return d
	}
	replicas := w.replicas()
	d.status.Replicas = replicas
	if err := w.change(&d, replicas, cfg); err != nil {
		d.fail(ReasonInvalid, err.Error()+w.oldServe(v1alpha1.DeploymentFailed))
		return d
	}
	w.judge(&d)
	return d
}

func (d *decision) fail(reason, message string) {
	d.status.State, d.status.Reason, d.status.Message = v1alpha1.DeploymentFailed, reason, message
}

// succeeded says that all pods of a deployment, as it is written now, have been up.
func succeeded(od *v1alpha1.OnlineDeployment) bool {
	return od.Status.State == v1alpha1.DeploymentSucceeded && od.Status.ObservedGeneration == od.Generation
}

// replicas is how many pods there shall be. One at least, until the deployment has shown that it works.
func (w world) replicas() int32 {
	s := w.od.Spec.Scale
	n := s.Min
	switch {
	case !autoscaled(w.od):
	case w.wanted != nil:
		n = clamp(*w.wanted, s)
	case w.deployment != nil && w.deployment.Spec.Replicas != nil:
		n = clamp(*w.deployment.Spec.Replicas, s)
	}
	if !succeeded(w.od) {
		n = max(n, 1)
	}
	return n
}

// current says that the Deployment makes the pods that are written now.
func (w world) current() bool {
	return w.deployment != nil && w.deployment.Labels[labelTemplate] == template(w.od)
}

// change says which objects are to be written. A template is replaced only when what it was made from differs.
func (w world) change(d *decision, replicas int32, cfg Config) error {
	for _, want := range renderBeside(w.od, cfg) {
		there := slices.ContainsFunc(w.beside, func(o client.Object) bool {
			return kindOf(o) == kindOf(want) && o.GetAnnotations()[annotationSpec] == want.GetAnnotations()[annotationSpec]
		})
		if !there {
			d.beside = append(d.beside, want)
		}
	}
	if id := w.identity(); id != nil && w.od.Spec.Identity == nil {
		d.drop = id
	}
	if !w.current() {
		if d.awaits = w.awaitsIdentity(); d.awaits.message != "" {
			return nil
		}
		var err error
		d.deployment, err = w.renderDeployment(replicas, cfg)
		return err
	}
	if n := w.deployment.Spec.Replicas; n == nil || *n != replicas {
		d.scale = &replicas
	}
	return nil
}

// judge sets the state and why it is not better.
func (w world) judge(d *decision) {
	before := w.od.Status
	s := &d.status
	if w.settled(d) {
		s.State = v1alpha1.DeploymentSucceeded
		return
	}
	d.again = lookAgain
	p := d.awaits
	if p.message == "" {
		p = w.problem()
	}
	s.Reason, s.Message = p.reason, p.message
	switch {
	case succeeded(w.od): // it worked: what ails it now is told, and mended by Kubernetes
		s.State = v1alpha1.DeploymentSucceeded
	case p.fatal:
		s.State = v1alpha1.DeploymentFailed
	case w.ready(oldTemplate) > 0 || slices.Contains([]string{v1alpha1.DeploymentSucceeded, v1alpha1.DeploymentUpdating}, before.State):
		s.State = v1alpha1.DeploymentUpdating
	default:
		s.State = v1alpha1.DeploymentCreating
	}
	if s.Message == "" {
		s.Message = fmt.Sprintf("%d of %d pod(s) serve", w.ready(newTemplate), s.Replicas)
	}
	if s.State != v1alpha1.DeploymentSucceeded {
		s.Message += w.oldServe(s.State)
	}
}

// settled says that the pods that are wanted serve, and no others are left.
func (w world) settled(d *decision) bool {
	if d.deployment != nil || d.scale != nil || w.deployment == nil || d.awaits.message != "" {
		return false
	}
	st, n := w.deployment.Status, *w.deployment.Spec.Replicas
	return st.ObservedGeneration >= w.deployment.Generation && st.UpdatedReplicas == n && st.Replicas == n && st.AvailableReplicas == n
}

// oldServe tells of pods of the version before, which go on serving until those of this one are ready.
func (w world) oldServe(state string) string {
	n := w.ready(oldTemplate)
	if n == 0 {
		return ""
	}
	text := fmt.Sprintf(". The %d pod(s) of the version before go on serving", n)
	if state == v1alpha1.DeploymentFailed {
		text += "; update the deployment to try again"
	}
	return text
}

// Which pods are counted.
type which int

const (
	anyTemplate which = iota
	newTemplate
	oldTemplate
)

func (w world) of(t which) []corev1.Pod {
	now := template(w.od)
	return slices.DeleteFunc(slices.Clone(w.pods), func(p corev1.Pod) bool {
		return t != anyTemplate && (p.Labels[labelTemplate] == now) != (t == newTemplate)
	})
}

// ready counts pods that serve and are not told to end.
func (w world) ready(t which) int32 {
	var n int32
	for _, p := range w.of(t) {
		if p.DeletionTimestamp == nil && isReady(p) {
			n++
		}
	}
	return n
}

func isReady(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// unready is since when a pod does not serve: one that did before begins anew.
func unready(p corev1.Pod) time.Time {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status != corev1.ConditionTrue && c.LastTransitionTime.After(p.CreationTimestamp.Time) {
			return c.LastTransitionTime.Time
		}
	}
	return p.CreationTimestamp.Time
}

// problem is why a pod does not serve.
type problem struct {
	reason, message string
	// fatal says that waiting longer is not expected to help.
	fatal bool
}

// problem is the worst of the new pods'; zero when they only take their time.
func (w world) problem() problem {
	var worst problem
	for _, p := range w.of(newTemplate) {
		if p.DeletionTimestamp != nil || isReady(p) || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
			continue // what is over was replaced
		}
		if q := w.podProblem(p); rank(q) > rank(worst) {
			worst = q
		}
	}
	if q := w.notMade(); rank(q) > rank(worst) {
		return q
	}
	return worst
}

func rank(p problem) int {
	switch {
	case p.fatal:
		return 3
	case p.reason != "":
		return 2
	case p.message != "":
		return 1
	}
	return 0
}
