package machinelearning

// DatastoreProperties is the properties object of a datastore.
type DatastoreProperties struct {
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags"`
	Properties  map[string]string `json:"properties"`
	// DatastoreType is AzureBlob; see S3DatastoreProperties for S3.
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

// S3DatastoreProperties is the properties object of a datastore of datastoreType S3: a folder in a bucket of any store that speaks S3.
type S3DatastoreProperties struct {
	Description   string            `json:"description,omitempty"`
	Tags          map[string]string `json:"tags"`
	Properties    map[string]string `json:"properties"`
	DatastoreType string            `json:"datastoreType"`
	BucketName    string            `json:"bucketName"`
	// Endpoint is http[s]://host[:port]; left out it is AWS's of Region.
	Endpoint string `json:"endpoint"`
	Region   string `json:"region"`
	// Prefix is the folder, without slashes around it; "" is the whole bucket.
	Prefix      string         `json:"prefix,omitempty"`
	Credentials *S3Credentials `json:"credentials"`
	// IsDefault is read-only and false: a workspace's default datastore is one of its own.
	IsDefault                     bool   `json:"isDefault"`
	ServiceDataAccessAuthIdentity string `json:"serviceDataAccessAuthIdentity"`
}

// S3Credentials opens a datastore of S3. CredentialsType is AccessKey or None.
type S3Credentials struct {
	CredentialsType string `json:"credentialsType"`
	AccessKeyID     string `json:"accessKeyId,omitempty"`
	// Secrets is sent only; it is never returned.
	Secrets *S3Secrets `json:"secrets,omitempty"`
}

// S3Secrets is the secret part of S3Credentials, and answers listSecrets. SecretsType is AccessKey.
type S3Secrets struct {
	SecretsType     string `json:"secretsType"`
	AccessKeyID     string `json:"accessKeyId,omitempty"`
	SecretAccessKey string `json:"secretAccessKey"`
}
