package training

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// A node that dies cannot say that its pods have ended, so Kubernetes keeps them as they were for ever, and with them the job:
//
//	node silent ─▶ Ready is Unknown ─▶ NodeLostAfter later Kubernetes tells the pods to end (DisruptionTarget) ─▶ nobody answers
//	               └ the status says so     └ the operator marks them Failed ─▶ the gang fails or starts again ─▶ it removes them
//
// What a job that is over leaves there is removed, too.
//
// The node may live on unseen, and the command with it. When it is heard of again its kubelet kills what is marked or gone; until
// then a pod of an attempt that is not the newest uploads no outputs (see the runtime).

// nodeTrouble is why a node is not ready.
type nodeTrouble struct {
	// silent is a node that the API server no longer hears of; another one tells itself that it is not ready.
	silent bool
	since  time.Time
	why    string
}

func troubleOf(n *corev1.Node) (nodeTrouble, bool) {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return nodeTrouble{silent: c.Status == corev1.ConditionUnknown, since: c.LastTransitionTime.Time, why: strings.TrimSuffix(c.Message, ".")}, true
		}
	}
	return nodeTrouble{}, false
}

// troubles are those of the nodes that the pods are on, by node.
func (r *reconciler) troubles(ctx context.Context, pods []corev1.Pod) (map[string]nodeTrouble, error) {
	out := map[string]nodeTrouble{}
	for _, p := range pods {
		var n corev1.Node
		err := r.client.Get(ctx, types.NamespacedName{Name: p.Spec.NodeName}, &n)
		if p.Spec.NodeName == "" || apierrors.IsNotFound(err) {
			continue // Kubernetes itself removes the pods of a node that was removed
		}
		if err != nil {
			return nil, fmt.Errorf("reading node %s: %w", p.Spec.NodeName, err)
		}
		if trouble, is := troubleOf(&n); is {
			out[n.Name] = trouble
		}
	}
	return out, nil
}

// forsaken is a pod that was told to end and whose node cannot say that it did.
type forsaken struct {
	pod corev1.Pod
	// remove takes it out of the cluster; otherwise it is marked as failed, for the reason why.
	remove bool
	why    string
}

// forsakenPods says what to do about them, and when to look again. Who was evicted from a silent node had NodeLostAfter to come
// back; any other has its grace period. A pod that failed stays, to tell why, until the job is over or starts again.
func (w world) forsakenPods() (out []forsaken, again time.Duration) {
	for _, p := range w.pods {
		trouble, is := w.nodes[p.Spec.NodeName]
		if !is || p.DeletionTimestamp == nil {
			continue
		}
		left := p.DeletionTimestamp.Sub(w.now)
		switch {
		case p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded:
			if w.superseded(p) && (p.DeletionGracePeriodSeconds == nil || *p.DeletionGracePeriodSeconds > 0) {
				out = append(out, forsaken{pod: p, remove: true})
			}
		case left <= 0 || trouble.silent && disruption(p) != "":
			out = append(out, forsaken{pod: p, why: troubleText(p, trouble)})
		case again == 0 || left < again:
			again = left
		}
	}
	return out, again
}

// superseded is a pod of an attempt that is over.
func (w world) superseded(p corev1.Pod) bool {
	return w.jobSet == nil || w.jobSet.DeletionTimestamp != nil || attemptOf(p) < w.jobSet.Status.Restarts
}

// giveUp does what the node of a forsaken pod cannot do.
func (r *reconciler) giveUp(ctx context.Context, f forsaken) error {
	if f.remove {
		err := r.client.Delete(ctx, &f.pod, client.GracePeriodSeconds(0), client.Preconditions{UID: &f.pod.UID})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("removing pod %s/%s of a lost node: %w", f.pod.Namespace, f.pod.Name, err)
		}
		return nil
	}
	out := f.pod.DeepCopy()
	out.Status.Phase, out.Status.Reason, out.Status.Message = corev1.PodFailed, ReasonNodeLost, f.why
	err := r.client.Status().Patch(ctx, out, client.MergeFromWithOptions(&f.pod, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("marking pod %s/%s of a lost node as failed: %w", f.pod.Namespace, f.pod.Name, err)
	}
	return nil
}

// bury removes what a job that is over, or gone, left on nodes that cannot say that it ended. The job starts no more pods, so nothing
// runs twice for it.
func (r *reconciler) bury(ctx context.Context, key types.NamespacedName) (reconcile.Result, error) {
	var pods corev1.PodList
	if err := r.client.List(ctx, &pods, client.InNamespace(key.Namespace), client.MatchingLabels{LabelJobID: key.Name}); err != nil {
		return reconcile.Result{}, fmt.Errorf("listing pods of %s: %w", key, err)
	}
	told := slices.DeleteFunc(pods.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp == nil })
	nodes, err := r.troubles(ctx, told)
	if err != nil {
		return reconcile.Result{}, err
	}
	left, again := leftBehind(told, nodes, r.cfg.Clock())
	for _, p := range left {
		if err := r.giveUp(ctx, forsaken{pod: p, remove: true}); err != nil {
			return reconcile.Result{}, err
		}
	}
	return reconcile.Result{RequeueAfter: again}, nil
}

// leftBehind are pods that were told to end, on nodes in trouble: those that have ended on a silent one, and those whose grace period
// is over. again is when the next one's is.
func leftBehind(pods []corev1.Pod, nodes map[string]nodeTrouble, now time.Time) (out []corev1.Pod, again time.Duration) {
	for _, p := range pods {
		trouble, is := nodes[p.Spec.NodeName]
		if !is || p.DeletionTimestamp == nil || p.DeletionGracePeriodSeconds != nil && *p.DeletionGracePeriodSeconds == 0 {
			continue
		}
		ended := p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
		left := p.DeletionTimestamp.Sub(now)
		switch {
		case left <= 0 || ended && trouble.silent:
			out = append(out, p)
		case again == 0 || left < again:
			again = left
		}
	}
	return out, again
}

// losing tells of a pod that Kubernetes takes away, or whose node is not ready.
func (w world) losing(p corev1.Pod) (gangState, bool) {
	reason := disruption(p)
	trouble, is := w.nodes[p.Spec.NodeName]
	if p.Status.Phase == corev1.PodSucceeded || reason == "" && (!is || p.Status.Phase == corev1.PodFailed) {
		return gangState{}, false
	}
	again := w.job.Spec.Job.MaxRestarts > w.jobSet.Status.Restarts
	g := gangState{state: StateRunning, reason: cmp.Or(reason, ReasonNodeLost)}
	if m := mainState(p); m == nil || m.started == nil {
		g.state = StateQueued
	}
	switch {
	case reason == "":
		g.message = troubleText(p, trouble) + "; if it does not come back soon, the job " + map[bool]string{true: "starts again on another node", false: "fails"}[again]
	case again:
		g.message = w.disruptionMessage(p, reason) + "; the job starts again when Kubernetes has confirmed that the pod ended"
	default:
		g.message = w.disruptionMessage(p, reason) + w.restartsText()
	}
	return g, true
}

func troubleText(p corev1.Pod, t nodeTrouble) string {
	return fmt.Sprintf("node %s of pod %s is not ready since %s (%s)", p.Spec.NodeName, p.Name, t.since.UTC().Format("2006-01-02 15:04:05 UTC"), t.why)
}

// lostTolerations make Kubernetes tell a pod to end so long after its node was last heard of; an instance type may tolerate it itself.
func lostTolerations(own []corev1.Toleration, after time.Duration) []corev1.Toleration {
	var out []corev1.Toleration
	for _, key := range []string{corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable} {
		tolerated := func(t corev1.Toleration) bool {
			return (t.Key == key || t.Key == "" && t.Operator == corev1.TolerationOpExists) && (t.Effect == "" || t.Effect == corev1.TaintEffectNoExecute)
		}
		if !slices.ContainsFunc(own, tolerated) {
			seconds := int64(after / time.Second)
			out = append(out, corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds})
		}
	}
	return out
}

// onNode finds the jobs that have pods on a node.
func (r *reconciler) onNode(ctx context.Context, o client.Object) []reconcile.Request {
	var pods corev1.PodList
	if err := r.client.List(ctx, &pods); err != nil { // of the cache, which holds those of jobs only
		ctrl.LoggerFrom(ctx).Error(err, "listing the pods of a node", "node", o.GetName())
		return nil
	}
	var out []reconcile.Request
	for i := range pods.Items {
		if pods.Items[i].Spec.NodeName == o.GetName() {
			out = append(out, byLabel(ctx, &pods.Items[i])...)
		}
	}
	return out
}

// readinessChanges are the only changes of a node that matter to jobs.
func readinessChanges() predicate.Predicate {
	return predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			a, aIs := e.ObjectOld.(*corev1.Node)
			b, bIs := e.ObjectNew.(*corev1.Node)
			if !aIs || !bIs {
				return false
			}
			before, wasIn := troubleOf(a)
			now, isIn := troubleOf(b)
			return wasIn != isIn || before != now
		},
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
}

// slimNode keeps of a cached node what is read of it.
func slimNode(o any) (any, error) {
	n, is := o.(*corev1.Node)
	if !is {
		return o, nil
	}
	return &corev1.Node{TypeMeta: n.TypeMeta, ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion},
		Status: corev1.NodeStatus{Conditions: n.Status.Conditions}}, nil
}
