package reporter

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/link"
)

// jobStatus is an AmlJob's status in the link's words. A job that aml-operator has not looked at yet is queued.
func jobStatus(job *v1alpha1.AmlJob) link.JobStatus {
	s := job.Status
	out := link.JobStatus{
		ID: job.Name, State: s.State, Reason: s.Reason, Message: s.Message, Attempt: int(s.Attempt),
		StartTime: timestamp(s.StartTime), EndTime: timestamp(s.EndTime),
	}
	if out.State == "" {
		out.State = "Queued"
	}
	if s.ExitCode != nil {
		code := int(*s.ExitCode)
		out.ExitCode = &code
	}
	for _, p := range s.Pods {
		out.Pods = append(out.Pods, link.JobPod{Name: p.Name, Node: p.Node, Rank: int(p.Rank), Phase: p.Phase})
	}
	return out
}

// deletedStatus is the end of a job whose AmlJob was deleted before.
func deletedStatus(job *v1alpha1.AmlJob, now time.Time) link.JobStatus {
	last, out := jobStatus(job), link.AmlJobDeleted(job.Namespace, job.Name)
	out.Attempt, out.StartTime, out.EndTime, out.Pods = last.Attempt, last.StartTime, now.UTC().Format(time.RFC3339), last.Pods
	return out
}

func timestamp(t *metav1.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// nodesStatus is the cluster's inventory, sorted so that equal clusters give equal documents. release is the extension's namespace.
func nodesStatus(nodes []corev1.Node, namespaces []corev1.Namespace, types []v1alpha1.InstanceType, release string) link.NodesStatus {
	out := link.NodesStatus{Nodes: []link.Node{}, Namespaces: []string{}, InstanceTypes: []link.InstanceType{}}
	for _, n := range nodes {
		out.Nodes = append(out.Nodes, link.Node{Name: n.Name, Ready: ready(n), Labels: n.Labels, Allocatable: quantities(n.Status.Allocatable)})
	}
	for _, n := range namespaces {
		if n.Status.Phase != corev1.NamespaceTerminating && !v1alpha1.ReservedNamespace(n.Name, release) {
			out.Namespaces = append(out.Namespaces, n.Name)
		}
	}
	isDefault := func(t v1alpha1.InstanceType) bool { return t.Name == v1alpha1.DefaultInstanceType }
	if !slices.ContainsFunc(types, isDefault) {
		types = append(slices.Clone(types), v1alpha1.InstanceType{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.DefaultInstanceType}, Spec: v1alpha1.ImplicitDefault()})
	}
	for _, t := range types {
		out.InstanceTypes = append(out.InstanceTypes, link.InstanceType{
			Name: t.Name, NodeSelector: t.Spec.NodeSelector,
			Requests: quantities(t.Spec.Resources.Requests), Limits: quantities(t.Spec.Resources.Limits),
		})
	}
	slices.SortFunc(out.Nodes, func(a, b link.Node) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(out.InstanceTypes, func(a, b link.InstanceType) int { return strings.Compare(a.Name, b.Name) })
	slices.Sort(out.Namespaces)
	return out
}

// ready reports whether a node takes pods: its kubelet is well and nobody has cordoned it.
func ready(n corev1.Node) bool {
	if n.Spec.Unschedulable {
		return false
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func quantities(list corev1.ResourceList) map[string]string {
	out := make(map[string]string, len(list))
	for name, q := range list {
		out[string(name)] = q.String()
	}
	return out
}

// slim drops the labels that no instance type selects by, for clusters so large that the whole would not fit into one value.
func slim(s link.NodesStatus) link.NodesStatus {
	used := map[string]bool{}
	for _, t := range s.InstanceTypes {
		for key := range t.NodeSelector {
			used[key] = true
		}
	}
	nodes := slices.Clone(s.Nodes)
	for i, n := range nodes {
		labels := map[string]string{}
		for key, value := range n.Labels {
			if used[key] {
				labels[key] = value
			}
		}
		nodes[i].Labels = labels
	}
	s.Nodes = nodes
	return s
}
