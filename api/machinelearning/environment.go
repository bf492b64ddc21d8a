package machinelearning

// EnvironmentVersionProperties is the properties object of an environment version.
type EnvironmentVersionProperties struct {
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags"`
	Properties  map[string]string `json:"properties"`
	IsAnonymous bool              `json:"isAnonymous"`
	IsArchived  bool              `json:"isArchived"`
	// Image is a container image reference.
	Image string `json:"image,omitempty"`
	// CondaFile and Build are not served yet.
	CondaFile any `json:"condaFile,omitempty"`
	Build     any `json:"build,omitempty"`
	// OSType is Linux; EnvironmentType (read-only) is UserCreated.
	OSType          string `json:"osType,omitempty"`
	EnvironmentType string `json:"environmentType,omitempty"`
}
