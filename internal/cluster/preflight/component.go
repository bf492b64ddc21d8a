package preflight

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// What the extension needs of groups that others may serve too.
const (
	jobSetGroup, jobSetVersion     = "jobset.x-k8s.io", "v1alpha2"
	amlGroup, amlVersion           = "amlarc.azureml.com", "v1alpha1"
	jobSetManifest                 = "https://github.com/kubernetes-sigs/jobset/releases/download/v0.10.1/manifests.yaml"
	openshiftGroup, openshiftAsked = "security.openshift.io", "openshift"
)

// checkCustomResources: definitions of others are left alone, so what they serve must do.
func checkCustomResources(_ Subject, f Facts) []Finding {
	versions := f.Groups[amlGroup]
	if len(versions) == 0 || slices.Contains(versions, amlVersion) {
		return nil
	}
	return one(found(CustomResourceConflict, "when the installation that they belong to is removed: kubectl get crd -o name | grep "+amlGroup+" | xargs kubectl delete",
		"the cluster serves %s/%s of another installation, and the extension needs %s", amlGroup, strings.Join(versions, ","), amlVersion))
}

func checkJobSet(s Subject, f Facts) []Finding {
	if !s.on("enableTraining") {
		return nil
	}
	if versions := f.Groups[jobSetGroup]; len(versions) > 0 && !slices.Contains(versions, jobSetVersion) {
		return one(found(CustomResourceConflict, "kubectl apply --server-side -f "+jobSetManifest,
			"the cluster's JobSet serves %s, and jobs need %s", strings.Join(versions, ","), jobSetVersion))
	}
	controller := f.foreign(s, func(w Workload) bool {
		return w.Labels["app.kubernetes.io/name"] == "jobset" || image("jobset")(w)
	})
	switch {
	case controller == nil && f.unread("workloads"):
		return nil
	case controller == nil && !s.on("installJobSet"):
		return one(found(JobSetNotFound, s.update("installJobSet=True"), "installJobSet is False, and the cluster has no JobSet controller"))
	case controller == nil:
		return nil
	}
	out := one(left(map[string]any{"installJobSet": "False"}, "%s is a JobSet controller, and jobs use it", controller))
	return append(out, unready(controller)...)
}

// unready is told of a component that the extension relies on and did not install.
func unready(w *Workload) []Finding {
	if w.Ready {
		return nil
	}
	return one(found(ComponentNotReady, fmt.Sprintf("kubectl rollout restart -n %s %s/%s", w.Namespace, strings.ToLower(w.Kind), w.Name), "%s is not ready", w))
}

func checkKueue(s Subject, f Facts) []Finding {
	kueue := f.foreign(s, image("kueue"))
	if kueue == nil {
		return nil
	}
	if suspendsAll(f.Kueue) {
		return one(found(KueueManagesAll, fmt.Sprintf("exclude the namespaces of computes in managedJobsNamespaceSelector: kubectl edit configmap kueue-manager-config -n %s", kueue.Namespace),
			"%s has manageJobsWithoutQueueName: it suspends jobs that name no queue", kueue))
	}
	return one(left(nil, "%s is Kueue", kueue))
}

// suspendsAll reports whether Kueue, configured so, suspends jobs of the extension that name no queue. They are JobSets.
func suspendsAll(configuration string) bool {
	var c struct {
		ManageJobsWithoutQueueName bool `json:"manageJobsWithoutQueueName"`
		Integrations               struct {
			Frameworks []string `json:"frameworks"`
		} `json:"integrations"`
	}
	if err := yaml.Unmarshal([]byte(configuration), &c); err != nil { // it would not start with it
		return false
	}
	kinds := c.Integrations.Frameworks
	return c.ManageJobsWithoutQueueName && (len(kinds) == 0 || slices.Contains(kinds, jobSetGroup+"/jobset") || slices.Contains(kinds, "pod"))
}

// checkPrometheus: an operator of others is used when it looks at the release namespace. One that does not is no hindrance to the
// extension's own, which looks at nothing else.
func checkPrometheus(s Subject, f Facts) []Finding {
	isOperator := image("prometheus-operator")
	operator := f.foreign(s, func(w Workload) bool { return isOperator(w) && watches(w, s.Namespace) })
	switch asked := s.on("installPromOp"); {
	case operator != nil && asked:
		finding := found(PrometheusConflict, "to say so for good: "+s.update("installPromOp=False"), "%s is a Prometheus operator; it is left alone, and none is installed beside it", operator)
		finding.Values = map[string]any{"installPromOp": "False"}
		return append(one(finding), unready(operator)...)
	case operator == nil && !asked && !f.unread("workloads"):
		why := ""
		if other := f.foreign(s, isOperator); other != nil {
			why = fmt.Sprintf(": %s does not watch namespace %s, as its --namespaces, --deny-namespaces or --prometheus-instance-namespaces say", other, s.Namespace)
		}
		return one(found(PrometheusConflict, s.update("installPromOp=True"), "installPromOp is False, and the cluster has no Prometheus operator to use%s", why))
	case operator != nil:
		return append(one(left(nil, "%s is a Prometheus operator", operator)), unready(operator)...)
	}
	return nil
}

// watches reports whether a Prometheus operator looks for Prometheuses and for what they scrape in a namespace.
func watches(operator Workload, namespace string) bool {
	given := func(flag string) []string { return flagValues(operator.Args, flag) }
	in := func(list []string) bool {
		return len(list) == 0 || slices.Contains(list, namespace) || slices.Contains(list, corev1.NamespaceAll)
	}
	denied := slices.Contains(given("deny-namespaces"), namespace)
	if instances := given("prometheus-instance-namespaces"); len(instances) > 0 && !in(instances) {
		return false
	}
	return in(given("namespaces")) && !denied
}

// flagValues are the parts of a flag whose value is a list with commas.
func flagValues(args []string, flag string) []string {
	var out []string
	for i, arg := range args {
		name, value, ok := strings.Cut(arg, "=")
		if strings.TrimLeft(name, "-") != flag || !strings.HasPrefix(name, "-") {
			continue
		}
		if !ok && i+1 < len(args) {
			value = args[i+1]
		}
		out = append(out, strings.Split(value, ",")...)
	}
	return out
}

func checkFeatureDiscovery(s Subject, f Facts) []Finding {
	nfd := f.foreign(s, image("node-feature-discovery"))
	if nfd == nil {
		return nil
	}
	return append(one(left(map[string]any{"installNfd": "False"}, "%s is node feature discovery", nfd)), unready(nfd)...)
}

func checkOpenShift(s Subject, f Facts) []Finding {
	is, asked := len(f.Groups[openshiftGroup]) > 0, s.on(openshiftAsked)
	switch {
	case asked && !is:
		return one(found(OpenShiftNotFound, s.update("openshift=False"), "openshift is True, and the cluster serves no %s", openshiftGroup))
	case is && !asked && s.Settings.Plain[openshiftAsked] != "":
		return one(found(OpenShiftFound, s.update("openshift=True"), "the cluster serves %s, and openshift is False: its pods may be refused", openshiftGroup))
	case is && !asked:
		finding := found(OpenShiftFound, "", "the cluster serves %s; it is set up for as if openshift were True", openshiftGroup)
		finding.Level, finding.Values = Information, map[string]any{openshiftAsked: "True"}
		return one(finding)
	}
	return nil
}
