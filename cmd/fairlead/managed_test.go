package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"fairlead.dev/fairlead/internal/cluster/agentinstall"
	"fairlead.dev/fairlead/internal/cluster/extension/helm"
	"fairlead.dev/fairlead/internal/controlplane/reconcile/managedcluster"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/testing/certtest"
	"fairlead.dev/fairlead/internal/testing/kubetest"
)

// TestManagedCluster takes a real API server by its kubeconfig, after it was given ones that do not work.
func TestManagedCluster(t *testing.T) {
	cluster := kubetest.Start(t)
	kube := kubernetes.NewForConfigOrDie(cluster.Config)
	good, err := os.ReadFile(cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kube.CoreV1().ServiceAccounts("default").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "nobody"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := kube.CoreV1().ServiceAccounts("default").CreateToken(t.Context(), "nobody", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e := typestest.New(t)
	e.Deps.Installer = managed{}
	e.Engine.Registry = resource.NewRegistry(types.All(e.Deps)...)
	e.Base()
	c := managedcluster.New(e.Deps)
	put := func(change func(cluster *api.Cluster, user *api.AuthInfo)) {
		t.Helper()
		k, err := clientcmd.Load(good)
		if err != nil {
			t.Fatal(err)
		}
		change(k.Clusters["test"], k.AuthInfos["test"])
		text, err := clientcmd.Write(*k)
		if err != nil {
			t.Fatal(err)
		}
		e.Put(typestest.Managed, typestest.ManagedBody(string(text)))
		e.Step(c, typestest.Managed)
	}
	expect := func(what, state, text string) {
		t.Helper()
		raw, err := json.Marshal(e.Prop(typestest.Managed, "status"))
		if got := e.Prop(typestest.Managed, "provisioningState"); err != nil || got != state || !strings.Contains(string(raw), text) {
			t.Errorf("%s: %v, %s; want %s and %q", what, got, raw, state, text)
		}
	}
	put(func(c *api.Cluster, _ *api.AuthInfo) { c.Server = "https://127.0.0.1:1" })
	expect("nobody there", "Failed", "The Kubernetes cluster is not reachable. No connection to 127.0.0.1:1")
	put(func(c *api.Cluster, _ *api.AuthInfo) { c.Server = "https://169.254.169.254" })
	expect("link-local", "Failed", "cannot be at a link-local")
	other, _, err := certtest.Pair(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "other")
	if err != nil {
		t.Fatal(err)
	}
	put(func(c *api.Cluster, _ *api.AuthInfo) { c.CertificateAuthorityData = other })
	expect("another CA", "Failed", "is not signed by the CA in the kubeconfig")
	put(func(_ *api.Cluster, u *api.AuthInfo) { *u = api.AuthInfo{Token: "wrong"} })
	expect("unknown user", "Failed", "does not know the user of the kubeconfig")
	put(func(_ *api.Cluster, u *api.AuthInfo) { *u = api.AuthInfo{Token: token.Status.Token} })
	expect("no rights", "Failed", "may not install the agent, which needs all rights")
	if _, err := kube.CoreV1().Namespaces().Get(t.Context(), "azure-arc", metav1.GetOptions{}); err == nil {
		t.Error("something was installed all the same")
	}

	theirs := agentinstall.Options{KubeconfigData: good, Endpoint: "https://theirs.test", ClusterID: "/subscriptions/s/theirs", TenantID: "t", PrivateKeyPEM: []byte("KEY\n"), NoWait: true}
	if err := agentinstall.Install(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	put(func(*api.Cluster, *api.AuthInfo) {})
	expect("somebody else's", "Failed", "already connected as /subscriptions/s/theirs to the control plane at https://theirs.test")
	if err := helm.New(cluster.Config, slog.New(slog.DiscardHandler)).Uninstall(agentinstall.Namespace, agentinstall.Release); err != nil {
		t.Fatal(err)
	}

	put(func(*api.Cluster, *api.AuthInfo) {})
	config, err := kube.CoreV1().ConfigMaps("azure-arc").Get(t.Context(), "azure-clusterconfig", metav1.GetOptions{})
	if err != nil || config.Data["clusterId"] != typestest.Managed || config.Data["endpoint"] != "https://fl.test" {
		t.Fatalf("the agent's configuration: %v, %v", config, err)
	}
	secret := func() string {
		s, err := kube.CoreV1().Secrets("azure-arc").Get(t.Context(), "azure-arc-connect-privatekey", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return string(s.Data["privateKey"])
	}
	block, _ := pem.Decode([]byte(secret()))
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	e.Advance(time.Second)
	e.ObserveOf(typestest.Managed, link.KeyCluster, link.ClusterStatus{AgentKey: link.KeyID(&key.PublicKey), KubernetesVersion: "v1.36.3", TotalNodeCount: 1})
	e.Step(c, typestest.Managed)
	expect("heard of", "Succeeded", "null")

	before := secret()
	put(func(*api.Cluster, *api.AuthInfo) {}) // new credentials: the agent is upgraded
	if secret() == before {
		t.Error("the agent's key is still the old one")
	}
	if err := e.TryDelete(typestest.Managed, false); err != nil {
		t.Fatal(err)
	}
	e.Step(c, typestest.Managed)
	if _, err := kube.AppsV1().Deployments("azure-arc").Get(context.Background(), "fairlead-agent", metav1.GetOptions{}); err == nil {
		t.Error("the agent is still there")
	}
	if _, err := e.Store.Get(e.Ctx, strings.ToLower(typestest.Managed)); err == nil {
		t.Error("the resource is still there")
	}
}
