package watch

import (
	"context"
	"os"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/router/routertest"
	"fairlead.dev/fairlead/internal/router/table"
	"fairlead.dev/fairlead/internal/testing/kubetest"
)

const crds = "../../../charts/azureml/crds/"

// A router follows a real API server.
func TestFollow(t *testing.T) {
	cluster := kubetest.Start(t)
	install(t, cluster.Config, "amlarc.azureml.com_onlineendpoints.yaml", "onlineendpoints")
	install(t, cluster.Config, "amlarc.azureml.com_onlinedeployments.yaml", "onlinedeployments")
	told := make(chan table.Objects, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cluster.Config, func(o table.Objects) { told <- o }) }()
	if o := <-told; len(o.Endpoints)+len(o.Deployments) != 0 {
		t.Errorf("at first %+v", o)
	}
	ours, err := client(cluster.Config, v1alpha1.GroupVersion, v1alpha1.AddToScheme)
	if err != nil {
		t.Fatal(err)
	}
	discovery, err := client(cluster.Config, discoveryv1.SchemeGroupVersion, discoveryv1.AddToScheme)
	if err != nil {
		t.Fatal(err)
	}
	objects := routertest.One("one", nil, "10.0.0.1:5001")
	slice := objects.Slices[0]
	for _, o := range []metav1.Object{objects.Endpoints[0], objects.Deployments[0], slice} {
		o.SetNamespace("default")
	}
	create(t, ours, "onlineendpoints", objects.Endpoints[0])
	create(t, ours, "onlinedeployments", objects.Deployments[0])
	create(t, discovery, "endpointslices", slice)
	var builder table.Builder
	until(t, told, "the endpoint with its pod", func(o table.Objects) bool {
		e := builder.Build(o).Endpoint("one")
		return e != nil && e.Named("blue") != nil && len(e.Named("blue").Pods) == 1
	})
	if err := ours.Delete().Namespace("default").Resource("onlineendpoints").Name("one").Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	until(t, told, "the endpoint gone", func(o table.Objects) bool { return builder.Build(o).Endpoint("one") == nil })
	cancel()
	<-done
}

func until(t *testing.T, told <-chan table.Objects, what string, ok func(table.Objects) bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		select {
		case o := <-told:
			if ok(o) {
				return
			}
		case <-deadline:
			t.Fatalf("waiting for %s", what)
		}
	}
}

func create(t *testing.T, c *rest.RESTClient, resource string, o runtime.Object) {
	t.Helper()
	if err := c.Post().Namespace("default").Resource(resource).Body(o).Do(t.Context()).Error(); err != nil {
		t.Fatalf("creating %s: %v", resource, err)
	}
}

// install applies a definition of the chart's and waits until it is served.
func install(t *testing.T, config *rest.Config, file, resource string) {
	t.Helper()
	text, err := os.ReadFile(crds + file)
	if err != nil {
		t.Fatal(err)
	}
	body, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client(config, schema.GroupVersion{Group: "apiextensions.k8s.io", Version: "v1"}, func(*runtime.Scheme) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Post().Resource("customresourcedefinitions").SetHeader("Content-Type", "application/json").Body(body).Do(t.Context()).Error(); err != nil {
		t.Fatalf("installing %s: %v", file, err)
	}
	served := "/apis/" + v1alpha1.GroupVersion.String() + "/" + resource
	for deadline := time.After(time.Minute); c.Get().AbsPath(served).Do(t.Context()).Error() != nil; {
		select {
		case <-deadline:
			t.Fatalf("%s is not served", resource)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
