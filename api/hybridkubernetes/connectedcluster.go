// Package hybridkubernetes holds the wire types of Microsoft.Kubernetes. No logic.
package hybridkubernetes

// Connectivity states of a cluster.
const (
	Connecting = "Connecting" // registered, no heartbeat yet
	Connected  = "Connected"
	Offline    = "Offline" // heartbeats have stopped
	Expired    = "Expired" // the registered certificate's time has passed
)

// ConnectedClusterProperties is the properties object of a connected cluster. All but AgentPublicKeyCertificate,
// Distribution and Infrastructure is read-only.
type ConnectedClusterProperties struct {
	// AgentPublicKeyCertificate is the agent's RSA public key or X.509 certificate: PEM, or base64 of the DER form.
	AgentPublicKeyCertificate string `json:"agentPublicKeyCertificate"`
	KubernetesVersion         string `json:"kubernetesVersion,omitempty"`
	TotalNodeCount            int    `json:"totalNodeCount"`
	TotalCoreCount            int    `json:"totalCoreCount"`
	AgentVersion              string `json:"agentVersion,omitempty"`
	Distribution              string `json:"distribution,omitempty"`
	Infrastructure            string `json:"infrastructure,omitempty"`
	Offering                  string `json:"offering,omitempty"`
	ProvisioningState         string `json:"provisioningState,omitempty"`
	ConnectivityStatus        string `json:"connectivityStatus,omitempty"`
	// LastConnectivityTime and ManagedIdentityCertificateExpirationTime are RFC 3339.
	LastConnectivityTime                     string `json:"lastConnectivityTime,omitempty"`
	ManagedIdentityCertificateExpirationTime string `json:"managedIdentityCertificateExpirationTime,omitempty"`
}
