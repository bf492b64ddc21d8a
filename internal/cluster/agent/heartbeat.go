package agent

import (
	"context"
	"log/slog"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/fairlead/internal/link"
)

// inventoryInterval is how often nodes are counted anew; heartbeats between repeat the last count.
const inventoryInterval = time.Minute

// heartbeat posts ClusterStatus every link.HeartbeatIntervalSeconds until ctx ends.
func heartbeat(ctx context.Context, kube kubernetes.Interface, key string, observe func(key string, value any) error, log *slog.Logger) error {
	tick := time.NewTicker(link.HeartbeatIntervalSeconds * time.Second)
	defer tick.Stop()
	status := link.ClusterStatus{AgentVersion: Version, AgentKey: key, Distribution: generic, Infrastructure: generic}
	var counted time.Time
	for {
		if time.Since(counted) >= inventoryInterval {
			if err := count(ctx, kube, &status); err != nil {
				log.Warn("looking at the cluster", "error", err)
			} else {
				counted = time.Now()
			}
		}
		if err := observe(link.KeyCluster, status); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// count fills in what the API server says of the cluster. The list may be a little old: it comes from the server's cache.
func count(ctx context.Context, kube kubernetes.Interface, status *link.ClusterStatus) error {
	version, err := kube.Discovery().ServerVersion()
	if err != nil {
		return err
	}
	nodes, err := kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return err
	}
	describe(status, version.GitVersion, nodes.Items)
	return nil
}

const generic = "generic"

func describe(status *link.ClusterStatus, version string, nodes []corev1.Node) {
	status.KubernetesVersion = strings.TrimPrefix(version, "v")
	status.TotalNodeCount, status.TotalCoreCount = len(nodes), 0
	for _, n := range nodes {
		status.TotalCoreCount += int(n.Status.Capacity.Cpu().Value())
	}
	status.Distribution, status.Infrastructure = generic, generic
	if len(nodes) > 0 {
		status.Distribution, status.Infrastructure = distribution(version, nodes[0]), infrastructure(nodes[0])
	}
}

// distribution guesses by the marks that each distribution leaves, in the words that `az connectedk8s connect` accepts.
func distribution(version string, n corev1.Node) string {
	has := func(label string) bool { _, ok := n.Labels[label]; return ok }
	switch {
	case has("node.openshift.io/os_id"):
		return "openshift"
	case has("kubernetes.azure.com/cluster"):
		return "aks"
	case has("eks.amazonaws.com/nodegroup") || strings.Contains(version, "-eks-"):
		return "eks"
	case has("cloud.google.com/gke-nodepool") || strings.Contains(version, "-gke."):
		return "gke"
	case strings.Contains(version, "+k3s"):
		return "k3s"
	case strings.Contains(version, "+rke2"):
		return "rke2"
	case has("minikube.k8s.io/name"):
		return "minikube"
	case strings.HasPrefix(n.Spec.ProviderID, "kind://"):
		return "kind"
	}
	return generic
}

func infrastructure(n corev1.Node) string {
	scheme, _, _ := strings.Cut(n.Spec.ProviderID, "://")
	switch scheme {
	case "azure":
		return "azure"
	case "aws":
		return "aws"
	case "gce":
		return "gcp"
	case "vsphere":
		return "vsphere"
	case "openstack":
		return "openstack"
	}
	return generic
}
