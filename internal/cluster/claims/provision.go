package claims

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/mountbroker"
)

// Parameters of a StorageClass, which a volume has as attributes, too, with its folder in the datastore.
const (
	paramCompute   = "compute"
	paramDatastore = "datastore"
	attrFolder     = "folder"
)

// Annotations of Kubernetes' contract with provisioners.
const (
	provisionerAnnotation     = "volume.kubernetes.io/storage-provisioner"
	provisionedByAnnotation   = "pv.kubernetes.io/provisioned-by"
	betaProvisionerAnnotation = "volume.beta.kubernetes.io/storage-provisioner"
)

// provisioner makes a volume for each claim.
type provisioner struct{ base }

// Reconcile implements reconcile.Reconciler.
func (p *provisioner) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var claim corev1.PersistentVolumeClaim
	if err := p.Get(ctx, req.NamespacedName, &claim); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !waits(&claim) {
		return ctrl.Result{}, nil
	}
	var class storagev1.StorageClass
	if err := p.Get(ctx, client.ObjectKey{Name: *claim.Spec.StorageClassName}, &class); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	volume, err := volumeOf(&claim, &class)
	if err != nil { // until somebody changes it
		p.fails(&claim, err)
		return ctrl.Result{}, nil
	}
	if volume == nil {
		return ctrl.Result{}, nil
	}
	if _, err := p.cfg.Folder(ctx, question(volume)); err != nil {
		p.fails(&claim, err)
		return ctrl.Result{}, fmt.Errorf("asking for the datastore of claim %s: %w", req, err)
	}
	if err := p.Create(ctx, volume); err != nil && !apierrors.IsAlreadyExists(err) {
		return ctrl.Result{}, fmt.Errorf("making volume %s: %w", volume.Name, err)
	}
	p.events.Eventf(&claim, nil, corev1.EventTypeNormal, "ProvisioningSucceeded", "Provision", "volume %s is folder %s of the datastore", volume.Name, volume.Spec.CSI.VolumeAttributes[attrFolder])
	return ctrl.Result{}, nil
}

func (p *provisioner) fails(claim *corev1.PersistentVolumeClaim, err error) {
	p.events.Eventf(claim, nil, corev1.EventTypeWarning, "ProvisioningFailed", "Provision", "%s", err.Error())
}

// waits says that Kubernetes asked this provisioner for a volume.
func waits(claim *corev1.PersistentVolumeClaim) bool {
	by := claim.Annotations[provisionerAnnotation]
	if by == "" {
		by = claim.Annotations[betaProvisionerAnnotation]
	}
	return by == mountbroker.ClaimDriver && claim.DeletionTimestamp == nil && claim.Spec.VolumeName == "" && claim.Spec.StorageClassName != nil
}

// volumeOf is the volume for a claim of a class; nil if the class is of another provisioner.
func volumeOf(claim *corev1.PersistentVolumeClaim, class *storagev1.StorageClass) (*corev1.PersistentVolume, error) {
	if class.Provisioner != mountbroker.ClaimDriver {
		return nil, nil
	}
	for name := range class.Parameters {
		if name != paramCompute && name != paramDatastore {
			return nil, fmt.Errorf("StorageClass %s has parameter %q; known are %s and %s", class.Name, name, paramCompute, paramDatastore)
		}
	}
	spec := claim.Spec
	switch {
	case class.Parameters[paramCompute] == "":
		return nil, fmt.Errorf("StorageClass %s has no parameter %s; give it the resource id of the compute as which its claims act", class.Name, paramCompute)
	case len(class.MountOptions) > 0:
		return nil, fmt.Errorf("StorageClass %s has mountOptions; there are none for folders of datastores", class.Name)
	case !slices.Equal(spec.AccessModes, []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}):
		return nil, fmt.Errorf("accessModes are %v; folders of datastores are %s only", spec.AccessModes, corev1.ReadWriteOnce)
	case spec.VolumeMode != nil && *spec.VolumeMode != corev1.PersistentVolumeFilesystem:
		return nil, fmt.Errorf("volumeMode is %s; it must be %s", *spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	case spec.Selector != nil:
		return nil, fmt.Errorf("selector is set; a folder is made anew and has no labels: leave it out")
	case spec.DataSource != nil || spec.DataSourceRef != nil:
		return nil, fmt.Errorf("dataSource is set; folders are made empty: leave it out")
	}
	name := "pvc-" + string(claim.UID)
	attributes := map[string]string{paramCompute: class.Parameters[paramCompute], attrFolder: "claims/" + claim.Namespace + "/" + name}
	if ds := class.Parameters[paramDatastore]; ds != "" {
		attributes[paramDatastore] = ds
	}
	policy, mode := corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeFilesystem
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{provisionedByAnnotation: mountbroker.ClaimDriver}},
		Spec: corev1.PersistentVolumeSpec{
			StorageClassName: class.Name, PersistentVolumeReclaimPolicy: policy, AccessModes: spec.AccessModes, VolumeMode: &mode,
			Capacity: corev1.ResourceList{corev1.ResourceStorage: spec.Resources.Requests[corev1.ResourceStorage]},
			ClaimRef: &corev1.ObjectReference{Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: mountbroker.ClaimDriver, VolumeHandle: name, VolumeAttributes: attributes}},
		},
	}, nil
}

// question is what the control plane is asked about a volume.
func question(v *corev1.PersistentVolume) link.FolderRequest {
	q := link.FolderRequest{Compute: v.Spec.CSI.VolumeAttributes[paramCompute], Datastore: v.Spec.CSI.VolumeAttributes[paramDatastore], Write: !readOnly(v)}
	if v.Spec.ClaimRef != nil {
		q.Namespace = v.Spec.ClaimRef.Namespace
	}
	return q
}

// readOnly says that nobody may write to a volume.
func readOnly(v *corev1.PersistentVolume) bool {
	return v.Spec.CSI.ReadOnly || slices.Equal(v.Spec.AccessModes, []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany})
}

// deleter removes volumes whose claim is gone, with their folder.
type deleter struct{ base }

// detachPoll is how often a volume is looked at that a node still has.
const detachPoll = 3 * time.Second

// Reconcile implements reconcile.Reconciler.
func (d *deleter) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var volume corev1.PersistentVolume
	if err := d.Get(ctx, req.NamespacedName, &volume); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !over(&volume) {
		return ctrl.Result{}, nil
	}
	var attachments storagev1.VolumeAttachmentList
	if err := d.List(ctx, &attachments); err != nil {
		return ctrl.Result{}, fmt.Errorf("looking for nodes that have volume %s: %w", volume.Name, err)
	}
	for _, a := range attachments.Items {
		if name := a.Spec.Source.PersistentVolumeName; name != nil && *name == volume.Name { // its mount pod may have something left to store
			return ctrl.Result{RequeueAfter: detachPoll}, nil
		}
	}
	if err := d.empty(ctx, &volume); err != nil {
		d.events.Eventf(&volume, nil, corev1.EventTypeWarning, "VolumeFailedDelete", "Delete", "%s", err.Error())
		return ctrl.Result{}, fmt.Errorf("deleting the folder of volume %s: %w", volume.Name, err)
	}
	return ctrl.Result{}, client.IgnoreNotFound(d.Delete(ctx, &volume, client.Preconditions{UID: &volume.UID}))
}

func (d *deleter) empty(ctx context.Context, v *corev1.PersistentVolume) error {
	f, err := d.cfg.Folder(ctx, question(v))
	if err != nil {
		return err
	}
	return d.cfg.Empty(ctx, f, v.Spec.CSI.VolumeAttributes[attrFolder])
}

// over says that a volume is one of ours whose claim is gone, and that it goes with that.
func over(v *corev1.PersistentVolume) bool {
	return v.Spec.CSI != nil && v.Spec.CSI.Driver == mountbroker.ClaimDriver && v.Annotations[provisionedByAnnotation] == mountbroker.ClaimDriver &&
		v.Spec.ClaimRef != nil && v.Spec.CSI.VolumeAttributes[attrFolder] == "claims/"+v.Spec.ClaimRef.Namespace+"/"+v.Name && strings.HasPrefix(v.Name, "pvc-") &&
		v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete && v.Status.Phase == corev1.VolumeReleased && v.DeletionTimestamp == nil
}
