package preflight

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Kubernetes versions 1.x.
const (
	// oldestMinor serves ValidatingAdmissionPolicy as v1.
	oldestMinor = 30
	// newestMinor is that of the local cluster, on which everything is tested.
	newestMinor = 36
)

func checkFacts(s Subject, f Facts) []Finding {
	var out []Finding
	for _, u := range f.Unread {
		fix := "kubectl get --raw=/readyz?verbose says how the API server is; to look again: " + s.command()
		if apierrors.IsForbidden(u.Err) {
			fix = grant(s)
		}
		out = append(out, found(UnknownError, fix, "%s could not be read: %v", u.What, u.Err))
	}
	return out
}

func grant(s Subject) string {
	return fmt.Sprintf("kubectl create clusterrolebinding fairlead-agent-admin --clusterrole=cluster-admin --serviceaccount=%s:fairlead-agent", s.AgentNamespace)
}

func checkRights(s Subject, f Facts) []Finding {
	if f.Allowed {
		return nil
	}
	return one(found(InsufficientRights, grant(s),
		"the agent's account is not cluster-admin, and Kubernetes lets nobody grant rights that they do not have"))
}

func checkVersion(s Subject, f Facts) []Finding {
	switch {
	case f.Version == "":
		return nil
	case f.Major == 1 && f.Minor < oldestMinor:
		return one(found(VersionNotSupported, fmt.Sprintf("upgrade the cluster to Kubernetes 1.%d or newer, one minor version at a time; with kubeadm: kubeadm upgrade plan", oldestMinor),
			"the cluster runs Kubernetes %s; the oldest that is supported is 1.%d", f.Version, oldestMinor))
	case f.Major > 1 || f.Minor > newestMinor:
		return one(found(VersionNotTested, "with a newer fairlead: "+s.agent("connect", "update --kube-config <file>"),
			"the cluster runs Kubernetes %s; the newest that this agent was tested with is 1.%d", f.Version, newestMinor))
	}
	return nil
}

// selector is the node labels that every pod of the extension needs.
func selector(s Subject) map[string]string {
	out := map[string]string{}
	for key, value := range s.Settings.Effective() {
		if label, ok := strings.CutPrefix(key, "nodeSelector."); ok {
			out[label] = value
		}
	}
	return out
}

func matches(n corev1.Node, want map[string]string) bool {
	for label, value := range want {
		if n.Labels[label] != value {
			return false
		}
	}
	return true
}

func ready(n corev1.Node) bool {
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// usable reports whether the images run on a node; one that says nothing of itself is taken for a usual one.
func usable(n corev1.Node) bool {
	os, arch := n.Labels[corev1.LabelOSStable], n.Labels[corev1.LabelArchStable]
	return (os == "" || os == "linux") && (arch == "" || arch == "amd64" || arch == "arm64")
}

// barrier is the taint that keeps the extension's pods off a node, "" for none.
func barrier(n corev1.Node) string {
	for _, t := range n.Spec.Taints {
		tolerated := strings.HasPrefix(t.Key, "ml.azure.com/amlarc") && t.Value == "true"
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerated {
			return t.Key + ":" + string(t.Effect)
		}
	}
	return ""
}

// open are the nodes that take the extension's pods.
func open(s Subject, f Facts) []corev1.Node {
	want := selector(s)
	var out []corev1.Node
	for _, n := range f.Nodes {
		if ready(n) && usable(n) && !n.Spec.Unschedulable && barrier(n) == "" && matches(n, want) {
			out = append(out, n)
		}
	}
	return out
}

// join prints the command that adds a node.
const join = "kubeadm token create --print-join-command"

// checkNodes says the first reason why no node takes the extension's pods.
func checkNodes(s Subject, f Facts) []Finding {
	if len(open(s, f)) > 0 || f.unread("nodes") {
		return nil
	}
	finding := noNode(s, f.Nodes)
	if f.Autoscaler {
		finding.Level = Warning
		finding.Message += "; the cluster's autoscaler may make one"
	}
	return one(finding)
}

func noNode(s Subject, nodes []corev1.Node) Finding {
	want := selector(s)
	left := nodes
	narrow := func(ok func(corev1.Node) bool) []corev1.Node {
		return slices.DeleteFunc(slices.Clone(left), func(n corev1.Node) bool { return !ok(n) })
	}
	if len(left) == 0 {
		return found(InsufficientNode, "add a Linux node; with kubeadm: "+join, "the cluster has no node")
	}
	some := left[0].Name
	if left = narrow(func(n corev1.Node) bool { return matches(n, want) }); len(left) == 0 {
		label := labels(want)
		return found(InsufficientNode, "kubectl label node "+some+" "+strings.ReplaceAll(label, ",", " "), "no node has the labels of setting nodeSelector: %s", label)
	}
	if left = narrow(usable); len(left) == 0 {
		return found(InsufficientNode, "add a node with Linux on amd64 or arm64; with kubeadm: "+join, "no node runs Linux on amd64 or arm64")
	}
	some = left[0].Name
	if left = narrow(ready); len(left) == 0 {
		return found(InsufficientNode, "kubectl describe node "+some+" says why; on the node: systemctl restart kubelet", "no node is Ready, %s among them", some)
	}
	some = left[0].Name
	if left = narrow(func(n corev1.Node) bool { return !n.Spec.Unschedulable }); len(left) == 0 {
		return found(InsufficientNode, "kubectl uncordon "+some, "every node is cordoned, %s among them", some)
	}
	some = left[0].Name
	return found(InsufficientNode, fmt.Sprintf("kubectl taint node %s %s-", some, barrier(left[0])), "every node has a taint that keeps the extension's pods off, such as %s on %s", barrier(left[0]), some)
}

func labels(want map[string]string) string {
	var out []string
	for label, value := range want {
		out = append(out, label+"="+value)
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}

// checkCapacity compares sums. Before an upgrade the extension's own pods are among what is requested, so nothing is said then.
func checkCapacity(s Subject, f Facts) []Finding {
	nodes := open(s, f)
	if s.Phase != PreInstall || len(nodes) == 0 || f.Autoscaler {
		return nil
	}
	var free Amount
	for _, n := range nodes {
		rest := amountOf(n.Status.Allocatable).minus(f.Requested[n.Name])
		free = free.plus(Amount{max(0, rest.CPU), max(0, rest.Memory)})
	}
	_, need := s.Footprint.requests()
	if need.CPU <= free.CPU && need.Memory <= free.Memory {
		return nil
	}
	return one(found(InsufficientCapacity, "kubectl describe nodes | grep -A 8 'Allocated resources' says what takes it; remove pods, or add a node; with kubeadm: "+join,
		"the extension's pods ask for %s; %d nodes that take them have %s left", need, len(nodes), free))
}

// String is an amount as Kubernetes writes it.
func (a Amount) String() string { return fmt.Sprintf("%dm CPU and %dMi memory", a.CPU, a.Memory>>20) }

// proxy is what of `update` sends the agent through one.
const proxy = "update --proxy-https http://<proxy>:<port>"

// maxSkew is below the life of what the agent proves its identity with.
const maxSkew = 2 * time.Minute

func checkNetwork(s Subject, f Facts) []Finding {
	if f.Unreachable != nil {
		return one(found(BadNetwork, fmt.Sprintf("kubectl logs -n %s deployment/fairlead-agent tells more; through a proxy: %s", s.AgentNamespace, s.agent(proxy, proxy)),
			"the control plane cannot be reached from the cluster: %v", f.Unreachable))
	}
	if f.Ahead.Abs() > maxSkew {
		return one(found(ClockSkew, "on every node: timedatectl set-ntp true", "the control plane's clock and the cluster's differ by %s", f.Ahead.Abs().Round(time.Second)))
	}
	return nil
}

// restarts is how often the agent may have restarted before it is called unhealthy.
const restarts = 5

func checkAgent(s Subject, f Facts) []Finding {
	for _, p := range f.Agent {
		for _, c := range p.Status.ContainerStatuses {
			last := c.LastTerminationState.Terminated
			if c.RestartCount < restarts || last == nil {
				continue
			}
			mend := s.restartAgent()
			if last.Reason == "OOMKilled" {
				mend = fmt.Sprintf("kubectl set resources -n %s deployment/fairlead-agent -c %s --limits=memory=1Gi", s.AgentNamespace, c.Name)
			}
			return one(found(AgentUnhealthy, fmt.Sprintf("kubectl logs -n %s %s -c %s --previous says why; %s", p.Namespace, p.Name, c.Name, mend),
				"pod %s/%s: container %s restarted %d times, last with exit code %d (%s)", p.Namespace, p.Name, c.Name, c.RestartCount, last.ExitCode, last.Reason))
		}
	}
	return nil
}

func checkWebhooks(s Subject, f Facts) []Finding {
	var out []Finding
	for _, w := range f.Webhooks {
		if w.Answers || w.Release == s.Release {
			continue
		}
		namespace, service, _ := strings.Cut(w.Service, "/")
		out = append(out, found(WebhookNotAnswering, fmt.Sprintf("kubectl get endpointslices -n %s -l kubernetes.io/service-name=%s; if its owner is gone: kubectl delete %s %s", namespace, service, strings.ToLower(w.Kind), w.Config),
			"webhook %s of %s %s must be asked before pods are made, and Service %s has no pod that answers", w.Name, w.Kind, w.Config, w.Service))
	}
	return out
}
