package workload

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// PullSecrets are the extension's own, if it has one, and those of the namespace's default account. Kubernetes adds the latter only
// to pods that name none.
func PullSecrets(ctx context.Context, from client.Reader, namespace, extension string) ([]corev1.LocalObjectReference, error) {
	if extension == "" {
		return nil, nil
	}
	own := corev1.LocalObjectReference{Name: extension}
	var account corev1.ServiceAccount
	err := from.Get(ctx, types.NamespacedName{Namespace: namespace, Name: "default"}, &account)
	if err != nil && !apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("reading service account default of namespace %s: %w", namespace, err)
	}
	out := []corev1.LocalObjectReference{own}
	for _, s := range account.ImagePullSecrets {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out, nil
}

// RuntimeClass is that of the type's pods; nil: the nodes' default runtime.
func (it InstanceType) RuntimeClass() *string {
	if it.Spec.RuntimeClassName == "" {
		return nil
	}
	return &it.Spec.RuntimeClassName
}

// Tolerations are the instance type's and those of the reference's fixed taints; labels say whose the pod is.
func (it InstanceType) Tolerations(labels map[string]string) []corev1.Toleration {
	taints := map[string]string{"ml.azure.com/amlarc": "true", "ml.azure.com/amlarc-workload": "true"}
	for _, key := range []string{"ml.azure.com/resource-group", "ml.azure.com/workspace", "ml.azure.com/compute"} {
		if v := labels[key]; v != "" {
			taints[key] = v
		}
	}
	out := slices.Clone(it.Spec.Tolerations)
	for _, key := range slices.Sorted(maps.Keys(taints)) {
		out = append(out, corev1.Toleration{Key: key, Operator: corev1.TolerationOpEqual, Value: taints[key]})
	}
	return out
}
