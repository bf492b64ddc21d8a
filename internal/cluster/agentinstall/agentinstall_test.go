package agentinstall

import (
	"context"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/fairlead/internal/testing/kubetest"
	"github.com/google/go-cmp/cmp"
)

func TestInstallAndUninstall(t *testing.T) {
	cluster := kubetest.Start(t)
	kube := kubernetes.NewForConfigOrDie(cluster.Config)
	var told []string
	o := Options{
		Kubeconfig: cluster.Kubeconfig, Endpoint: "https://fl.example", CA: []byte("CA\n"), ClusterID: "/subscriptions/s/c", TenantID: "t",
		PrivateKeyPEM: []byte("KEY\n"), ProxyHTTPS: "http://proxy:3128", NoWait: true, Progress: func(s string) { told = append(told, s) },
	}
	for range 2 { // the second is an upgrade
		if err := Install(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{
		"Installing the agent (Helm release azure-arc in namespace azure-arc)", "Upgrading the agent (Helm release azure-arc in namespace azure-arc)",
	}, told); diff != "" {
		t.Errorf("progress (-want +got):\n%s", diff)
	}
	secret, err := kube.CoreV1().Secrets(Namespace).Get(t.Context(), "azure-arc-connect-privatekey", metav1.GetOptions{})
	if err != nil || string(secret.Data["privateKey"]) != "KEY\n" {
		t.Errorf("private key: %v", err)
	}
	config, err := kube.CoreV1().ConfigMaps(Namespace).Get(t.Context(), "azure-clusterconfig", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"endpoint": "https://fl.example", "clusterId": "/subscriptions/s/c", "tenantId": "t", "ca.crt": "CA\n"}
	if diff := cmp.Diff(want, config.Data); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
	t.Run("an agent that does not start", func(t *testing.T) {
		waiting := o
		waiting.NoWait, waiting.Wait = false, 2*time.Second
		err := Install(t.Context(), waiting)
		if err == nil || !strings.Contains(err.Error(), "Deployment fairlead-agent (0 of 1 ready)") {
			t.Errorf("error %v", err)
		}
	})
	if err := Uninstall(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if _, err := kube.AppsV1().Deployments(Namespace).Get(t.Context(), "fairlead-agent", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("the agent is still there: %v", err)
	}
	ns, err := kube.CoreV1().Namespaces().Get(t.Context(), Namespace, metav1.GetOptions{})
	if err != nil || ns.DeletionTimestamp == nil { // no controller here ends the deletion
		t.Errorf("the namespace is not being deleted: %v", err)
	}
}

func TestMissingKubeconfig(t *testing.T) {
	err := Install(context.Background(), Options{Kubeconfig: "/nonexistent/kubeconfig"})
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/kubeconfig") {
		t.Errorf("error %v", err)
	}
}
