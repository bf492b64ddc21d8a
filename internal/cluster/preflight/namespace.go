package preflight

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// leftInNamespace shows what keeps a namespace, and ends one of it whose controller is gone.
const leftInNamespace = "kubectl api-resources --verbs=list --namespaced -o name | xargs -n 1 kubectl get --ignore-not-found --show-kind -n %[1]s says what is left; " +
	"of each that nobody ends: kubectl patch <kind> <name> -n %[1]s --type=merge -p '{\"metadata\":{\"finalizers\":null}}'"

func checkNamespace(s Subject, f Facts) []Finding {
	if f.Namespace == nil || f.Namespace.DeletionTimestamp == nil || s.Phase == PreDelete {
		return nil
	}
	why := ""
	for _, c := range f.Namespace.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			why += "; " + c.Message
		}
	}
	return one(found(NamespaceTerminating, fmt.Sprintf(leftInNamespace, s.Namespace),
		"unable to create new content in namespace %s because it is being terminated%s", s.Namespace, why))
}

// checkQuota is asked before a first installation only: later the extension's own pods are in what is used.
func checkQuota(s Subject, f Facts) []Finding {
	if s.Phase != PreInstall {
		return nil
	}
	pods, need := s.Footprint.requests()
	needs := map[corev1.ResourceName]int64{
		corev1.ResourcePods: pods, corev1.ResourceCPU: need.CPU, corev1.ResourceRequestsCPU: need.CPU,
		corev1.ResourceMemory: need.Memory, corev1.ResourceRequestsMemory: need.Memory,
	}
	var out []Finding
	for _, q := range f.Quotas {
		for name, hard := range q.Status.Hard {
			want, counted := needs[name]
			used := q.Status.Used[name]
			left := hard.DeepCopy()
			left.Sub(used)
			have := left.Value()
			if name == corev1.ResourceCPU || name == corev1.ResourceRequestsCPU {
				have = left.MilliValue()
			}
			if counted && want > have {
				out = append(out, found(QuotaExceeded, fmt.Sprintf("kubectl edit resourcequota %s -n %s", q.Name, s.Namespace),
					"ResourceQuota %s/%s leaves %s of %s, and the extension needs %s", s.Namespace, q.Name, left.String(), name, shown(name, want)))
			}
		}
	}
	slices.SortFunc(out, func(a, b Finding) int { return strings.Compare(a.Message, b.Message) })
	return out
}

func shown(name corev1.ResourceName, n int64) string {
	switch name {
	case corev1.ResourcePods:
		return fmt.Sprint(n)
	case corev1.ResourceCPU, corev1.ResourceRequestsCPU:
		return fmt.Sprintf("%dm", n)
	}
	return fmt.Sprintf("%dMi", n>>20)
}

func checkLimitRange(s Subject, f Facts) []Finding {
	for _, l := range f.Limits {
		for _, item := range l.Spec.Limits {
			for _, p := range s.Footprint.Pods {
				if what := outside(item, p); what != "" {
					return one(found(LimitRangeConflict, fmt.Sprintf("kubectl edit limitrange %s -n %s", l.Name, s.Namespace),
						"LimitRange %s/%s: %s: %s", s.Namespace, l.Name, p.Workload, what))
				}
			}
		}
	}
	return nil
}

// outside says how a workload's pods, which have one container each, are outside of a limit.
func outside(item corev1.LimitRangeItem, p Pods) string {
	if item.Type != corev1.LimitTypeContainer && item.Type != corev1.LimitTypePod {
		return ""
	}
	most, least := amountOf(item.Max), amountOf(item.Min)
	switch {
	case most.CPU > 0 && p.Limits.CPU > most.CPU:
		return fmt.Sprintf("its limit of %dm CPU is above the maximum, %dm", p.Limits.CPU, most.CPU)
	case most.Memory > 0 && p.Limits.Memory > most.Memory:
		return fmt.Sprintf("its limit of %dMi memory is above the maximum, %dMi", p.Limits.Memory>>20, most.Memory>>20)
	case p.Requests.CPU < least.CPU:
		return fmt.Sprintf("its request of %dm CPU is below the minimum, %dm", p.Requests.CPU, least.CPU)
	case p.Requests.Memory < least.Memory:
		return fmt.Sprintf("its request of %dMi memory is below the minimum, %dMi", p.Requests.Memory>>20, least.Memory>>20)
	}
	return ""
}

// checkPolicies looks for policies that close the namespace to all its pods, where no other opens it to all of them again.
func checkPolicies(s Subject, f Facts) []Finding {
	var out []Finding
	for _, way := range []networkingv1.PolicyType{networkingv1.PolicyTypeEgress, networkingv1.PolicyTypeIngress} {
		closed, opened := "", false
		for _, p := range f.Policies {
			all := len(p.Spec.PodSelector.MatchLabels) == 0 && len(p.Spec.PodSelector.MatchExpressions) == 0
			rules := len(p.Spec.Egress)
			if way == networkingv1.PolicyTypeIngress {
				rules = len(p.Spec.Ingress)
			}
			switch {
			case !all || !slices.Contains(p.Spec.PolicyTypes, way):
			case rules > 0:
				opened = true
			case closed == "":
				closed = p.Name
			}
		}
		if closed == "" || opened {
			continue
		}
		what := "its pods reach neither the API server nor the control plane"
		if way == networkingv1.PolicyTypeIngress {
			what = "the API server does not reach the webhooks of its controllers"
		}
		out = append(out, found(BadNetwork, fmt.Sprintf("allow %s beside it, or: kubectl delete networkpolicy %s -n %s", strings.ToLower(string(way)), closed, s.Namespace),
			"NetworkPolicy %s/%s allows no %s: %s", s.Namespace, closed, strings.ToLower(string(way)), what))
	}
	return out
}

const enforce = "pod-security.kubernetes.io/enforce"

func checkPodSecurity(s Subject, f Facts) []Finding {
	if f.Namespace == nil {
		return nil
	}
	level := f.Namespace.Labels[enforce]
	if level == "" || level == "privileged" {
		return nil
	}
	for _, p := range s.Footprint.Pods {
		if p.Host != "" {
			return one(found(PodSecurityConflict, fmt.Sprintf("kubectl label namespace %s %s=privileged --overwrite", s.Namespace, enforce),
				"namespace %s enforces Pod Security level %q, and %s needs %s", s.Namespace, level, p.Workload, p.Host))
		}
	}
	return nil
}

func checkPullSecret(s Subject, f Facts) []Finding {
	if s.PullSecret == "" || f.PullSecret {
		return nil
	}
	return one(found(PullSecretNotFound, fmt.Sprintf("kubectl create secret docker-registry %s -n %s --docker-server=<registry> --docker-username=<user> --docker-password=<password>", s.PullSecret, s.Namespace),
		"Secret %s/%s is not there", s.Namespace, s.PullSecret))
}

// checkOwnership tells what becomes of objects that are there already. A release that is there keeps what it has, and so does whoever
// made objects that only have a name in common with the extension's: an uninstall would delete them.
func checkOwnership(s Subject, f Facts) []Finding {
	var out []Finding
	var orphans []string
	plugin := f.foreign(s, registers)
	for _, o := range f.Existing {
		switch {
		case o.Release == s.Release && o.ReleaseNamespace == s.Namespace:
		case plugin != nil && o.Name == devicePlugin: // left alone, whosoever it is
		case o.Alive:
			out = append(out, found(OwnedByAnotherRelease, fmt.Sprintf("helm uninstall %s -n %s; to keep that release and hand over this object: %s", o.Release, o.ReleaseNamespace, adopt(s, o)),
				"%s exists and cannot be taken over: invalid ownership metadata; annotation validation error: key \"meta.helm.sh/release-name\" must equal %q: current value is %q, a release in namespace %s", o, s.Release, o.Release, o.ReleaseNamespace))
		case !o.Ours:
			out = append(out, found(OwnedByAnotherRelease, fmt.Sprintf("kubectl delete %s, with whatever deploys it; to hand it over: %s", o.ref(), adopt(s, o)),
				"%s exists and was made by no installation of this extension: invalid ownership metadata; label app.kubernetes.io/part-of must equal azureml, app.kubernetes.io/managed-by must equal Helm", o))
		default:
			orphans = append(orphans, o.String())
		}
	}
	if len(orphans) > 0 {
		finding := found(LeftoversAdopted, "", "left by a former installation, and this one's from now on: %s", strings.Join(orphans, ", "))
		finding.Level = Information
		out = append(out, finding)
	}
	return out
}

// adopt is the command that gives an object to the subject's release.
func adopt(s Subject, o Object) string {
	return fmt.Sprintf("kubectl annotate %s --overwrite meta.helm.sh/release-name=%s meta.helm.sh/release-namespace=%s", o.ref(), s.Release, s.Namespace)
}

// ref is the object as kubectl is told of it.
func (o Object) ref() string {
	ref := strings.ToLower(o.Kind) + " " + o.Name
	if o.Namespace != "" {
		ref += " -n " + o.Namespace
	}
	return ref
}

// String names the object.
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}
