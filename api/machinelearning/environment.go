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
	// InferenceConfig says where the image's server answers.
	InferenceConfig *InferenceConfig `json:"inferenceConfig,omitempty"`
	// OSType is Linux; EnvironmentType (read-only) is UserCreated.
	OSType          string `json:"osType,omitempty"`
	EnvironmentType string `json:"environmentType,omitempty"`
}

// InferenceConfig is where an image that serves a model answers, and is asked whether it lives and is ready.
type InferenceConfig struct {
	LivenessRoute  *Route `json:"livenessRoute,omitempty"`
	ReadinessRoute *Route `json:"readinessRoute,omitempty"`
	ScoringRoute   *Route `json:"scoringRoute,omitempty"`
}

// Route is a path and a port of a container.
type Route struct {
	Path string `json:"path"`
	Port int    `json:"port"`
}
