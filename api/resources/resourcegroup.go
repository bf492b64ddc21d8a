package resources

// ResourceGroupProperties is the properties object of a resource group.
type ResourceGroupProperties struct {
	ProvisioningState string `json:"provisioningState,omitempty"`
}
