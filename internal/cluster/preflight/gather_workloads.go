package preflight

import (
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ReleaseAnnotation and ReleaseNamespaceAnnotation are how Helm says whose an object is.
const (
	ReleaseAnnotation          = "meta.helm.sh/release-name"
	ReleaseNamespaceAnnotation = "meta.helm.sh/release-namespace"
)

func (g *gatherer) workloads() error {
	deployments, err := g.kube.AppsV1().Deployments(metav1.NamespaceAll).List(g.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range deployments.Items {
		want := int32(1)
		if d.Spec.Replicas != nil {
			want = *d.Spec.Replicas
		}
		g.workload("Deployment", d.ObjectMeta, d.Spec.Template, d.Status.AvailableReplicas >= want)
	}
	sets, err := g.kube.AppsV1().StatefulSets(metav1.NamespaceAll).List(g.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range sets.Items {
		want := int32(1)
		if d.Spec.Replicas != nil {
			want = *d.Spec.Replicas
		}
		g.workload("StatefulSet", d.ObjectMeta, d.Spec.Template, d.Status.ReadyReplicas >= want)
	}
	daemons, err := g.kube.AppsV1().DaemonSets(metav1.NamespaceAll).List(g.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range daemons.Items {
		g.workload("DaemonSet", d.ObjectMeta, d.Spec.Template, d.Status.NumberReady >= d.Status.DesiredNumberScheduled)
	}
	return nil
}

func (g *gatherer) workload(kind string, m metav1.ObjectMeta, pods corev1.PodTemplateSpec, ready bool) {
	w := Workload{Kind: kind, Namespace: m.Namespace, Name: m.Name, Release: m.Annotations[ReleaseAnnotation], Labels: m.Labels, Ready: ready}
	for _, c := range pods.Spec.Containers {
		w.Images = append(w.Images, c.Image)
		w.Args = slices.Concat(w.Args, c.Command, c.Args)
	}
	g.f.Workloads = append(g.f.Workloads, w)
}

func (g *gatherer) services() error {
	list, err := g.kube.CoreV1().Services(metav1.NamespaceAll).List(g.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	g.f.Balancers = slices.ContainsFunc(list.Items, func(s corev1.Service) bool {
		return s.Spec.Type == corev1.ServiceTypeLoadBalancer && len(s.Status.LoadBalancer.Ingress) > 0
	})
	return nil
}

// webhooks lists those that must be asked before the extension's pods are made and that are in the cluster itself.
func (g *gatherer) webhooks() error {
	validating, err := g.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().List(g.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, c := range validating.Items {
		for _, w := range c.Webhooks {
			g.webhook(Webhook{Kind: "ValidatingWebhookConfiguration", Config: c.Name, Name: w.Name, Release: c.Annotations[ReleaseAnnotation]}, w)
		}
	}
	mutating, err := g.kube.AdmissionregistrationV1().MutatingWebhookConfigurations().List(g.ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, c := range mutating.Items {
		for _, w := range c.Webhooks {
			g.webhook(Webhook{Kind: "MutatingWebhookConfiguration", Config: c.Name, Name: w.Name, Release: c.Annotations[ReleaseAnnotation]}, admissionv1.ValidatingWebhook{
				ClientConfig: w.ClientConfig, Rules: w.Rules, FailurePolicy: w.FailurePolicy, NamespaceSelector: w.NamespaceSelector, ObjectSelector: w.ObjectSelector, MatchConditions: w.MatchConditions,
			})
		}
	}
	return nil
}

func (g *gatherer) webhook(found Webhook, w admissionv1.ValidatingWebhook) {
	service := w.ClientConfig.Service
	must := w.FailurePolicy == nil || *w.FailurePolicy == admissionv1.Fail
	if service == nil || !must || !asked(w) {
		return
	}
	found.Service = service.Namespace + "/" + service.Name
	slicesOf, err := g.kube.DiscoveryV1().EndpointSlices(service.Namespace).List(g.ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + service.Name})
	// One that cannot be looked at is not accused.
	found.Answers = err != nil || slices.ContainsFunc(slicesOf.Items, answers)
	g.f.Webhooks = append(g.f.Webhooks, found)
}

func answers(s discoveryv1.EndpointSlice) bool {
	return slices.ContainsFunc(s.Endpoints, func(e discoveryv1.Endpoint) bool { return e.Conditions.Ready == nil || *e.Conditions.Ready })
}

// asked reports whether a webhook is asked about pods or workloads of any namespace. Those with selectors or conditions are for
// particular objects and not for the extension's.
func asked(w admissionv1.ValidatingWebhook) bool {
	particular := !empty(w.NamespaceSelector) || !empty(w.ObjectSelector) || len(w.MatchConditions) > 0
	return !particular && slices.ContainsFunc(w.Rules, func(r admissionv1.RuleWithOperations) bool {
		kinds := []string{"*", "*/*", "pods", "deployments", "statefulsets", "daemonsets", "serviceaccounts", "services"}
		made := slices.Contains(r.Operations, admissionv1.Create) || slices.Contains(r.Operations, admissionv1.OperationAll)
		return made && slices.ContainsFunc(r.Resources, func(name string) bool { return slices.Contains(kinds, name) }) &&
			slices.ContainsFunc(r.APIGroups, func(group string) bool { return group == "" || group == "*" || group == "apps" })
	})
}

func empty(s *metav1.LabelSelector) bool {
	return s == nil || len(s.MatchLabels) == 0 && len(s.MatchExpressions) == 0
}
