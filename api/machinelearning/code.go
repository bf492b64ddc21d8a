package machinelearning

// CodeVersionProperties is the properties object of a code version: a snapshot of a folder.
type CodeVersionProperties struct {
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags"`
	Properties  map[string]string `json:"properties"`
	IsAnonymous bool              `json:"isAnonymous"`
	IsArchived  bool              `json:"isArchived"`
	// CodeURI is the folder in the workspace's storage.
	CodeURI string `json:"codeUri"`
}
