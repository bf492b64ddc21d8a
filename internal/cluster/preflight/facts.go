package preflight

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// Facts are all that checks know of a cluster.
type Facts struct {
	// Unread says what could not be read, and why; checks take it for absent.
	Unread []Unread
	// Major, Minor and Version are the API server's.
	Major, Minor int
	Version      string
	// Groups are the versions that the API server serves, by group.
	Groups map[string][]string
	// Allowed says that the agent may do everything.
	Allowed bool
	Nodes   []corev1.Node
	// Requested is what the pods of a node ask for, by the node's name.
	Requested map[string]Amount
	// Autoscaler says that the cluster makes nodes when it needs them.
	Autoscaler bool
	// Workloads are all Deployments, StatefulSets and DaemonSets.
	Workloads []Workload
	Webhooks  []Webhook
	// NvidiaRuntime says that there is a runtime class nvidia.
	NvidiaRuntime bool
	// Balancers says that a Service of the cluster has got a load balancer's address.
	Balancers bool
	// Namespace is the release namespace, nil when there is none yet; the next four are in it.
	Namespace *corev1.Namespace
	Quotas    []corev1.ResourceQuota
	Limits    []corev1.LimitRange
	Policies  []networkingv1.NetworkPolicy
	// TLS is the Secret that setting sslSecret names, nil when there is none.
	TLS *corev1.Secret
	// PullSecret says that the Secret for pulling images is there.
	PullSecret bool
	// Existing are the objects of the chart that the cluster has already.
	Existing []Object
	// Agent are the pods of the agent.
	Agent []corev1.Pod
	// Kueue is the configuration of Kueue's controller, "" without one.
	Kueue string
	// Unreachable is why the control plane cannot be reached, nil when it can.
	Unreachable error
	// Ahead is how far the control plane's clock is ahead of the agent's.
	Ahead time.Duration
}

// unread reports whether a part of the facts is missing.
func (f Facts) unread(what string) bool {
	return slices.ContainsFunc(f.Unread, func(u Unread) bool { return u.What == what })
}

// Unread is a fact that could not be read.
type Unread struct {
	What string
	Err  error
}

// Amount is some CPU in millicores and some memory in bytes.
type Amount struct{ CPU, Memory int64 }

func (a Amount) plus(b Amount) Amount  { return Amount{a.CPU + b.CPU, a.Memory + b.Memory} }
func (a Amount) minus(b Amount) Amount { return Amount{a.CPU - b.CPU, a.Memory - b.Memory} }
func (a Amount) times(n int64) Amount  { return Amount{a.CPU * n, a.Memory * n} }

func amountOf(list corev1.ResourceList) Amount {
	return Amount{list.Cpu().MilliValue(), list.Memory().Value()}
}

// Workload is a Deployment, StatefulSet or DaemonSet.
type Workload struct {
	Kind, Namespace, Name string
	// Release is the name of the Helm release that it belongs to, "" when it belongs to none.
	Release string
	Labels  map[string]string
	Images  []string
	// Args are those of its containers, their commands before them.
	Args []string
	// Ready says that it has all the pods it wants.
	Ready bool
}

func (w Workload) String() string { return w.Kind + " " + w.Namespace + "/" + w.Name }

// Webhook is an admission webhook that must be asked before pods or workloads are made.
type Webhook struct {
	// Kind and Config are its configuration's; Release is the Helm release that has it.
	Kind, Config, Name, Release string
	// Service is namespace/name, and Answers says that there is a pod behind it.
	Service string
	Answers bool
}

// Object is an object of the chart that the cluster has already.
type Object struct {
	APIVersion, Kind, Namespace, Name string
	// Release and ReleaseNamespace are those of the Helm release that has it, "" without one, and Alive says that it is there.
	Release, ReleaseNamespace string
	Alive                     bool
	// Ours says that it has the labels of an object that some installation of this extension made.
	Ours bool
}

// Footprint is what a chart runs.
type Footprint struct {
	Pods []Pods
	// Objects are everything that the chart makes.
	Objects []Object
}

// Pods are the pods of one workload of the chart.
type Pods struct {
	Workload string
	Count    int64
	// Requests and Limits are of one pod.
	Requests, Limits Amount
	// Host is what the pods need of their node ("hostPath volumes"), "" for nothing.
	Host string
}

func (p Footprint) requests() (count int64, sum Amount) {
	for _, p := range p.Pods {
		count += p.Count
		sum = sum.plus(p.Requests.times(p.Count))
	}
	return count, sum
}

// foreign finds the first workload that ok accepts and that is not the subject's own.
func (f Facts) foreign(s Subject, ok func(Workload) bool) *Workload {
	i := slices.IndexFunc(f.Workloads, func(w Workload) bool {
		return !(w.Namespace == s.Namespace && w.Release == s.Release) && ok(w)
	})
	if i < 0 {
		return nil
	}
	return &f.Workloads[i]
}

// image accepts workloads with an image whose name, without registry and tag, ends in one of the names.
func image(names ...string) func(Workload) bool {
	return func(w Workload) bool {
		return slices.ContainsFunc(w.Images, func(ref string) bool {
			ref, _, _ = strings.Cut(ref, "@")
			if colon := strings.LastIndexByte(ref, ':'); colon > strings.LastIndexByte(ref, '/') {
				ref = ref[:colon]
			}
			base := ref[strings.LastIndexByte(ref, '/')+1:]
			return slices.Contains(names, base)
		})
	}
}
