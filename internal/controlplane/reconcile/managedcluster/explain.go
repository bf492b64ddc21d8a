package managedcluster

import (
	"context"
	"crypto/x509"
	"errors"
	"net"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"fairlead.dev/fairlead/api/arm"
)

// explain says why an agent could not be installed, and what to do. Codes are the reference's.
func explain(err error, host string) *arm.Error {
	if ae, ok := errors.AsType[*arm.Error](err); ok {
		return ae
	}
	const again = "then send the kubeconfig again ('fairlead aks update --kube-config')"
	_, untrusted := errors.AsType[x509.UnknownAuthorityError](err)
	name, misnamed := errors.AsType[x509.HostnameError](err)
	expired, invalid := errors.AsType[x509.CertificateInvalidError](err)
	network, unreachable := errors.AsType[net.Error](err)
	switch {
	case untrusted:
		return arm.Errorf(400, "InvalidComputeNoKubernetesConfiguration", "The compute kubeconfig is invalid. The certificate of %s is not signed by the CA in the kubeconfig (%v); take certificate-authority-data from the cluster as it is now, %s.", host, err, again)
	case misnamed:
		return arm.Errorf(400, "InvalidComputeNoKubernetesConfiguration", "The compute kubeconfig is invalid. The certificate of %s is for other names (%v); use one of them as server or as tls-server-name, %s.", host, name, again)
	case invalid:
		return arm.Errorf(400, "InvalidComputeNoKubernetesConfiguration", "The compute kubeconfig is invalid. The certificate of %s is not valid (%v); renew it on the cluster, %s.", host, expired, again)
	case apierrors.IsUnauthorized(err):
		return arm.Errorf(400, "ClusterUnauthorized", "Request to Kubernetes cluster unauthorized. %s does not know the user of the kubeconfig (%v): its certificate or token has expired or is of another cluster. Make a new one, %s.", host, err, again)
	case apierrors.IsForbidden(err):
		return arm.Errorf(400, "ClusterUnauthorized", "Request to Kubernetes cluster unauthorized. The user of the kubeconfig may not install the agent, which needs all rights (%v): bind it to cluster-admin with 'kubectl create clusterrolebinding fairlead --clusterrole=cluster-admin --user=…' (or --serviceaccount=…), %s.", err, again)
	case errors.Is(err, context.DeadlineExceeded), unreachable && network.Timeout():
		return arm.Errorf(400, "ClusterNotReachable", "The Kubernetes cluster is not reachable. %s did not answer in time (%v). The control plane itself must reach it; where a firewall keeps it from that, connect the cluster from inside with 'fairlead connectedk8s connect'.", host, err)
	case unreachable:
		return arm.Errorf(400, "ClusterNotReachable", "The Kubernetes cluster is not reachable. No connection to %s (%v). The control plane itself must reach it; where a firewall keeps it from that, connect the cluster from inside with 'fairlead connectedk8s connect'.", host, err)
	}
	return arm.Errorf(400, "GenericClusterError", "Failed to connect to Kubernetes cluster: %v. Mend that, %s.", err, again)
}

// silent says why an agent that was installed has not connected.
func silent(err error, endpoint string) *arm.Error {
	if err == nil {
		return arm.Errorf(400, "AgentNotConnected", "The agent runs and has not connected: the cluster must reach %s. Look at its log, 'kubectl logs -n azure-arc deploy/fairlead-agent', and at httpProxyConfig if the cluster reaches out through a proxy.", endpoint)
	}
	return arm.Errorf(400, "AgentNotRunning", "The agent was installed and does not run: %v. Images are named by properties.agentProfile ('fairlead aks update --agent-image').", err)
}

// stuck says why an agent was not taken out.
func stuck(err error, host string) *arm.Error {
	return arm.Errorf(400, "AgentRemovalFailed", "The agent could not be removed from %s within 15 minutes: %v. Send a kubeconfig that works ('fairlead aks update --kube-config') and delete again, or delete with forceDelete=true, which leaves the agent in namespace azure-arc.", host, err)
}
