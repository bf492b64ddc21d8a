package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/charts"
	"fairlead.dev/fairlead/internal/cluster/desired"
	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/testing/kubetest"
)

// served is a deployment as the control plane tells it.
func served(namespace, image, revision string) link.Event {
	spec, err := json.Marshal(v1alpha1.OnlineDeploymentSpec{Endpoint: "digits", Name: "blue", Image: image, Scale: v1alpha1.DeploymentScale{Min: 1, Max: 1},
		Requests: v1alpha1.RequestSettings{TimeoutMilliseconds: 5000, MaxConcurrentPerInstance: 1}, Routes: v1alpha1.ContainerRoutes{Port: 5001, ScoringPath: "/score"}})
	if err != nil {
		panic(err)
	}
	value, err := json.Marshal(link.Deployment{Endpoint: "digits", Name: "blue", Namespace: namespace, Labels: map[string]string{"ml.azure.com/workspace": "ws"},
		Spec: spec, Revision: revision, Secret: map[string]string{v1alpha1.FetchToken: "t-" + revision}})
	if err != nil {
		panic(err)
	}
	return link.Event{Type: link.EventPut, Key: link.PrefixDeployment + "digits/blue", Value: value}
}

func TestServing(t *testing.T) {
	cluster := kubetest.Start(t)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(cluster.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"amljobs", "onlineendpoints", "onlinedeployments"} {
		doc, err := charts.FS.ReadFile("azureml/crds/amlarc.azureml.com_" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(doc, &crd); err != nil {
			t.Fatal(err)
		}
		if err := c.Create(t.Context(), &crd); err != nil {
			t.Fatal(err)
		}
	}
	observed := make(chan link.ServingStatus, 100)
	g := New(Config{Client: c, Log: slog.New(slog.DiscardHandler), Inference: true, Forget: func(string) {},
		Observe: func(_ string, s any) error { observed <- s.(link.ServingStatus); return nil }})
	if g.Prefix() != "" || New(Config{}).Prefix() != link.PrefixJob {
		t.Errorf("prefix %q with inference, %q without", g.Prefix(), New(Config{}).Prefix())
	}
	events := desired.NewFollower(g.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := g.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	send := func(e link.Event) {
		t.Helper()
		if err := events.Apply(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	name := v1alpha1.DeploymentObjectName("digits", "blue")
	get := func(namespace string) (*v1alpha1.OnlineDeployment, error) {
		var o v1alpha1.OnlineDeployment
		return &o, c.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, &o)
	}
	send(link.Event{Type: link.EventReset})
	send(link.Event{Type: link.EventPut, Key: link.PrefixEndpoint + "digits",
		Value: json.RawMessage(`{"name":"digits","namespace":"default","revision":"e1","spec":{"name":"Digits","auth":{"mode":"Key","keyHashes":["00"]},"traffic":{"blue":100}}}`)})
	send(link.Event{Type: link.EventPut, Key: "identity/other", Value: json.RawMessage(`{}`)})
	send(served("default", "server:1", "r1"))
	send(link.Event{Type: link.EventBookmark, Seq: 1})
	var endpoint v1alpha1.OnlineEndpoint
	eventually(t, "the endpoint", func() bool {
		return c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "digits"}, &endpoint) == nil
	})
	if endpoint.Spec.Traffic["blue"] != 100 || endpoint.Labels[v1alpha1.LabelRevision] != "e1" {
		t.Errorf("endpoint %+v", endpoint)
	}
	var secret corev1.Secret
	eventually(t, "the token", func() bool {
		return c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: name + v1alpha1.FetchSecretSuffix}, &secret) == nil
	})
	made, err := get("default")
	if err != nil {
		t.Fatal(err)
	}
	if string(secret.Data["token"]) != "t-r1" || secret.OwnerReferences[0].UID != made.UID || made.Labels["ml.azure.com/workspace"] != "ws" || made.Labels[v1alpha1.LabelRevision] != "r1" {
		t.Errorf("secret %v of %v, deployment labels %v", secret.Data, secret.OwnerReferences, made.Labels)
	}

	send(served("default", "server:2", "r2"))
	eventually(t, "an update of the same object", func() bool {
		o, err := get("default")
		return err == nil && o.Spec.Image == "server:2" && o.Labels[v1alpha1.LabelRevision] == "r2" && o.UID == made.UID
	})
	if err := c.Delete(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	g.queue.Add("") // as at every resync
	eventually(t, "what somebody deleted is made again", func() bool { o, err := get("default"); return err == nil && o.UID != made.UID })

	send(served("default", "", "r3"))
	if s := <-observed; s.State != link.ServingFailed || s.Reason != ReasonInvalidDeployment || s.Revision != "r3" {
		t.Errorf("status %+v", s)
	}
	if o, err := get("default"); err != nil || o.Spec.Image != "server:2" {
		t.Errorf("what served does not go on: %+v, %v", o, err)
	}
	send(served("team", "server:2", "r4"))
	if s := <-observed; s.State != link.ServingFailed || s.Reason != ReasonNamespaceNotFound || s.Revision != "r4" {
		t.Errorf("status %+v", s)
	}
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it moves to the new namespace", func() bool {
		_, here := get("team")
		_, there := get("default")
		return here == nil && apierrors.IsNotFound(there)
	})
	moved, err := get("team")
	if err != nil {
		t.Fatal(err)
	}
	former := moved.DeepCopy() // as it is left where it was when it moves while no gateway runs
	former.ObjectMeta = metav1.ObjectMeta{Namespace: "default", Name: moved.Name, Labels: moved.Labels}
	if err := c.Create(t.Context(), former); err != nil {
		t.Fatal(err)
	}
	g.queue.Add("") // as after the first snapshot
	eventually(t, "what was left in the former namespace goes", func() bool { _, err := get("default"); return apierrors.IsNotFound(err) })
	if still, err := get("team"); err != nil || still.UID != moved.UID {
		t.Errorf("in the new namespace: %v, %v", still.UID, err)
	}
	send(link.Event{Type: link.EventDelete, Key: link.PrefixDeployment + "digits/blue", Seq: 3})
	eventually(t, "deletion", func() bool { _, err := get("team"); return apierrors.IsNotFound(err) })
	send(link.Event{Type: link.EventReset})
	send(link.Event{Type: link.EventBookmark, Seq: 4})
	eventually(t, "deletion by an empty snapshot", func() bool {
		return apierrors.IsNotFound(c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: "digits"}, &endpoint))
	})
}
