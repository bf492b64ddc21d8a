package claims

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"fairlead.dev/fairlead/internal/mountbroker"
)

// Finalizer keeps an attachment until its mount pod has ended, so that no second node writes while the first has something left to store.
const Finalizer = "datastore.csi.fairlead.dev/stored"

// attacher has a mount pod on each node that needs a volume.
type attacher struct{ base }

// action is what is to be done for an attachment; several are one after another.
type action int

const (
	wait     action = iota
	hold            // put the finalizer on
	release         // take the finalizer off
	create          // make the mount pod
	remove          // end the mount pod
	attached        // the node has the volume
	failing         // tell why it has not
)

// decide says what to do for an attachment. pod is nil where there is none, refused says why none is made, "" if one is.
func decide(a *storagev1.VolumeAttachment, pod *corev1.Pod, refused string) action {
	held := controllerutil.ContainsFinalizer(a, Finalizer)
	ends := pod != nil && pod.DeletionTimestamp != nil
	switch {
	case ends:
		return wait
	case a.DeletionTimestamp != nil && pod != nil:
		return remove
	case a.DeletionTimestamp != nil && held:
		return release
	case a.DeletionTimestamp != nil:
		return wait
	case pod != nil && (pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded): // evicted, or its node went down
		return remove
	case pod == nil && refused != "":
		return failing
	case !held:
		return hold
	case pod == nil:
		return create
	case a.Status.Attached:
		return wait
	case ready(pod):
		return attached
	case trouble(pod) != "":
		return failing
	}
	return wait
}

// refusal says why no pod can serve a volume, "" if one can.
func refusal(v *corev1.PersistentVolume) string {
	attributes := v.Spec.CSI.VolumeAttributes
	switch {
	case attributes[paramCompute] == "":
		return "the volume has no attribute " + paramCompute
	case !validFolder(attributes[attrFolder]):
		return fmt.Sprintf("the volume's attribute %s is %q; it must be the path of a folder in the datastore, such as claims/mine", attrFolder, attributes[attrFolder])
	case v.Spec.ClaimRef == nil:
		return "the volume has no claim"
	case slices.Contains(v.Spec.AccessModes, corev1.ReadWriteMany):
		return fmt.Sprintf("accessModes are %v; folders of datastores are %s, or %s", v.Spec.AccessModes, corev1.ReadWriteOnce, corev1.ReadOnlyMany)
	}
	return ""
}

// validFolder says that a path stays in the datastore and is not all of it.
func validFolder(folder string) bool {
	for _, part := range strings.Split(folder, "/") {
		if part == "" || part == "." || part == ".." {
			return false
		}
	}
	return true
}

func ready(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// trouble is why a mount pod does not get ready, "" if it may just need a moment.
func trouble(pod *corev1.Pod) string {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return c.Message
		}
	}
	for _, c := range pod.Status.ContainerStatuses {
		if ended := c.LastTerminationState.Terminated; ended != nil {
			lines := strings.Split(strings.TrimSpace(ended.Message), "\n")
			return lines[len(lines)-1]
		}
		if w := c.State.Waiting; w != nil && w.Message != "" {
			return w.Reason + ": " + w.Message
		}
	}
	return ""
}

// Reconcile implements reconcile.Reconciler.
func (r *attacher) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var a storagev1.VolumeAttachment
	if err := r.Get(ctx, req.NamespacedName, &a); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if a.Spec.Attacher != mountbroker.ClaimDriver || a.Spec.Source.PersistentVolumeName == nil {
		return ctrl.Result{}, nil
	}
	volume, refused, err := r.volume(ctx, *a.Spec.Source.PersistentVolumeName)
	if err != nil {
		return ctrl.Result{}, err
	}
	pod := &corev1.Pod{}
	key := client.ObjectKey{Namespace: r.cfg.Self.Namespace, Name: mountPodName(*a.Spec.Source.PersistentVolumeName, a.Spec.NodeName)}
	if err := r.Get(ctx, key, pod); apierrors.IsNotFound(err) {
		pod = nil
	} else if err != nil {
		return ctrl.Result{}, fmt.Errorf("reading the pod that serves %s: %w", req.Name, err)
	}
	return ctrl.Result{}, r.act(ctx, decide(&a, pod, refused), &a, volume, pod, refused)
}

func (r *attacher) volume(ctx context.Context, name string) (*corev1.PersistentVolume, string, error) {
	var v corev1.PersistentVolume
	err := r.Get(ctx, client.ObjectKey{Name: name}, &v)
	switch {
	case apierrors.IsNotFound(err):
		return nil, "there is no volume " + name, nil
	case err != nil:
		return nil, "", fmt.Errorf("reading volume %s: %w", name, err)
	case v.Spec.CSI == nil || v.Spec.CSI.Driver != mountbroker.ClaimDriver:
		return nil, "volume " + name + " is of another driver", nil
	}
	return &v, refusal(&v), nil
}

func (r *attacher) act(ctx context.Context, what action, a *storagev1.VolumeAttachment, v *corev1.PersistentVolume, pod *corev1.Pod, refused string) error {
	was := a.DeepCopy()
	switch what {
	case hold:
		controllerutil.AddFinalizer(a, Finalizer)
		return r.Patch(ctx, a, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{})) // and comes again
	case release:
		controllerutil.RemoveFinalizer(a, Finalizer)
		return client.IgnoreNotFound(r.Patch(ctx, a, client.MergeFromWithOptions(was, client.MergeFromWithOptimisticLock{})))
	case create:
		if err := r.Create(ctx, MountPod(a, v, r.cfg.Self)); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("making the pod that serves volume %s: %w", v.Name, err)
		}
	case remove:
		return client.IgnoreNotFound(r.Delete(ctx, pod, client.Preconditions{UID: &pod.UID}))
	case attached:
		a.Status = storagev1.VolumeAttachmentStatus{Attached: true}
		return r.Status().Patch(ctx, a, client.MergeFrom(was))
	case failing:
		why := refused
		if pod != nil {
			why = fmt.Sprintf("pod %s in namespace %s, which serves the volume, is not ready: %s", pod.Name, pod.Namespace, trouble(pod))
		}
		if old := a.Status.AttachError; old != nil && old.Message == why {
			return nil
		}
		a.Status.AttachError = &storagev1.VolumeError{Time: metav1.Now(), Message: why}
		return r.Status().Patch(ctx, a, client.MergeFrom(was))
	}
	return nil
}
