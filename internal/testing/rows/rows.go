// Package rows is the table of what the extension creates in a cluster, for tests to hold charts and clusters against.
package rows

import (
	"slices"
	"strings"
)

// Row is a workload of the extension. Names hold {EXT} for the extension's name.
type Row struct {
	Kind, Name string
	// Training and Inference are the scenarios that have it.
	Training, Inference bool
	// When is a setting that must be True besides, "" for none.
	When string
	// Pending says why the row is not there yet.
	Pending string
}

// Table holds every row of the reference, and those that Fairlead or a later version of the reference adds.
var Table = []Row{
	{"Deployment", "aml-operator", true, false, "", ""},
	{"Deployment", "{EXT}-kube-state-metrics", true, true, "", ""},
	{"Deployment", "{EXT}-prometheus-operator", true, true, "installPromOp", ""},
	{"Deployment", "amlarc-identity-controller", false, true, "", ""},
	{"Deployment", "amlarc-identity-proxy", false, true, "", ""},
	{"Deployment", "azureml-fe", false, true, "", ""},
	{"Deployment", "inference-operator-controller-manager", false, true, "", ""},
	{"Deployment", "metrics-controller-manager", true, true, "", ""},
	{"Deployment", "relayserver", true, true, "", ""},
	{"Deployment", "cluster-status-reporter", true, true, "", ""},
	{"Deployment", "nfd-master", true, false, "installNfd", ""},
	{"Deployment", "gateway", true, true, "", ""},
	{"Deployment", "csi-blob-controller", true, false, "", ""},
	{"DaemonSet", "csi-blob-node", true, true, "", ""}, // the reference has it for training only; here it also keeps models on nodes
	{"DaemonSet", "fluent-bit", true, true, "", ""},
	{"DaemonSet", "k8s-host-device-plugin-daemonset", true, true, "", ""},
	{"DaemonSet", "nfd-worker", true, false, "installNfd", ""},
	{"StatefulSet", "prometheus-prom-prometheus", true, true, "", ""}, // made by the operator
	{"StatefulSet", "frameworkcontroller", true, false, "installJobSet", ""},

	{"DaemonSet", "nvidia-device-plugin-daemonset", true, true, "installNvidiaDevicePlugin", ""},
	{"DaemonSet", "{EXT}-dcgm-exporter", true, true, "installDcgmExporter", ""},
	{"DaemonSet", "load-amlarc-selinux-policy", true, true, "openshift", ""},
}

// Of lists the workloads of an extension, as "Kind name" in order, by what its settings come to.
func Of(extension string, settings map[string]string) []string {
	on := func(name string) bool { return strings.EqualFold(settings[name], "true") }
	var out []string
	for _, r := range Table {
		scenario := r.Training && on("enableTraining") || r.Inference && on("enableInference")
		if scenario && r.Pending == "" && (r.When == "" || on(r.When)) {
			out = append(out, r.Kind+" "+strings.ReplaceAll(r.Name, "{EXT}", extension))
		}
	}
	slices.Sort(out)
	return out
}

// Diff says how what is there differs from the rows that are wanted, "" when it does not.
func Diff(want, got []string) string {
	var out []string
	for _, w := range want {
		if !slices.Contains(got, w) {
			out = append(out, w+" is missing")
		}
	}
	for _, g := range got {
		if !slices.Contains(want, g) {
			out = append(out, g+" is there and in no row of internal/testing/rows")
		}
	}
	return strings.Join(out, "; ")
}
