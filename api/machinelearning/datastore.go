package machinelearning

// DatastoreProperties is the properties object of a datastore.
type DatastoreProperties struct {
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags"`
	Properties  map[string]string `json:"properties"`
	// DatastoreType is AzureBlob.
	DatastoreType string `json:"datastoreType"`
	AccountName   string `json:"accountName"`
	ContainerName string `json:"containerName"`
	// Endpoint is the host of the blob front; Protocol is https.
	Endpoint    string                `json:"endpoint"`
	Protocol    string                `json:"protocol"`
	Credentials *DatastoreCredentials `json:"credentials"`
	// IsDefault is read-only.
	IsDefault                     bool   `json:"isDefault"`
	ServiceDataAccessAuthIdentity string `json:"serviceDataAccessAuthIdentity"`
	SubscriptionID                string `json:"subscriptionId"`
	ResourceGroup                 string `json:"resourceGroup"`
}

// DatastoreCredentials says what kind of credential opens the datastore; secrets are never returned in it.
type DatastoreCredentials struct {
	CredentialsType string `json:"credentialsType"`
}

// DatastoreSecrets answers listSecrets.
type DatastoreSecrets struct {
	SecretsType string `json:"secretsType"`
	SASToken    string `json:"sasToken"`
}
