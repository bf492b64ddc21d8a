// Package watch follows the cluster's endpoints, deployments and the addresses of pods. While the API server is away, it goes on
// with what it has.
package watch

import (
	"context"
	"fmt"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/router/table"
)

// settle is how long changes are gathered before they are told: a rolling update comes as many.
const settle = 10 * time.Millisecond

// Run tells every state of the cluster, first when all of it was read, until ctx ends.
func Run(ctx context.Context, config *rest.Config, tell func(table.Objects)) error {
	ours, err := client(config, v1alpha1.GroupVersion, v1alpha1.AddToScheme)
	if err != nil {
		return err
	}
	discovery, err := client(config, discoveryv1.SchemeGroupVersion, discoveryv1.AddToScheme)
	if err != nil {
		return err
	}
	changed := make(chan struct{}, 1)
	endpoints := follow(ctx, ours, "onlineendpoints", &v1alpha1.OnlineEndpoint{}, changed)
	deployments := follow(ctx, ours, "onlinedeployments", &v1alpha1.OnlineDeployment{}, changed)
	slices := follow(ctx, discovery, "endpointslices", &discoveryv1.EndpointSlice{}, changed)
	if !cache.WaitForCacheSync(ctx.Done(), endpoints.HasSynced, deployments.HasSynced, slices.HasSynced) {
		return ctx.Err()
	}
	for {
		tell(table.Objects{
			Endpoints: list[*v1alpha1.OnlineEndpoint](endpoints), Deployments: list[*v1alpha1.OnlineDeployment](deployments),
			Slices: list[*discoveryv1.EndpointSlice](slices),
		})
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settle):
		}
	}
}

func client(config *rest.Config, gv schema.GroupVersion, addToScheme func(*runtime.Scheme) error) (*rest.RESTClient, error) {
	scheme := runtime.NewScheme()
	if err := addToScheme(scheme); err != nil {
		return nil, fmt.Errorf("registering kinds of %s: %w", gv, err)
	}
	metav1.AddToGroupVersion(scheme, gv)
	config = rest.CopyConfig(config)
	config.GroupVersion, config.APIPath = &gv, "/apis"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("making a client of %s: %w", gv, err)
	}
	return c, nil
}

// follow keeps a copy of all objects of a resource, and says when one changed in a way that may matter.
func follow(ctx context.Context, c *rest.RESTClient, resource string, kind runtime.Object, changed chan<- struct{}) cache.SharedInformer {
	informer := cache.NewSharedInformer(cache.NewListWatchFromClient(c, resource, metav1.NamespaceAll, fields.Everything()), kind, 0)
	_ = informer.SetTransform(lean) // It fails only for an informer that was started.
	notify := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { notify() }, UpdateFunc: func(_, _ any) { notify() }, DeleteFunc: func(any) { notify() },
	})
	go informer.Run(ctx.Done())
	return informer
}

// lean drops what the router has no use for.
func lean(obj any) (any, error) {
	switch o := obj.(type) {
	case *discoveryv1.EndpointSlice:
		o.ManagedFields, o.Annotations = nil, nil
		for i := range o.Endpoints {
			e := &o.Endpoints[i]
			*e = discoveryv1.Endpoint{Addresses: e.Addresses, Conditions: e.Conditions}
		}
	case *v1alpha1.OnlineDeployment:
		o.ManagedFields, o.Annotations = nil, nil
		o.Spec.EnvironmentVariables, o.Spec.CA = nil, ""
	case *v1alpha1.OnlineEndpoint:
		o.ManagedFields, o.Annotations = nil, nil
	}
	return obj, nil
}

func list[T any](informer cache.SharedInformer) []T {
	var all []T
	for _, o := range informer.GetStore().List() {
		if t, ok := o.(T); ok {
			all = append(all, t)
		}
	}
	return all
}
