// Package machinelearning holds the wire types of Microsoft.MachineLearningServices: the properties object of each
// resource type as the REST API has it. No logic.
package machinelearning

// WorkspaceProperties is the properties object of a workspace.
type WorkspaceProperties struct {
	FriendlyName string `json:"friendlyName,omitempty"`
	Description  string `json:"description,omitempty"`
	// The rest is read-only.
	WorkspaceID       string `json:"workspaceId"`
	DiscoveryURL      string `json:"discoveryUrl"`
	MLFlowTrackingURI string `json:"mlFlowTrackingUri"`
	// StorageAccount is the id of the account that holds the default datastores; its last segment is the account's name.
	StorageAccount    string `json:"storageAccount"`
	TenantID          string `json:"tenantId"`
	ProvisioningState string `json:"provisioningState,omitempty"`
}

// WorkspaceKeys answers listKeys. There is no account key: every reader and writer gets a SAS of its own from a
// datastore's listSecrets.
type WorkspaceKeys struct {
	UserStorageKey                *string           `json:"userStorageKey"`
	UserStorageResourceID         string            `json:"userStorageResourceId"`
	UserStorageArmID              string            `json:"userStorageArmId"`
	AppInsightsInstrumentationKey *string           `json:"appInsightsInstrumentationKey"`
	ContainerRegistryCredentials  map[string]string `json:"containerRegistryCredentials"`
	NotebookAccessKeys            map[string]string `json:"notebookAccessKeys"`
}
