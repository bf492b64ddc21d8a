// Package claims is csi-blob-controller and the pods that it makes: PersistentVolumeClaims of a StorageClass of its driver are folders of a
// datastore. A claim acts as the compute that has its namespace, with a token of the compute's identity that only this package holds.
//
//	claim ──▶ may the compute? ─▶ PersistentVolume, a folder claims/<namespace>/<volume>
//	node needs it: VolumeAttachment ─▶ mount pod on that node, ready ─▶ attached ─▶ csi-blob-node mounts it into the user's pod
//	node needs it no more ──────────▶ mount pod ends, all is stored ─▶ detached: only now may another node have it
//	claim deleted, reclaimPolicy Delete ─▶ detached everywhere ─▶ the folder's blobs are deleted ─▶ the PersistentVolume is
//
// Decisions are pure functions (volumeOf, decide, MountPod).
package claims

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"fairlead.dev/fairlead/internal/link"
)

// Config is what the controller needs.
type Config struct {
	// Self is the controller's own pod: those that it makes have its namespace, image, link and settings.
	Self *corev1.Pod
	// Folder asks the control plane for a datastore, Empty deletes what is in a folder of it.
	Folder func(context.Context, link.FolderRequest) (link.Folder, error)
	Empty  func(ctx context.Context, f link.Folder, folder string) error
	Log    *slog.Logger
}

// What fails is tried again after firstRetry, then after twice as long, up to maxRetry.
const (
	firstRetry = time.Second
	maxRetry   = time.Minute
)

// nameLabel is on every mount pod.
const (
	nameLabel = "app.kubernetes.io/name"
	podName   = "csi-blob-mount"
)

// CacheOptions keeps, of all pods, only those that serve volumes in the manager's cache.
func CacheOptions(namespace string) cache.Options {
	ours := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{nameLabel: podName}), Namespaces: map[string]cache.Config{namespace: {}}}
	return cache.Options{ByObject: map[client.Object]cache.ByObject{&corev1.Pod{}: ours}, DefaultTransform: cache.TransformStripManagedFields()}
}

// base is common to the reconcilers.
type base struct {
	client.Client
	cfg    Config
	events events.EventRecorder
}

// Add registers the controllers with a manager.
func Add(mgr manager.Manager, cfg Config) error {
	b := base{Client: mgr.GetClient(), cfg: cfg, events: mgr.GetEventRecorder("csi-blob-controller")}
	options := func() controller.Options {
		return controller.Options{MaxConcurrentReconciles: 4, RateLimiter: workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, maxRetry)}
	}
	for name, c := range map[string]struct {
		of, owns client.Object
		by       reconcile.Reconciler
	}{
		"claim":      {of: &corev1.PersistentVolumeClaim{}, by: &provisioner{b}},
		"volume":     {of: &corev1.PersistentVolume{}, by: &deleter{b}},
		"attachment": {of: &storagev1.VolumeAttachment{}, owns: &corev1.Pod{}, by: &attacher{b}},
	} {
		builder := ctrl.NewControllerManagedBy(mgr).Named(name).For(c.of).WithOptions(options())
		if c.owns != nil {
			builder = builder.Owns(c.owns)
		}
		if err := builder.Complete(c.by); err != nil {
			return fmt.Errorf("adding the controller of a %s: %w", name, err)
		}
	}
	return nil
}
