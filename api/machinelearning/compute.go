package machinelearning

import "fairlead.dev/fairlead/api/arm"

// ComputeKubernetes is the one computeType there is.
const ComputeKubernetes = "Kubernetes"

// ComputeProperties is the properties object of a compute.
type ComputeProperties struct {
	ComputeType string `json:"computeType"`
	Description string `json:"description,omitempty"`
	// ResourceID is the cluster's resource id.
	ResourceID      string                `json:"resourceId"`
	ComputeLocation string                `json:"computeLocation,omitempty"`
	Properties      *KubernetesProperties `json:"properties,omitempty"`
	// The rest is read-only. Times are RFC 3339.
	ProvisioningState  string          `json:"provisioningState,omitempty"`
	CreatedOn          string          `json:"createdOn,omitempty"`
	ModifiedOn         string          `json:"modifiedOn,omitempty"`
	IsAttachedCompute  bool            `json:"isAttachedCompute"`
	ProvisioningErrors []arm.ErrorBody `json:"provisioningErrors"`
}

// KubernetesProperties is properties.properties of a Kubernetes compute.
type KubernetesProperties struct {
	RelayConnectionString         *string                       `json:"relayConnectionString"`
	ServiceBusConnectionString    *string                       `json:"serviceBusConnectionString"`
	ExtensionPrincipalID          *string                       `json:"extensionPrincipalId"`
	ExtensionInstanceReleaseTrain *string                       `json:"extensionInstanceReleaseTrain"`
	VCName                        *string                       `json:"vcName"`
	Namespace                     string                        `json:"namespace"`
	DefaultInstanceType           string                        `json:"defaultInstanceType"`
	InstanceTypes                 map[string]InstanceTypeSchema `json:"instanceTypes"`
}

// InstanceTypeSchema is one instance type as a compute shows it. Quantities are Kubernetes quantities.
type InstanceTypeSchema struct {
	NodeSelector map[string]string      `json:"nodeSelector"`
	Resources    *InstanceTypeResources `json:"resources"`
}

// InstanceTypeResources are what a pod of the type asks for and may use.
type InstanceTypeResources struct {
	Requests map[string]*string `json:"requests"`
	Limits   map[string]*string `json:"limits"`
}
