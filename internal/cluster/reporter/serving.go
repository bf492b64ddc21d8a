package reporter

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/link"
)

// maxRouterNodes is how many nodes' addresses are told: any will do.
const maxRouterNodes = 5

// watchServing watches what inference adds.
func (r *Reporter) watchServing(ctx context.Context) error {
	for _, w := range []struct {
		object client.Object
		seen   func(any)
	}{{&v1alpha1.OnlineEndpoint{}, r.postEndpoint}, {&v1alpha1.OnlineDeployment{}, r.postDeployment}, {&corev1.Service{}, r.touch}} {
		informer, err := r.cache.GetInformer(ctx, w.object, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watching %T: %w", w.object, err)
		}
		h := toolscache.ResourceEventHandlerFuncs{AddFunc: w.seen, UpdateFunc: func(_, object any) { w.seen(object) }}
		if _, service := w.object.(*corev1.Service); service {
			h.DeleteFunc = w.seen
		}
		if _, err := informer.AddEventHandler(h); err != nil {
			return fmt.Errorf("watching %T: %w", w.object, err)
		}
	}
	return nil
}

func (r *Reporter) postEndpoint(object any) {
	if e, ok := object.(*v1alpha1.OnlineEndpoint); ok {
		r.observe(link.PrefixEndpoint+e.Name, endpointStatus(e))
	}
}

func (r *Reporter) postDeployment(object any) {
	if d, ok := object.(*v1alpha1.OnlineDeployment); ok {
		r.observe(link.PrefixDeployment+d.Spec.Endpoint+"/"+d.Spec.Name, deploymentStatus(d))
	}
}

func (r *Reporter) observe(key string, value any) {
	if err := r.cfg.Observe(key, value); err != nil {
		r.cfg.Log.Error("posting a status", "key", key, "error", err)
	}
}

// endpointStatus: what is in the API server is what routers serve by.
func endpointStatus(e *v1alpha1.OnlineEndpoint) link.ServingStatus {
	return link.ServingStatus{Revision: e.Labels[v1alpha1.LabelRevision], State: link.ServingSucceeded}
}

// deploymentStatus is a deployment's status in the link's words. A status of an older specification says nothing of this one.
func deploymentStatus(d *v1alpha1.OnlineDeployment) link.ServingStatus {
	s := d.Status
	out := link.ServingStatus{Revision: d.Labels[v1alpha1.LabelRevision], State: link.ServingPending, Replicas: s.Replicas, ReadyReplicas: s.ReadyReplicas}
	if s.ObservedGeneration != d.Generation {
		return out
	}
	out.Reason, out.Message = s.Reason, s.Message
	switch s.State {
	case v1alpha1.DeploymentSucceeded:
		out.State = link.ServingSucceeded
	case v1alpha1.DeploymentFailed:
		out.State = link.ServingFailed
	}
	return out
}

// router reads where the inference router is.
func (r *Reporter) router(ctx context.Context) (link.RouterStatus, error) {
	var services corev1.ServiceList
	var nodes corev1.NodeList
	for _, list := range []client.ObjectList{&services, &nodes} {
		if err := r.cache.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return link.RouterStatus{}, fmt.Errorf("reading %T: %w", list, err)
		}
	}
	if len(services.Items) == 0 {
		return link.RouterStatus{}, nil
	}
	return routerStatus(&services.Items[0], nodes.Items), nil
}

func routerStatus(s *corev1.Service, nodes []corev1.Node) link.RouterStatus {
	out := link.RouterStatus{Type: string(s.Spec.Type), ClusterIP: s.Spec.ClusterIP}
	for _, i := range s.Status.LoadBalancer.Ingress {
		if address := cmp.Or(i.Hostname, i.IP); address != "" {
			out.LoadBalancers = append(out.LoadBalancers, address)
		}
	}
	for _, p := range s.Spec.Ports {
		if p.Name == v1alpha1.RouterHTTP || p.Name == v1alpha1.RouterHTTPS {
			out.Ports = append(out.Ports, link.RouterPort{Name: p.Name, Port: p.Port, NodePort: p.NodePort})
		}
	}
	for _, n := range nodes {
		if address := nodeAddress(n); ready(n) && address != "" {
			out.Nodes = append(out.Nodes, address)
		}
	}
	slices.Sort(out.Nodes)
	out.Nodes = out.Nodes[:min(len(out.Nodes), maxRouterNodes)]
	return out
}

// nodeAddress is where a node is reached from outside, or else from inside.
func nodeAddress(n corev1.Node) string {
	for _, typ := range []corev1.NodeAddressType{corev1.NodeExternalIP, corev1.NodeInternalIP} {
		for _, a := range n.Status.Addresses {
			if a.Type == typ {
				return a.Address
			}
		}
	}
	return ""
}
