// Package reporter is cluster-status-reporter: it watches AmlJobs, nodes, namespaces and instance types, and online endpoints,
// deployments and the inference router's Service where those are installed, and posts what it sees as observed values. It changes nothing in the cluster.
package reporter

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/link"
)

// debounce gathers changes of the inventory: a cluster that scales changes many nodes at once.
const debounce = time.Second

// Config is what a Reporter needs.
type Config struct {
	Kube *rest.Config
	// Observe posts one value; it must not block and may refuse a value that is too large.
	Observe func(key string, value any) error
	// Inference says that the extension serves online endpoints.
	Inference bool
	// Namespace is the extension's own; no job may run there.
	Namespace string
	// Clock tells the time; nil means time.Now.
	Clock func() time.Time
	Log   *slog.Logger
}

// Reporter watches and posts.
type Reporter struct {
	cfg   Config
	cache cache.Cache
	dirty chan struct{}
	// gone are the ids of jobs whose AmlJob was deleted too early. That was the last word about them: an id is never used again.
	gone map[string]bool
}

// New makes a Reporter.
func New(cfg Config) (*Reporter, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("registering kinds: %w", err)
		}
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	c, err := cache.New(cfg.Kube, cache.Options{Scheme: scheme, DefaultTransform: lighten, ByObject: map[client.Object]cache.ByObject{
		// The one Service that it may watch.
		&corev1.Service{}: {Namespaces: map[string]cache.Config{cfg.Namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", v1alpha1.RouterService)}}},
	}})
	if err != nil {
		return nil, fmt.Errorf("making a cache: %w", err)
	}
	return &Reporter{cfg: cfg, cache: c, dirty: make(chan struct{}, 1), gone: map[string]bool{}}, nil
}

// lighten drops what is never reported before an object is kept in memory.
func lighten(object any) (any, error) {
	if o, err := meta.Accessor(object); err == nil {
		o.SetManagedFields(nil)
		o.SetAnnotations(nil)
	}
	switch o := object.(type) {
	case *corev1.Node:
		o.Status.Images, o.Status.VolumesInUse, o.Status.VolumesAttached = nil, nil, nil
	case *v1alpha1.AmlJob:
		o.Spec = v1alpha1.AmlJobSpec{}
	case *v1alpha1.OnlineDeployment:
		o.Spec = v1alpha1.OnlineDeploymentSpec{Endpoint: o.Spec.Endpoint, Name: o.Spec.Name}
	case *v1alpha1.OnlineEndpoint:
		o.Spec = v1alpha1.OnlineEndpointSpec{}
	}
	return object, nil
}

// Run watches and posts until ctx ends.
func (r *Reporter) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.cache.Start(ctx) })
	group.Go(func() error {
		if err := r.watch(ctx); err != nil {
			return err
		}
		return r.postInventory(ctx)
	})
	return group.Wait()
}

// Synced reports an error until every watch has delivered what existed.
func (r *Reporter) Synced(ctx context.Context) error {
	if !r.cache.WaitForCacheSync(ctx) {
		return fmt.Errorf("the first lists from the API server are not complete")
	}
	return nil
}

func (r *Reporter) watch(ctx context.Context) error {
	jobs, err := r.cache.GetInformer(ctx, &v1alpha1.AmlJob{}, cache.BlockUntilSynced(false))
	if err != nil {
		return fmt.Errorf("watching AmlJobs: %w", err)
	}
	if _, err := jobs.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    r.postJob,
		UpdateFunc: func(_, object any) { r.postJob(object) },
		DeleteFunc: r.postDeleted,
	}); err != nil {
		return fmt.Errorf("watching AmlJobs: %w", err)
	}
	for _, o := range []client.Object{&corev1.Node{}, &corev1.Namespace{}, &v1alpha1.InstanceType{}} {
		informer, err := r.cache.GetInformer(ctx, o, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watching %T: %w", o, err)
		}
		if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc: r.touch, UpdateFunc: func(_, object any) { r.touch(object) }, DeleteFunc: r.touch,
		}); err != nil {
			return fmt.Errorf("watching %T: %w", o, err)
		}
	}
	if r.cfg.Inference {
		return r.watchServing(ctx)
	}
	return nil
}

func (r *Reporter) postJob(object any) {
	if job, ok := object.(*v1alpha1.AmlJob); ok && !r.gone[job.Name] {
		r.post(jobStatus(job))
	}
}

// postDeleted tells of a job that had not ended when its AmlJob was deleted. If the gateway deleted it, the control plane has ended
// the job or dropped it before, and does not listen any more. Handlers of one informer are called one at a time.
func (r *Reporter) postDeleted(object any) {
	if unknown, ok := object.(toolscache.DeletedFinalStateUnknown); ok {
		object = unknown.Obj
	}
	if job, ok := object.(*v1alpha1.AmlJob); ok && !job.Status.Terminal() {
		r.gone[job.Name] = true
		r.post(deletedStatus(job, r.cfg.Clock()))
	}
}

func (r *Reporter) post(s link.JobStatus) {
	r.observe(link.PrefixJob+s.ID, s)
}

func (r *Reporter) touch(any) {
	select {
	case r.dirty <- struct{}{}:
	default:
	}
}

// postInventory posts NodesStatus at start and a second after something changed, when it is not what was posted last.
func (r *Reporter) postInventory(ctx context.Context) error {
	if !r.cache.WaitForCacheSync(ctx) {
		return ctx.Err()
	}
	last := ""
	var lastRouter *link.RouterStatus
	for {
		if r.cfg.Inference {
			router, err := r.router(ctx)
			if err != nil {
				return err
			}
			if lastRouter == nil || !reflect.DeepEqual(router, *lastRouter) {
				r.observe(link.KeyRouter, router)
				lastRouter = &router
			}
		}
		status, err := r.inventory(ctx)
		if err != nil {
			return err
		}
		doc, err := json.Marshal(status)
		if err != nil {
			return err
		}
		if string(doc) != last {
			if len(doc) > link.MaxValue {
				status = slim(status)
			}
			if err := r.cfg.Observe(link.KeyNodes, status); err != nil {
				r.cfg.Log.Error("posting the cluster's nodes", "nodes", len(status.Nodes), "error", err)
			}
			last = string(doc)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.dirty:
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(debounce):
		}
	}
}

func (r *Reporter) inventory(ctx context.Context) (link.NodesStatus, error) {
	var nodes corev1.NodeList
	var namespaces corev1.NamespaceList
	var types v1alpha1.InstanceTypeList
	for _, list := range []client.ObjectList{&nodes, &namespaces, &types} {
		if err := r.cache.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return link.NodesStatus{}, fmt.Errorf("reading %T: %w", list, err)
		}
	}
	return nodesStatus(nodes.Items, namespaces.Items, types.Items, r.cfg.Namespace), nil
}
