package compute

import (
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/hybridkubernetes"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
)

// How long an attach waits for what may still come: a first heartbeat, an install under way, and a report that is newer
// than a namespace just made.
const (
	waitConnecting = 30 * time.Second
	waitInstalling = 60 * time.Second
	waitReport     = 30 * time.Second
	waitNamespace  = 15 * time.Second
)

// input is all that an attach is decided by.
type input struct {
	resourceID string
	// idError says why resourceID is not the id of a cluster.
	idError                 error
	facts                   clusterstate.Facts
	namespace, instanceType string
	// waited is the time since the attach was asked for.
	waited time.Duration
}

// problem is what stands in the way of an attach; it becomes a failure after wait.
type problem struct {
	err  *arm.Error
	wait time.Duration
}

func fail(wait time.Duration, target, code, format string, args ...any) *problem {
	e := arm.Errorf(400, code, format, args...)
	e.Target = target
	return &problem{err: e, wait: wait}
}

// check finds the first problem, nil when the compute can be used.
func check(in input) *problem {
	for _, c := range []func(input) *problem{checkCluster, checkExtension, checkReport} {
		if p := c(in); p != nil {
			return p
		}
	}
	return nil
}

func checkCluster(in input) *problem {
	const target = "properties.resourceId"
	f := in.facts
	switch {
	case in.idError != nil:
		return fail(0, target, "InvalidComputeInformation", "The compute information is invalid. resourceId: %v.", in.idError)
	case !f.Exists:
		return fail(0, target, "ClusterNotFound", "Cannot found Kubernetes cluster. No cluster has the id %q; list clusters with 'connectedk8s list' or 'aks list', or connect it with 'connectedk8s connect'.", in.resourceID)
	case f.Connectivity == hybridkubernetes.Connecting:
		return fail(waitConnecting, target, "ClusterNotReachable", "The Kubernetes cluster is not reachable. %s; look at the pods in its namespace azure-arc.", sentence(f.OfflineSince()))
	case f.Connectivity == hybridkubernetes.Expired:
		return fail(0, target, "ClusterNotReachable", "The Kubernetes cluster is not reachable. %s; delete it and connect it again.", sentence(f.OfflineSince()))
	case f.Connectivity != hybridkubernetes.Connected:
		return fail(0, target, "ClusterNotReachable", "The Kubernetes cluster is not reachable. %s; bring it back, then attach again.", sentence(f.OfflineSince()))
	}
	return nil
}

func checkExtension(in input) *problem {
	const target = "properties.resourceId"
	f, e := in.facts, in.facts.Extension
	switch {
	case !e.Exists:
		return fail(0, target, "ClusterServiceNotFound", "AzureML extension service not found in cluster. Cluster %s has no extension of type Microsoft.AzureML.Kubernetes; deploy it with 'k8s-extension create --extension-type Microsoft.AzureML.Kubernetes --config enableTraining=True'.", f.Name)
	case !e.Training && !e.Inference:
		return fail(0, target, "E45004", "%s (extension %s of cluster %s: set enableTraining=True with 'k8s-extension update')", types.TrainingDisabled, e.Name, f.Name)
	case e.State == arm.StateFailed:
		return fail(0, target, "ClusterServiceNotFound", "AzureML extension service not found in cluster. Extension %s of cluster %s failed to install: %s", e.Name, f.Name, e.Error)
	case e.State == arm.StateDeleting:
		return fail(0, target, "ClusterServiceNotFound", "AzureML extension service not found in cluster. Extension %s of cluster %s is being deleted.", e.Name, f.Name)
	case e.State != arm.StateSucceeded:
		return fail(waitInstalling, target, "ClusterServiceNotFound", "AzureML extension service not found in cluster. Extension %s of cluster %s is still being installed; attach again when 'k8s-extension show' says Succeeded.", e.Name, f.Name)
	}
	return nil
}

func checkReport(in input) *problem {
	f := in.facts
	if f.Nodes == nil {
		return fail(waitReport, "properties.resourceId", "GenericComputeError", "Failed to get compute information. Cluster %s has not told its namespaces yet; look at the pod cluster-status-reporter in the extension's namespace.", f.Name)
	}
	if !slices.Contains(f.Nodes.Namespaces, in.namespace) {
		return fail(waitNamespace, "properties.properties.namespace", "InvalidComputeInformation", "The compute information is invalid. Cluster %s has no namespace %q; make it with 'kubectl create namespace %s', then attach again. It has: %s.",
			f.Name, in.namespace, in.namespace, list(f.Nodes.Namespaces))
	}
	if in.instanceType == "" {
		return nil
	}
	if name, names, _ := f.InstanceType(in.instanceType); name == "" {
		return fail(waitNamespace, "properties.properties.defaultInstanceType", "InvalidComputeInformation", "The compute information is invalid. defaultInstanceType is %q, which cluster %s does not have; it has: %s.",
			in.instanceType, f.Name, list(names))
	}
	return nil
}

// list names what there is, at most twenty of it.
func list(names []string) string {
	const most = 20
	sorted := slices.Sorted(slices.Values(names))
	if len(sorted) > most {
		return strings.Join(sorted[:most], ", ") + ", …"
	}
	return strings.Join(sorted, ", ")
}

// sentence begins a text with a capital.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
