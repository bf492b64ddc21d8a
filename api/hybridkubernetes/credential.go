package hybridkubernetes

// ConnectPath + a connected cluster's resource id is where the control plane serves that cluster's Kubernetes API.
const ConnectPath = "/kube/v1"

// Actions of connected clusters.
const (
	ListClusterUserCredential = "listClusterUserCredential"
	// ActionListCredential is the right to use a cluster's Kubernetes API through the control plane.
	ActionListCredential = "Microsoft.Kubernetes/connectedClusters/" + ListClusterUserCredential + "/action"
)

// ListClusterUserCredentialProperties asks for a kubeconfig.
type ListClusterUserCredentialProperties struct {
	// AuthenticationMethod is AAD: the caller's own token. (The reference also has Token, a service account's.)
	AuthenticationMethod string `json:"authenticationMethod"`
	ClientProxy          bool   `json:"clientProxy"`
}

// AuthenticationAAD is the one AuthenticationMethod.
const AuthenticationAAD = "AAD"

// CredentialResults answers it.
type CredentialResults struct {
	HybridConnectionConfig *HybridConnectionConfig `json:"hybridConnectionConfig,omitempty"`
	Kubeconfigs            []CredentialResult      `json:"kubeconfigs"`
}

// HybridConnectionConfig says through what a proxy on the caller's machine reaches the cluster: host and path of the control plane.
type HybridConnectionConfig struct {
	ExpirationTime       int64  `json:"expirationTime"` // Unix seconds: when the caller's token ends
	HybridConnectionName string `json:"hybridConnectionName"`
	Relay                string `json:"relay"`
}

// CredentialResult is one kubeconfig, as text (base64 on the wire).
type CredentialResult struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}
