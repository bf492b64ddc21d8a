package v1alpha1

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Names that several components rely on.
const (
	// DefaultInstanceType is the type of jobs that name none; it exists also where no such object does.
	DefaultInstanceType = "defaultinstancetype"
	// LabelJobID is on every object of a job; its value is the 32-hex job id.
	LabelJobID = "amlarc.azureml.com/job-id"
	// LabelRank is on every pod of a job: its 0-based rank.
	LabelRank = batchv1.JobCompletionIndexAnnotation
	// AgentNamespace is where the agent runs.
	AgentNamespace = "azure-arc"
	// RunSecretSuffix follows the job id in the name of the Secret that a job's pods read.
	RunSecretSuffix = "-runtoken-secrets"
	// LabelDeployment is on every object of an online deployment, its pods among them; its value is DeploymentObjectName.
	LabelDeployment = "amlarc.azureml.com/deployment"
	// LabelRevision is on OnlineEndpoints and OnlineDeployments: which of the control plane's values the object was made from.
	LabelRevision = "amlarc.azureml.com/revision"
	// ServingContainer answers requests in a pod of an online deployment; FetchContainer, an init container, fetches model and code.
	ServingContainer = "inference-server"
	FetchContainer   = "storage-initializer"
	// FetchSecretSuffix follows DeploymentObjectName in the name of the Secret whose key FetchToken lets FetchContainer read blobs.
	FetchSecretSuffix = "-fetchtoken-secrets"
	FetchToken        = "token"
	// IdentityHeader is the key, of the same Secret, of what processes of a pod must send to IdentityContainer, which serves tokens of the
	// deployment's managed identity to them.
	IdentityHeader    = "identity-header"
	IdentityContainer = "identity-sidecar"
	// IdentityProxy is the Service, in the extension's namespace, by which IdentityContainer reaches the control plane, and the audience of
	// the tokens by which it proves whose pod it is in.
	IdentityProxy     = "amlarc-identity-proxy"
	IdentityProxyPort = 9999
	// RouterService is the Service of the inference router, in the extension's namespace; its ports are named RouterHTTP and RouterHTTPS.
	RouterService = "azureml-fe"
	RouterHTTP    = "http"
	RouterHTTPS   = "https"
)

// DeploymentObjectName names the objects of a deployment in the cluster: readable, at most 63 characters, and different for every pair
// of names, which a hyphen alone would not make sure of.
func DeploymentObjectName(endpoint, deployment string) string {
	endpoint, deployment = strings.ToLower(endpoint), strings.ToLower(deployment)
	sum := sha256.Sum256([]byte(endpoint + "/" + deployment))
	readable := endpoint + "-" + deployment
	return strings.TrimRight(readable[:min(len(readable), 54)], "-") + "-" + hex.EncodeToString(sum[:4])
}

// Terminal says that a job's state never changes again.
func (s AmlJobStatus) Terminal() bool {
	return s.State == "Completed" || s.State == "Failed" || s.State == "Canceled"
}

// ReservedNamespace says that a namespace holds the cluster's own parts or Fairlead's, so that no job may run there. release is the
// namespace of the extension.
func ReservedNamespace(name, release string) bool {
	switch name {
	case release, AgentNamespace, "kube-system", "kube-public", corev1.NamespaceNodeLease:
		return true
	}
	return false
}

// ImplicitDefault is the reference's default instance type, used where no object of that name is made.
func ImplicitDefault() InstanceTypeSpec {
	return InstanceTypeSpec{Resources: corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("2Gi")},
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("2Gi")},
	}}
}
