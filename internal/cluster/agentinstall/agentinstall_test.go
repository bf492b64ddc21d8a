package agentinstall

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/fairlead/internal/release"
	"fairlead.dev/fairlead/internal/testing/kubetest"
	"github.com/google/go-cmp/cmp"
)

func TestInstallAndUninstall(t *testing.T) {
	cluster := kubetest.Start(t)
	kube := kubernetes.NewForConfigOrDie(cluster.Config)
	var told []string
	o := Options{
		Kubeconfig: cluster.Kubeconfig, Endpoint: "https://fl.example", CA: []byte("CA\n"), ClusterID: "/subscriptions/s/c", TenantID: "t",
		PrivateKeyPEM: []byte("KEY\n"), Proxy: &Proxy{HTTPS: "http://proxy:3128"}, NoWait: true, Progress: func(s string) { told = append(told, s) },
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
	t.Run("images", func(t *testing.T) { testImages(t, kube, o) })
	t.Run("another resource's", func(t *testing.T) { testOther(t, kube, o) })
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
	again := o
	again.Wait = time.Second
	if err := Install(t.Context(), again); err == nil || !strings.Contains(err.Error(), "waiting for namespace azure-arc to be gone") {
		t.Errorf("installed into a namespace that is being deleted: %v", err)
	}
}

// testOther would have the cluster as /b, which is /a's.
func testOther(t *testing.T, kube kubernetes.Interface, o Options) {
	other := o
	other.ClusterID, other.Endpoint, other.PrivateKeyPEM = "/subscriptions/s/other", "https://other.example", []byte("OTHER\n")
	err := Install(t.Context(), other)
	taken, ok := errors.AsType[*TakenError](err)
	if !ok || taken.ClusterID != "/subscriptions/s/c" || !strings.Contains(err.Error(), "already connected as /subscriptions/s/c to the control plane at https://fl.example") {
		t.Errorf("error %v", err)
	}
	if err := Uninstall(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	config, err := kube.CoreV1().ConfigMaps(Namespace).Get(t.Context(), "azure-clusterconfig", metav1.GetOptions{})
	if err != nil || config.Data["clusterId"] != "/subscriptions/s/c" {
		t.Errorf("the agent that was there: %v, %v", config.Data, err)
	}
	same := o
	same.ClusterID, same.Endpoint = strings.ToUpper(o.ClusterID), "https://new.example"
	for _, o := range []Options{same, o} { // as after the control plane was set up anew, and back
		if err := Install(t.Context(), o); err != nil {
			t.Errorf("the same resource: %v", err)
		}
	}
}

// testImages changes the images of an installed agent in the ways there are.
func testImages(t *testing.T, kube kubernetes.Interface, o Options) {
	expect := func(agent, runtime, proxy, secret string) {
		t.Helper()
		d, err := kube.AppsV1().Deployments(Namespace).Get(t.Context(), "fairlead-agent", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c := d.Spec.Template.Spec.Containers[0]
		got := map[string]string{"image": c.Image}
		for _, e := range c.Env {
			if e.Name == "FAIRLEAD_RUNTIME_IMAGE" || e.Name == "HTTPS_PROXY" || e.Name == "FAIRLEAD_PULL_SECRET" {
				got[e.Name] = e.Value
			}
		}
		want := map[string]string{"image": agent, "FAIRLEAD_RUNTIME_IMAGE": runtime, "HTTPS_PROXY": proxy, "FAIRLEAD_PULL_SECRET": secret}
		maps.DeleteFunc(want, func(_, v string) bool { return v == "" })
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("agent (-want +got):\n%s", diff)
		}
	}
	do := func(f func(context.Context, Options) error, o Options) {
		t.Helper()
		if err := f(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	const proxy = "http://proxy:3128"
	expect(release.AgentImage(), release.RuntimeImage(), proxy, "")
	given := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: release.ImagesConfigMap}, Data: map[string]string{"agent": "fairlead/agent:1", "runtime": "fairlead/runtime:1"}}
	if _, err := kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: release.ImagesNamespace}}, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	if _, err := kube.CoreV1().ConfigMaps(release.ImagesNamespace).Create(t.Context(), given, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	do(FollowImages, o)
	expect("fairlead/agent:1", "fairlead/runtime:1", proxy, "")
	do(Install, o) // anew: what the cluster was given
	expect("fairlead/agent:1", "fairlead/runtime:1", proxy, "")

	update := o
	update.Update, update.Proxy, update.AgentImage, update.PullSecret = true, nil, "registry.example/agent:1", "registry"
	do(Install, update)
	expect("registry.example/agent:1", "fairlead/runtime:1", proxy, "registry")
	account, err := kube.CoreV1().ServiceAccounts(Namespace).Get(t.Context(), "fairlead-agent", metav1.GetOptions{})
	if diff := cmp.Diff([]corev1.LocalObjectReference{{Name: "registry"}}, account.ImagePullSecrets); err != nil || diff != "" {
		t.Errorf("pull secrets: %v, %s", err, diff)
	}
	update.AgentImage, update.PullSecret, update.Proxy = "", "", &Proxy{}
	do(Install, update) // without the proxy, the rest as it was
	expect("registry.example/agent:1", "fairlead/runtime:1", "", "registry")

	given.Data = map[string]string{"agent": "fairlead/agent:2", "runtime": "fairlead/runtime:2"}
	if _, err := kube.CoreV1().ConfigMaps(release.ImagesNamespace).Update(t.Context(), given, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	do(FollowImages, o) // leaves the registry's image alone
	expect("registry.example/agent:1", "fairlead/runtime:2", "", "registry")
}

func TestFollowImages_NoAgent(t *testing.T) {
	if err := FollowImages(t.Context(), Options{Kubeconfig: kubetest.Start(t).Kubeconfig}); err != nil {
		t.Errorf("a cluster without an agent: %v", err)
	}
}

func TestExplainPulls(t *testing.T) {
	var told []string
	tell := explainPulls(func(s string) { told = append(told, s) }, map[string]any{"image": map[string]any{"agent": "a:1", "router": "f:1", "runtime": "r:1"}})
	for range 2 {
		tell("waiting")
		tell("waiting: ImagePullBackOff")
	}
	if len(told) != 5 || !strings.Contains(told[2], "need images a:1, f:1 and r:1") || !strings.Contains(told[2], "kind load docker-image a:1 f:1 r:1;") {
		t.Errorf("told %q", told)
	}
}

func TestMissingKubeconfig(t *testing.T) {
	err := Install(context.Background(), Options{Kubeconfig: "/nonexistent/kubeconfig"})
	if err == nil || !strings.Contains(err.Error(), "/nonexistent/kubeconfig") {
		t.Errorf("error %v", err)
	}
}

// TestImagesOverNothing is a release that was made without values.
func TestImagesOverNothing(t *testing.T) {
	got := images{Agent: "fairlead/agent:2"}.over(nil)
	if imagesOf(got).Agent != "fairlead/agent:2" {
		t.Errorf("values %v", got)
	}
}
