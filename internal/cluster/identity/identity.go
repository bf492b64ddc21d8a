// Package identity lets pods of online deployments have tokens of managed identities. It is two components, which share the custom
// resource Identity:
//
//	amlarc-identity-controller   Identity ─▶ ServiceAccount of its name; says in the status that it may be used
//	amlarc-identity-proxy        pod ── CONNECT, token of that ServiceAccount ──▶ TokenReview ─▶ Identity ─▶ tunnel to the control plane
//
// Through the tunnel the pod's sidecar (internal/runtime) asks the control plane, with the deployment's own token, for one of the identity:
// the proxy holds no key and sees no token of an identity, and leads nowhere else.
package identity

import (
	"k8s.io/apimachinery/pkg/labels"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

// CacheOptions keeps only the accounts of deployments in the controller's cache.
func CacheOptions() cache.Options {
	ours, err := labels.Parse(v1alpha1.LabelDeployment)
	if err != nil {
		panic(err) // a constant
	}
	return cache.Options{ByObject: map[client.Object]cache.ByObject{&corev1.ServiceAccount{}: {Label: ours}}, DefaultTransform: cache.TransformStripManagedFields()}
}
