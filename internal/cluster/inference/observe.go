package inference

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/workload"
)

// besideKinds are the kinds of a deployment's objects besides its Deployment.
func besideKinds() []client.Object {
	return []client.Object{&corev1.Service{}, &networkingv1.NetworkPolicy{}, &policyv1.PodDisruptionBudget{}, &v1alpha1.Identity{}}
}

// observe reads all that decide looks at; world.od is nil when there is nothing to decide.
func (r *reconciler) observe(ctx context.Context, key types.NamespacedName) (world, error) {
	w := world{now: r.cfg.Clock()}
	var od v1alpha1.OnlineDeployment
	if err := r.client.Get(ctx, key, &od); err != nil {
		return w, client.IgnoreNotFound(err)
	}
	if od.DeletionTimestamp != nil {
		return w, nil // what it owns goes with it
	}
	w.od = &od
	var err error
	if w.itype, err = workload.Read(ctx, r.client, typeName(&od), r.cfg.NodeSelector); err != nil {
		return w, err
	}
	if n, ok := r.scaler.wanted(key); ok {
		w.wanted = &n
	}
	var d appsv1.Deployment
	switch err := r.client.Get(ctx, key, &d); {
	case err == nil:
		w.deployment = &d
	case client.IgnoreNotFound(err) != nil:
		return w, fmt.Errorf("reading Deployment %s: %w", key, err)
	}
	for _, o := range besideKinds() {
		switch err := r.client.Get(ctx, key, o); {
		case err == nil:
			w.beside = append(w.beside, o)
		case client.IgnoreNotFound(err) != nil:
			return w, fmt.Errorf("reading %T %s: %w", o, key, err)
		}
	}
	if !w.current() {
		if w.pullSecrets, err = workload.PullSecrets(ctx, r.live, key.Namespace, r.cfg.PullSecret); err != nil {
			return w, err
		}
	}
	var pods corev1.PodList
	if err := r.client.List(ctx, &pods, client.InNamespace(key.Namespace), client.MatchingLabels(ownLabels(&od))); err != nil {
		return w, fmt.Errorf("listing pods of %s: %w", key, err)
	}
	w.pods = pods.Items
	return w, r.events(ctx, &w)
}

// slowStart is when a pod on a node takes long to start; maxEventReads bounds the reads of one reconcile. They are seldom and short, so
// no cache of events is kept.
const (
	slowStart     = 10 * time.Second
	maxEventReads = 4
)

func (r *reconciler) events(ctx context.Context, w *world) error {
	reads := 0
	for _, p := range w.pods {
		if p.Status.Phase != corev1.PodPending || p.Spec.NodeName == "" || w.now.Sub(p.CreationTimestamp.Time) < slowStart || reads == maxEventReads {
			continue
		}
		reads++
		var list corev1.EventList
		err := r.live.List(ctx, &list, client.InNamespace(p.Namespace), client.Limit(50),
			client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("involvedObject.name", p.Name)})
		if err != nil {
			return fmt.Errorf("listing events of %s/%s: %w", p.Namespace, p.Name, err)
		}
		w.events = append(w.events, list.Items...)
	}
	return nil
}
