package machinelearning

// ModelVersionProperties is the properties object of a model version.
type ModelVersionProperties struct {
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags"`
	Properties  map[string]string `json:"properties"`
	IsAnonymous bool              `json:"isAnonymous"`
	IsArchived  bool              `json:"isArchived"`
	// ModelType is custom_model, mlflow_model or triton_model.
	ModelType string `json:"modelType"`
	ModelURI  string `json:"modelUri"`
	JobName   string `json:"jobName,omitempty"`
	// Flavors is {} where there are none: azure-ai-ml reads it without a look.
	Flavors map[string]any `json:"flavors"`
}
