// Package kubernetesconfiguration holds the wire types of Microsoft.KubernetesConfiguration. No logic.
package kubernetesconfiguration

// ExtensionProperties is the properties object of an extension.
type ExtensionProperties struct {
	ExtensionType           string `json:"extensionType"`
	AutoUpgradeMinorVersion *bool  `json:"autoUpgradeMinorVersion,omitempty"`
	ReleaseTrain            string `json:"releaseTrain,omitempty"`
	// Version pins a version; CurrentVersion (read-only) is the one installed.
	Version        string `json:"version,omitempty"`
	CurrentVersion string `json:"currentVersion,omitempty"`
	Scope          *Scope `json:"scope,omitempty"`
	// ConfigurationSettings may be sent with JSON booleans and numbers; they are kept as strings.
	ConfigurationSettings map[string]any `json:"configurationSettings,omitempty"`
	// ConfigurationProtectedSettings are never returned.
	ConfigurationProtectedSettings map[string]any `json:"configurationProtectedSettings,omitempty"`
	// ProvisioningState is Creating, Updating, Deleting, Succeeded, Failed or Canceled (read-only).
	ProvisioningState string `json:"provisioningState,omitempty"`
	// InstallState is Pending, Installed or Failed (read-only).
	InstallState string            `json:"installState,omitempty"`
	Statuses     []ExtensionStatus `json:"statuses,omitempty"`
	ErrorInfo    *ErrorInfo        `json:"errorInfo,omitempty"`
}

// Scope is where an extension is installed: exactly one field is set.
type Scope struct {
	Cluster   *ClusterScope   `json:"cluster,omitempty"`
	Namespace *NamespaceScope `json:"namespace,omitempty"`
}

// ClusterScope installs once for the whole cluster.
type ClusterScope struct {
	ReleaseNamespace string `json:"releaseNamespace,omitempty"`
}

// NamespaceScope installs for one namespace.
type NamespaceScope struct {
	TargetNamespace string `json:"targetNamespace,omitempty"`
}

// ExtensionStatus is one line of statuses. Level is Error, Warning or Information; Time is RFC 3339.
type ExtensionStatus struct {
	Code          string `json:"code"`
	DisplayStatus string `json:"displayStatus,omitempty"`
	Level         string `json:"level"`
	Message       string `json:"message"`
	Time          string `json:"time"`
}

// ErrorInfo says why an extension failed.
type ErrorInfo struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}
