package extension

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/fairlead/internal/cluster/claims"
	"fairlead.dev/fairlead/internal/mountbroker"
	"fairlead.dev/fairlead/internal/testing/kubetest"
)

// TestAbandonVolumes: of attachments only those of claims lose a finalizer, and only their controller's; one that waits for it is gone.
func TestAbandonVolumes(t *testing.T) {
	kube := kubernetes.NewForConfigOrDie(kubetest.Start(t).Config)
	attachments, m := kube.StorageV1().VolumeAttachments(), New(Config{Kube: kube, Log: slog.New(slog.DiscardHandler)})
	attach := func(name, attacher string, finalizers ...string) {
		t.Helper()
		volume := "pv-" + name
		if _, err := attachments.Create(t.Context(), &storagev1.VolumeAttachment{
			ObjectMeta: metav1.ObjectMeta{Name: name, Finalizers: finalizers},
			Spec:       storagev1.VolumeAttachmentSpec{Attacher: attacher, NodeName: "n", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &volume}},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	attach("attached", mountbroker.ClaimDriver, claims.Finalizer)
	attach("shared", mountbroker.ClaimDriver, "example.com/another", claims.Finalizer)
	attach("detached", mountbroker.ClaimDriver, claims.Finalizer)
	attach("foreign", "ebs.csi.aws.com", claims.Finalizer)
	if err := attachments.Delete(t.Context(), "detached", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
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
