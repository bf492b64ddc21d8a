package extension

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"fairlead.dev/fairlead/internal/cluster/claims"
	"fairlead.dev/fairlead/internal/mountbroker"
)

// csiController selects csi-blob-controller's Deployment and its pods.
const csiController = "app.kubernetes.io/name=csi-blob-controller,app.kubernetes.io/part-of=azureml"

// abandonVolumes lets go of the attachments of claims' volumes, which csi-blob-controller keeps until all is stored, when no extension has
// that any more: Kubernetes then detaches what no pod uses, and the pod that served it ends with the attachment and stores what is left.
// Other pods of the extension may still be ending. An error means: try again.
func (m *Manager) abandonVolumes(ctx context.Context) error {
	ours := metav1.ListOptions{LabelSelector: csiController}
	deployments, err := m.cfg.Kube.AppsV1().Deployments("").List(ctx, ours)
	if err != nil {
		return fmt.Errorf("looking for csi-blob-controller: %w", err)
	}
	if len(deployments.Items) > 0 {
		return nil
	}
	pods, err := m.cfg.Kube.CoreV1().Pods("").List(ctx, ours)
	if err != nil {
		return fmt.Errorf("looking for pods of csi-blob-controller: %w", err)
	}
	list, err := m.cfg.Kube.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing attachments of claims' volumes: %w", err)
	}
	var errs []error
	for _, a := range list.Items {
		if a.Spec.Attacher != mountbroker.ClaimDriver || !controllerutil.ContainsFinalizer(&a, claims.Finalizer) {
			continue
		}
		if len(pods.Items) > 0 {
			return fmt.Errorf("waiting for the end of pod %s/%s before attachments of claims' volumes are let go", pods.Items[0].Namespace, pods.Items[0].Name)
		}
		if err := m.letGo(ctx, a.Name); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("letting go of attachment %s: %w", a.Name, err))
		}
	}
	return errors.Join(errs...)
}

// letGo takes the finalizer off one attachment, and again when others change it meanwhile.
func (m *Manager) letGo(ctx context.Context, name string) error {
	attachments := m.cfg.Kube.StorageV1().VolumeAttachments()
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		a, err := attachments.Get(ctx, name, metav1.GetOptions{})
		if err != nil || !controllerutil.RemoveFinalizer(a, claims.Finalizer) {
			return err
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": a.ResourceVersion, "finalizers": a.Finalizers}})
		if err != nil {
			return err
		}
		_, err = attachments.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
}
