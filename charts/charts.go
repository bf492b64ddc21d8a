// Package charts embeds the Helm charts, so that one binary can install everything without a registry.
package charts

import "embed"

//go:generate go run ./internal/crdslim azureml/crds

// Names of the charts' folders in FS.
const (
	// Agent is the chart of the agent in namespace azure-arc.
	Agent = "azure-arc"
	// AzureML is the chart of extension type Microsoft.AzureML.Kubernetes.
	AzureML = "azureml"
)

// FS holds the charts.
//
//go:embed all:azure-arc all:azureml
var FS embed.FS
