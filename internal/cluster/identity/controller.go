package identity

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/workload"
)

// lookAgain is how often an Identity is looked at whose account is somebody else's, as no event tells when that goes.
const lookAgain = 10 * time.Second

// Add registers the controller with a manager whose scheme has the kinds of v1alpha1.
func Add(mgr manager.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).Named("identity").For(&v1alpha1.Identity{}).Owns(&corev1.ServiceAccount{}).
		Complete(&reconciler{client: mgr.GetClient(), live: mgr.GetAPIReader()})
}

type reconciler struct {
	client client.Client
	// live reads from the API server itself: the cache lacks accounts that are not ours.
	live client.Reader
}

// Reconcile observes, decides, acts and writes the status at most once.
func (r *reconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	var id v1alpha1.Identity
	if err := r.client.Get(ctx, req.NamespacedName, &id); err != nil || id.DeletionTimestamp != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err) // its account goes with it
	}
	account, err := r.account(ctx, req)
	if err != nil {
		return reconcile.Result{}, err
	}
	d := decide(&id, account)
	if d.make != nil {
		if err := r.client.Create(ctx, d.make); err != nil {
			return reconcile.Result{}, fmt.Errorf("making ServiceAccount %s: %w", req, err)
		}
		d = decide(&id, d.make)
	}
	changed := id.DeepCopy()
	changed.Status = d.status
	return reconcile.Result{RequeueAfter: d.again}, workload.WriteStatus(ctx, r.client, &id, changed)
}

// account is the ServiceAccount of a name; nil when there is none.
func (r *reconciler) account(ctx context.Context, req reconcile.Request) (*corev1.ServiceAccount, error) {
	var sa corev1.ServiceAccount
	err := r.live.Get(ctx, req.NamespacedName, &sa)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading ServiceAccount %s: %w", req, err)
	}
	return &sa, nil
}
