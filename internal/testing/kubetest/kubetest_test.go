package kubetest

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

func TestStart(t *testing.T) {
	c := Start(t)
	namespaces, err := kubernetes.NewForConfigOrDie(c.Config).CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(namespaces.Items) == 0 {
		t.Fatal("no namespaces in a fresh cluster")
	}
}
