package inference

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/workload"
)

// CacheOptions keeps only objects of deployments, and the addresses of the routers, in the manager's cache.
func CacheOptions(routerNamespace string) cache.Options {
	ours, err := labels.Parse(v1alpha1.LabelDeployment)
	if err != nil {
		panic(err) // a constant
	}
	by := map[client.Object]cache.ByObject{
		&corev1.Pod{}: {Label: ours}, &appsv1.Deployment{}: {Label: ours},
		&discoveryv1.EndpointSlice{}: {Namespaces: map[string]cache.Config{routerNamespace: {}},
			Label: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: v1alpha1.RouterService})},
	}
	for _, o := range besideKinds() {
		by[o] = cache.ByObject{Label: ours}
	}
	return cache.Options{ByObject: by, DefaultTransform: cache.TransformStripManagedFields()}
}

// What fails is tried again after firstRetry, then after twice as long, up to maxRetry.
const (
	firstRetry = 50 * time.Millisecond
	maxRetry   = 10 * time.Second
)

// Add registers the controller and the autoscaler with a manager whose scheme has the kinds of v1alpha1.
func Add(mgr manager.Manager, cfg Config) error {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return err
	}
	r := &reconciler{cfg: cfg, client: mgr.GetClient(), live: mgr.GetAPIReader(), scaler: newAutoscaler(cfg, mgr.GetClient())}
	if err := mgr.Add(r.scaler); err != nil {
		return fmt.Errorf("adding the autoscaler: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("onlinedeployment").
		For(&v1alpha1.OnlineDeployment{}).
		Owns(&appsv1.Deployment{}).Owns(&corev1.Service{}).Owns(&networkingv1.NetworkPolicy{}).Owns(&policyv1.PodDisruptionBudget{}).Owns(&v1alpha1.Identity{}).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(byLabel)).
		Watches(&v1alpha1.InstanceType{}, handler.EnqueueRequestsFromMapFunc(r.ofType)).
		WatchesRawSource(source.Channel(r.scaler.changed, &handler.EnqueueRequestForObject{})).
		WithOptions(controller.Options{MaxConcurrentReconciles: cfg.Workers,
			RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, maxRetry)}).
		Complete(r)
}

// byLabel finds the OnlineDeployment that a pod belongs to.
func byLabel(_ context.Context, o client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetLabels()[v1alpha1.LabelDeployment]}}}
}

type reconciler struct {
	cfg    Config
	client client.Client
	// live reads from the API server itself.
	live   client.Reader
	scaler *autoscaler
}

// ofType finds the deployments of an instance type that are not up: one may have waited for it.
func (r *reconciler) ofType(ctx context.Context, o client.Object) []reconcile.Request {
	var all v1alpha1.OnlineDeploymentList
	if err := r.client.List(ctx, &all); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "listing deployments of an instance type")
		return nil
	}
	var out []reconcile.Request
	for i := range all.Items {
		if od := &all.Items[i]; typeName(od) == o.GetName() && !succeeded(od) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(od)})
		}
	}
	return out
}

// Reconcile observes, decides, acts and writes the status at most once.
func (r *reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	w, err := r.observe(ctx, req.NamespacedName)
	if err != nil || w.od == nil {
		return reconcile.Result{}, err
	}
	d := decide(w, r.cfg)
	actErr := r.act(ctx, w, &d)
	if err := r.writeStatus(ctx, w.od, d); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: d.again}, actErr
}

// act writes objects. What the cluster refuses for good fails the deployment; other errors are told, and tried again.
func (r *reconciler) act(ctx context.Context, w world, d *decision) error {
	err := r.write(ctx, w, *d)
	switch {
	case err == nil:
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		d.fail(ReasonNoNamespace, fmt.Sprintf("namespace %s of the compute is gone from the cluster, or going: %s", w.od.Namespace, err))
	case apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
		d.fail(ReasonInvalid, err.Error()+w.oldServe(v1alpha1.DeploymentFailed))
		return nil
	default:
		d.status.Message = fmt.Sprintf("the deployment's objects cannot be written yet: %s", err)
	}
	return err
}

func (r *reconciler) write(ctx context.Context, w world, d decision) error {
	for _, o := range d.beside {
		if err := r.put(ctx, o, besideKinds()); err != nil {
			return err
		}
	}
	if d.drop != nil {
		if err := r.client.Delete(ctx, d.drop); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("deleting %T %s/%s: %w", d.drop, w.od.Namespace, w.od.Name, err)
		}
	}
	if d.deployment != nil {
		return r.put(ctx, d.deployment, []client.Object{&appsv1.Deployment{}})
	}
	if d.scale == nil {
		return nil
	}
	scaled := w.deployment.DeepCopy()
	scaled.Spec.Replicas = d.scale
	if err := r.client.Patch(ctx, scaled, client.MergeFrom(w.deployment)); err != nil {
		return fmt.Errorf("scaling Deployment %s/%s: %w", w.od.Namespace, w.od.Name, err)
	}
	return nil
}

// put makes an object, or gives the one of that name the same labels, annotations and spec.
func (r *reconciler) put(ctx context.Context, o client.Object, kinds []client.Object) error {
	err := r.client.Create(ctx, o.DeepCopyObject().(client.Object))
	if apierrors.IsAlreadyExists(err) {
		for _, old := range kinds {
			if kindOf(old) == kindOf(o) {
				err = r.change(ctx, o, old)
			}
		}
	}
	if err != nil {
		return fmt.Errorf("writing %T %s/%s: %w", o, o.GetNamespace(), o.GetName(), err)
	}
	return nil
}

func (r *reconciler) change(ctx context.Context, o, old client.Object) error {
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(o), old); err != nil { // the cache lacks what is not ours
		return err
	}
	if !ownedBy(old, o) {
		return apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("onlinedeployments").GroupResource(), o.GetName(), fmt.Errorf("a %T of that name belongs to somebody else", o))
	}
	next := old.DeepCopyObject().(client.Object)
	next.SetLabels(o.GetLabels())
	next.SetAnnotations(o.GetAnnotations())
	switch n := next.(type) {
	case *appsv1.Deployment:
		n.Spec = o.(*appsv1.Deployment).Spec
		n.Annotations = old.GetAnnotations()
	case *corev1.Service:
		n.Spec.Ports, n.Spec.Selector = o.(*corev1.Service).Spec.Ports, o.(*corev1.Service).Spec.Selector
	case *networkingv1.NetworkPolicy:
		n.Spec = o.(*networkingv1.NetworkPolicy).Spec
	case *policyv1.PodDisruptionBudget:
		n.Spec = o.(*policyv1.PodDisruptionBudget).Spec
	case *v1alpha1.Identity:
		n.Spec = o.(*v1alpha1.Identity).Spec
	}
	return r.client.Patch(ctx, next, client.MergeFrom(old))
}

// kindOf is the Go type: objects of the API server's answers do not say their kind.
func kindOf(o client.Object) string { return fmt.Sprintf("%T", o) }

func ownedBy(old, o client.Object) bool {
	for _, ref := range old.GetOwnerReferences() {
		if ref.UID == o.GetOwnerReferences()[0].UID {
			return true
		}
	}
	return false
}

func (r *reconciler) writeStatus(ctx context.Context, od *v1alpha1.OnlineDeployment, d decision) error {
	out := od.DeepCopy()
	out.Status = d.status
	return workload.WriteStatus(ctx, r.client, od, out)
}
