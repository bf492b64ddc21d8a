package machinelearning

// AssetContainer is the properties object of codes, environments, models and data: what is common to all versions.
type AssetContainer struct {
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags"`
	Properties  map[string]string `json:"properties"`
	IsArchived  bool              `json:"isArchived"`
	// LatestVersion and NextVersion are read-only; NextVersion is set while versions are whole numbers.
	LatestVersion *string `json:"latestVersion,omitempty"`
	NextVersion   *string `json:"nextVersion,omitempty"`
	// DataType is the type of every version of a data asset.
	DataType string `json:"dataType,omitempty"`
}

// PendingUploadRequest is the body of startPendingUpload.
type PendingUploadRequest struct {
	PendingUploadID string `json:"pendingUploadId"`
	// PendingUploadType is None or TemporaryBlobReference.
	PendingUploadType string `json:"pendingUploadType"`
}

// PendingUploadResponse says where to upload to.
type PendingUploadResponse struct {
	BlobReferenceForConsumption BlobReference `json:"blobReferenceForConsumption"`
	PendingUploadID             string        `json:"pendingUploadId"`
	PendingUploadType           string        `json:"pendingUploadType"`
}

// BlobReference is a container with a credential for it.
type BlobReference struct {
	BlobURI             string        `json:"blobUri"`
	StorageAccountArmID string        `json:"storageAccountArmId"`
	Credential          SASCredential `json:"credential"`
}

// SASCredential is a URL that carries its own permission.
type SASCredential struct {
	CredentialType string `json:"credentialType"`
	SASURI         string `json:"sasUri"`
}
