package gateway

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

// Reasons that the gateway reports for what has no object in the cluster yet.
const (
	ReasonNamespaceNotFound    = "NamespaceNotFound"
	ReasonNamespaceTerminating = "NamespaceTerminating"
	ReasonInvalidJob           = "InvalidJob"
	ReasonInvalidDeployment    = "InvalidDeploymentSpec"
)

// explain tells the control plane why something could not be applied, and returns an error when it is to be tried again.
func (g *Gateway) explain(ctx context.Context, i item, cause error) error {
	status, final, again := classify(i, cause)
	if status != nil && final {
		if err := g.absent(ctx, i, cause); err != nil {
			return err
		}
	}
	if status != nil {
		if err := g.cfg.Observe(i.key, status); err != nil {
			return err
		}
	}
	if again {
		return fmt.Errorf("applying %s %s/%s: %w", i.kind.object, i.namespace, i.name, cause)
	}
	return nil
}

// reject ends what nobody could apply.
func (g *Gateway) reject(ctx context.Context, i item, cause error) error {
	if err := g.absent(ctx, i, cause); err != nil {
		return err
	}
	return g.cfg.Observe(i.key, i.kind.status(i, true, invalid(i.kind), cause.Error()))
}

func invalid(k *kind) string {
	if k == jobs {
		return ReasonInvalidJob
	}
	return ReasonInvalidDeployment
}

// absent is an error unless there is no object: one that is there goes on, whatever was refused now, and only its own status may end it.
// What serves is told of the refusal in any case, as its older revision goes on serving.
func (g *Gateway) absent(ctx context.Context, i item, cause error) error {
	if !i.kind.once {
		return nil
	}
	_, err := g.look(ctx, i)
	switch {
	case err == nil:
		return fmt.Errorf("changing %s %s/%s, which goes on as it is: %w", i.kind.object, i.namespace, i.name, cause)
	case apierrors.IsNotFound(err):
		return nil
	}
	return errors.Join(cause, fmt.Errorf("reading %s %s/%s: %w", i.kind.object, i.namespace, i.name, err))
}

// look reads the metadata of an item's object.
func (g *Gateway) look(ctx context.Context, i item) (*metav1.PartialObjectMetadata, error) {
	var o metav1.PartialObjectMetadata
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(i.kind.object))
	err := g.cfg.Client.Get(ctx, client.ObjectKey{Namespace: i.namespace, Name: i.name}, &o)
	return &o, err
}

// classify words a failure to apply an object; a nil status means that there is nothing a user could do about it.
func classify(i item, cause error) (status any, final, again bool) {
	k := i.kind
	switch {
	case namespaceMissing(cause):
		return k.status(i, false, ReasonNamespaceNotFound, fmt.Sprintf("Namespace %q does not exist in the cluster. The %s %s when it does: kubectl create namespace %s", i.namespace, k.noun, k.comes, i.namespace)), false, !i.canceled
	case apierrors.HasStatusCause(cause, corev1.NamespaceTerminatingCause):
		return k.status(i, false, ReasonNamespaceTerminating, fmt.Sprintf("Namespace %q is being deleted. The %s %s when it exists again: kubectl create namespace %s", i.namespace, k.noun, k.comes, i.namespace)), false, !i.canceled
	case apierrors.IsInvalid(cause) || apierrors.IsBadRequest(cause):
		return k.status(i, true, invalid(k), fmt.Sprintf("The cluster does not accept the %s: %v", k.noun, cause)), true, false
	}
	return nil, false, true
}

// namespaceMissing tells a missing namespace from a missing custom resource definition.
func namespaceMissing(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsNotFound(err) {
		return false
	}
	d := status.Status().Details
	return d != nil && d.Kind == "namespaces"
}
