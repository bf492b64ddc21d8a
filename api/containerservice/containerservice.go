// Package containerservice holds the wire types of Microsoft.ContainerService/managedClusters. No logic.
package containerservice

import "fairlead.dev/fairlead/api/arm"

// Actions on a managed cluster.
const (
	ListClusterUserCredential  = "listClusterUserCredential"
	ListClusterAdminCredential = "listClusterAdminCredential"
	// ActionListUserCredential is the right to the user's credential.
	ActionListUserCredential = "Microsoft.ContainerService/managedClusters/listClusterUserCredential/action"
)

// ManagedClusterProperties is the properties object of a managed cluster. What is marked own is not the reference's.
type ManagedClusterProperties struct {
	ProvisioningState        string `json:"provisioningState,omitempty"`
	KubernetesVersion        string `json:"kubernetesVersion,omitempty"`
	CurrentKubernetesVersion string `json:"currentKubernetesVersion,omitempty"`
	DNSPrefix                string `json:"dnsPrefix,omitempty"`
	// FQDN is the API server's host, with its port where that is not 443.
	FQDN              string             `json:"fqdn,omitempty"`
	EnableRBAC        bool               `json:"enableRBAC"`
	PowerState        *PowerState        `json:"powerState,omitempty"`
	AgentPoolProfiles []AgentPoolProfile `json:"agentPoolProfiles"`
	HTTPProxyConfig   *HTTPProxyConfig   `json:"httpProxyConfig,omitempty"`
	Status            *Status            `json:"status,omitempty"`

	// Kubeconfig (own, write only) is a kubeconfig that reaches the cluster from the control plane.
	Kubeconfig *string `json:"kubeconfig,omitempty"`
	// AgentProfile (own) says which images the agent runs.
	AgentProfile *AgentProfile `json:"agentProfile,omitempty"`
	// The rest (own, read only) is as with connected clusters.
	AgentPublicKeyCertificate string `json:"agentPublicKeyCertificate,omitempty"`
	ConnectivityStatus        string `json:"connectivityStatus,omitempty"`
}

// PowerState says whether the cluster runs.
type PowerState struct {
	Code string `json:"code"`
}

// AgentPoolProfile is a group of nodes.
type AgentPoolProfile struct {
	Name                string      `json:"name"`
	Count               int         `json:"count"`
	Mode                string      `json:"mode"`
	OSType              string      `json:"osType"`
	OrchestratorVersion string      `json:"orchestratorVersion,omitempty"`
	ProvisioningState   string      `json:"provisioningState"`
	PowerState          *PowerState `json:"powerState,omitempty"`
}

// HTTPProxyConfig is how the cluster reaches out.
type HTTPProxyConfig struct {
	HTTPProxy  string   `json:"httpProxy,omitempty"`
	HTTPSProxy string   `json:"httpsProxy,omitempty"`
	NoProxy    []string `json:"noProxy,omitempty"`
	// TrustedCA is base64 of the PEM of the proxy's CA.
	TrustedCA string `json:"trustedCa,omitempty"`
}

// AgentProfile is the agent's images; what is empty is chosen by the control plane.
type AgentProfile struct {
	AgentImage      string `json:"agentImage,omitempty"`
	RouterImage     string `json:"routerImage,omitempty"`
	RuntimeImage    string `json:"runtimeImage,omitempty"`
	ImagePullSecret string `json:"imagePullSecret,omitempty"`
}

// Status says why the last operation failed.
type Status struct {
	ProvisioningError *arm.ErrorBody `json:"provisioningError,omitempty"`
}
