package extension

import (
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/fairlead/internal/testing/kubetest"
)

// TestRemoveLost has one pod on a node that is heard of and one on a node that is not, both told to end and past their time.
func TestRemoveLost(t *testing.T) {
	kube := kubernetes.NewForConfigOrDie(kubetest.Start(t).Config)
	ctx := t.Context()
	for name, ready := range map[string]corev1.ConditionStatus{"alive": corev1.ConditionTrue, "lost": corev1.ConditionUnknown} {
		node, err := kube.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		node.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
		if _, err := kube.CoreV1().Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		grace := int64(1)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "on-" + name, Labels: map[string]string{"app.kubernetes.io/part-of": "azureml"}},
			Spec: corev1.PodSpec{NodeName: name, TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
		if _, err := kube.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := kube.CoreV1().Pods("default").Delete(ctx, pod.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	m := New(Config{Kube: kube, Log: slog.New(slog.DiscardHandler)})
	gone := func(pod string) bool {
		if err := m.removeLostIn(ctx, "default"); err != nil {
			t.Fatal(err)
		}
		_, err := kube.CoreV1().Pods("default").Get(ctx, pod, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		return err != nil
	}
	for deadline := time.Now().Add(30 * time.Second); !gone("on-lost"); {
		if time.Now().After(deadline) {
			t.Fatal("the pod of the lost node is still there")
		}
		<-time.After(200 * time.Millisecond)
	}
	if gone("on-alive") {
		t.Error("the pod of a node that is heard of was removed; its kubelet ends it")
	}
}
