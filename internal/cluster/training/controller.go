package training

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	jobset "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/workload"
)

// AddToScheme registers the kinds the operator reads and writes, besides Kubernetes' own.
func AddToScheme(s *runtime.Scheme) error {
	if err := v1alpha1.AddToScheme(s); err != nil {
		return err
	}
	return jobset.AddToScheme(s)
}

// CacheOptions keeps only objects of jobs in the manager's cache, so that its memory follows the number of jobs and not of pods
// in the cluster.
func CacheOptions() cache.Options {
	ours, err := labels.Parse(LabelJobID)
	if err != nil {
		panic(err) // a constant
	}
	return cache.Options{ByObject: map[client.Object]cache.ByObject{
		&corev1.Pod{}: {Label: ours}, &batchv1.Job{}: {Label: ours}, &jobset.JobSet{}: {Label: ours}, &corev1.Node{}: {Transform: slimNode},
		&corev1.PersistentVolumeClaim{}: {Label: labels.SelectorFromSet(labels.Set{labelClaim: "true"})},
	}, DefaultTransform: cache.TransformStripManagedFields()}
}

// What fails is tried again after firstRetry, then after twice as long, up to maxRetry.
const (
	firstRetry = 50 * time.Millisecond
	maxRetry   = 10 * time.Second
)

// Add registers the controller with a manager whose scheme has AddToScheme's kinds.
func Add(mgr manager.Manager, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	r := &reconciler{cfg: cfg, client: mgr.GetClient(), live: mgr.GetAPIReader()}
	return ctrl.NewControllerManagedBy(mgr).
		Named("amljob").
		For(&v1alpha1.AmlJob{}).
		Owns(&jobset.JobSet{}).
		Watches(&batchv1.Job{}, handler.EnqueueRequestsFromMapFunc(byLabel)).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(byLabel)).
		Watches(&v1alpha1.InstanceType{}, handler.EnqueueRequestsFromMapFunc(r.waitingFor)).
		Watches(&corev1.PersistentVolumeClaim{}, handler.EnqueueRequestsFromMapFunc(r.waitingIn)).
		Watches(&corev1.Node{}, handler.EnqueueRequestsFromMapFunc(r.onNode), builder.WithPredicates(readinessChanges())).
		WithOptions(controller.Options{MaxConcurrentReconciles: cfg.Workers,
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, maxRetry)}).
		Complete(r)
}

// byLabel finds the AmlJob that a Job or pod belongs to.
func byLabel(_ context.Context, o client.Object) []reconcile.Request {
	id := o.GetLabels()[LabelJobID]
	if id == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: id}}}
}

type reconciler struct {
	cfg    Config
	client client.Client
	// live reads from the API server itself.
	live client.Reader
}

// waitingFor finds the jobs that an instance type keeps waiting.
func (r *reconciler) waitingFor(ctx context.Context, o client.Object) []reconcile.Request {
	return r.notStarted(ctx, func(j *v1alpha1.AmlJob) bool { return instanceTypeName(j) == o.GetName() })
}

// waitingIn finds the jobs that a claim of their namespace keeps waiting.
func (r *reconciler) waitingIn(ctx context.Context, o client.Object) []reconcile.Request {
	return r.notStarted(ctx, func(j *v1alpha1.AmlJob) bool { return j.Status.Reason == ReasonInvalidVolume }, client.InNamespace(o.GetNamespace()))
}

func (r *reconciler) notStarted(ctx context.Context, by func(*v1alpha1.AmlJob) bool, in ...client.ListOption) []reconcile.Request {
	var jobs v1alpha1.AmlJobList
	if err := r.client.List(ctx, &jobs, in...); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "listing jobs that wait")
		return nil
	}
	var out []reconcile.Request
	for i := range jobs.Items {
		if j := &jobs.Items[i]; !j.Status.JobSetCreated && !terminal(j.Status.State) && by(j) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(j)})
		}
	}
	return out
}

// Reconcile observes, decides, acts and writes the status at most once.
func (r *reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	w, err := r.observe(ctx, req.NamespacedName)
	if err != nil {
		return reconcile.Result{}, err
	}
	if w.job == nil {
		return r.bury(ctx, req.NamespacedName)
	}
	d := decide(w)
	actErr := r.act(ctx, w, &d)
	if err := r.writeStatus(ctx, w.job, d); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: d.again}, actErr
}

func (r *reconciler) act(ctx context.Context, w world, d *decision) error {
	for _, f := range d.forsaken {
		if err := r.giveUp(ctx, f); err != nil {
			return err
		}
	}
	switch d.action {
	case actCreate:
		return r.create(ctx, w, d)
	case actDelete:
		err := r.client.Delete(ctx, w.jobSet, client.PropagationPolicy("Foreground"), client.Preconditions{UID: &w.jobSet.UID})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting JobSet %s/%s: %w", w.jobSet.Namespace, w.jobSet.Name, err)
		}
	}
	return nil
}

// create makes the job's objects. What is wrong with the job itself ends it; what the cluster refuses for now is told as
// the reason for waiting, and tried again.
func (r *reconciler) create(ctx context.Context, w world, d *decision) error {
	objs, err := render(w.job, *w.itype, w.around, r.cfg)
	if err != nil {
		w.end(d, verdict{state: StateFailed, reason: ReasonInvalidJob, message: err.Error()})
		return nil
	}
	for _, o := range objs {
		err := r.client.Create(ctx, o)
		switch {
		case err == nil || apierrors.IsAlreadyExists(err):
			continue
		case apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
			w.end(d, verdict{state: StateFailed, reason: ReasonInvalidJob, message: err.Error()})
			return nil
		case apierrors.IsForbidden(err):
			w.explain(d, ReasonForbidden, fmt.Sprintf("the cluster refuses the job in namespace %s: %s", w.job.Namespace, err))
		default:
			w.explain(d, ReasonPodPending, fmt.Sprintf("the job cannot be started yet: %s", err))
		}
		return fmt.Errorf("creating %T %s/%s: %w", o, o.GetNamespace(), o.GetName(), err)
	}
	d.status.JobSetCreated = true
	return nil
}

func (r *reconciler) writeStatus(ctx context.Context, job *v1alpha1.AmlJob, d decision) error {
	out := job.DeepCopy()
	out.Status = d.status
	return workload.WriteStatus(ctx, r.client, job, out)
}
