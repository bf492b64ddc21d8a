package extension

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/internal/cluster/claims"
	"fairlead.dev/fairlead/internal/mountbroker"
	"fairlead.dev/fairlead/internal/testing/kubetest"
)

// TestAbandonVolumes: of attachments only those of claims lose a finalizer, and only their controller's, when that is gone, also if somebody
// else changes them meanwhile; one that waits for it is gone.
func TestAbandonVolumes(t *testing.T) {
	cluster := kubetest.Start(t)
	kube := kubernetes.NewForConfigOrDie(cluster.Config)
	attachments := kube.StorageV1().VolumeAttachments()
	config := rest.CopyConfig(cluster.Config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &interferer{next: next, before: func() {
			_, err := attachments.Patch(t.Context(), "attached", types.MergePatchType, []byte(`{"metadata": {"labels": {"changed": "meanwhile"}}}`), metav1.PatchOptions{})
			if err != nil {
				t.Error(err)
			}
		}}
	})
	m := New(Config{Kube: kubernetes.NewForConfigOrDie(config), Log: slog.New(slog.DiscardHandler)})
	attach(t, kube, "attached", mountbroker.ClaimDriver, claims.Finalizer)
	attach(t, kube, "shared", mountbroker.ClaimDriver, "example.com/another", claims.Finalizer)
	attach(t, kube, "detached", mountbroker.ClaimDriver, claims.Finalizer)
	attach(t, kube, "foreign", "ebs.csi.aws.com", claims.Finalizer)
	if err := attachments.Delete(t.Context(), "detached", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	kept := func(when string) {
		t.Helper()
		if a, err := attachments.Get(t.Context(), "attached", metav1.GetOptions{}); err != nil || len(a.Finalizers) != 1 {
			t.Fatalf("%s: %v, %v", when, a, err)
		}
	}
	removeDeployment, removePod := controller(t, kube)
	if err := m.abandonVolumes(t.Context()); err != nil {
		t.Fatal(err)
	}
	kept("the controller is there")
	removeDeployment()
	if err := m.abandonVolumes(t.Context()); err == nil || !strings.Contains(err.Error(), "waiting for the end of pod default/csi-blob-controller") {
		t.Fatalf("error %v", err)
	}
	kept("the controller's pod is there")
	removePod()
	for range 2 {
		if err := m.abandonVolumes(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string][]string{"attached": nil, "shared": {"example.com/another"}, "foreign": {claims.Finalizer}} {
		a, err := attachments.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, a.Finalizers); diff != "" {
			t.Errorf("finalizers of %s (-want +got):\n%s", name, diff)
		}
	}
	if _, err := attachments.Get(t.Context(), "detached", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the attachment that was detached: %v", err)
	}
}

func attach(t *testing.T, kube kubernetes.Interface, name, attacher string, finalizers ...string) {
	t.Helper()
	volume := "pv-" + name
	if _, err := kube.StorageV1().VolumeAttachments().Create(t.Context(), &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: finalizers},
		Spec:       storagev1.VolumeAttachmentSpec{Attacher: attacher, NodeName: "n", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// letGo waits until the attachment has no finalizer.
func (h *harness) letGo(t *testing.T, name string) {
	t.Helper()
	h.until(t, func() bool {
		a, err := h.kube.StorageV1().VolumeAttachments().Get(t.Context(), name, metav1.GetOptions{})
		return err == nil && len(a.Finalizers) == 0
	})
}

// controller makes the Deployment and a pod of csi-blob-controller.
func controller(t *testing.T, kube kubernetes.Interface) (removeDeployment, removePod func()) {
	t.Helper()
	labels := map[string]string{"app.kubernetes.io/name": "csi-blob-controller", "app.kubernetes.io/part-of": "azureml"}
	meta := metav1.ObjectMeta{Name: "csi-blob-controller", Labels: labels}
	spec := corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}
	deployments, pods := kube.AppsV1().Deployments("default"), kube.CoreV1().Pods("default")
	_, err := deployments.Create(t.Context(), &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Create(t.Context(), &corev1.Pod{ObjectMeta: meta, Spec: spec}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	remove := func(del func(context.Context, string, metav1.DeleteOptions) error) func() {
		return func() {
			t.Helper()
			now := int64(0)
			if err := del(t.Context(), meta.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return remove(deployments.Delete), remove(pods.Delete)
}

// interferer does something before the first change of an attachment reaches the API server.
type interferer struct {
	next   http.RoundTripper
	before func()
	once   sync.Once
}

// RoundTrip implements http.RoundTripper.
func (i *interferer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPatch && strings.HasSuffix(r.URL.Path, "/volumeattachments/attached") {
		i.once.Do(i.before)
	}
	return i.next.RoundTrip(r)
}
