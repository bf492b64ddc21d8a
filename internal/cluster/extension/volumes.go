package extension

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"fairlead.dev/fairlead/internal/cluster/claims"
	"fairlead.dev/fairlead/internal/mountbroker"
)

// abandonVolumes lets go of the attachments of claims' volumes, which csi-blob-controller keeps until all is stored. It is called when that
// is gone: Kubernetes then detaches what no pod uses any more, and the pod that served it ends with the attachment and stores what is left.
func (m *Manager) abandonVolumes(ctx context.Context) error {
	list, err := m.cfg.Kube.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("listing attachments of claims' volumes: %w", err)
	}
	var errs []error
	for i := range list.Items {
		if a := &list.Items[i]; a.Spec.Attacher == mountbroker.ClaimDriver && controllerutil.RemoveFinalizer(a, claims.Finalizer) {
			errs = append(errs, m.keepFinalizers(ctx, a))
		}
	}
	return errors.Join(errs...)
}

// keepFinalizers writes those that an attachment shall have, unless it was changed since it was read.
func (m *Manager) keepFinalizers(ctx context.Context, a *storagev1.VolumeAttachment) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": a.ResourceVersion, "finalizers": a.Finalizers}})
	if err != nil {
		return fmt.Errorf("encoding the finalizers of attachment %s: %w", a.Name, err)
	}
	_, err = m.cfg.Kube.StorageV1().VolumeAttachments().Patch(ctx, a.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("letting go of attachment %s: %w", a.Name, err)
	}
	return nil
}
