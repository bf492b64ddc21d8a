package machinelearning

// DataVersionProperties is the properties object of a data version.
type DataVersionProperties struct {
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags"`
	Properties  map[string]string `json:"properties"`
	IsAnonymous bool              `json:"isAnonymous"`
	IsArchived  bool              `json:"isArchived"`
	// DataType is uri_file, uri_folder or mltable.
	DataType string `json:"dataType"`
	DataURI  string `json:"dataUri"`
}
