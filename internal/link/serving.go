package link

import "encoding/json"

// Endpoint is a desired online endpoint. It becomes an OnlineEndpoint named Name in Namespace.
type Endpoint struct {
	// Name is the endpoint's, in lower case; no other in the cluster has it.
	Name string `json:"name"`
	// Resource is the endpoint's resource id.
	Resource  string            `json:"resource"`
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels,omitempty"`
	// Spec is a v1alpha1.OnlineEndpointSpec. Revision differs when Spec does; ServingStatus tells it back.
	Spec     json.RawMessage `json:"spec"`
	Revision string          `json:"revision"`
}

// Deployment is a desired online deployment. It becomes an OnlineDeployment named v1alpha1.DeploymentObjectName in Namespace.
type Deployment struct {
	// Endpoint and Name are in lower case.
	Endpoint  string            `json:"endpoint"`
	Name      string            `json:"name"`
	Resource  string            `json:"resource"`
	Namespace string            `json:"namespace"`
	Labels    map[string]string `json:"labels,omitempty"`
	// Spec is a v1alpha1.OnlineDeploymentSpec. Revision differs when Spec does; ServingStatus tells it back.
	Spec     json.RawMessage `json:"spec"`
	Revision string          `json:"revision"`
	// Secret becomes the Secret that Spec names, owned by the OnlineDeployment.
	Secret map[string]string `json:"secret,omitempty"`
}

// States of ServingStatus.
const (
	ServingPending   = "Pending" // being made or changed
	ServingSucceeded = "Succeeded"
	ServingFailed    = "Failed"
)

// ServingStatus is an observed endpoint or deployment.
type ServingStatus struct {
	// Revision is that of the newest desired value the status speaks of.
	Revision string `json:"revision"`
	State    string `json:"state"`
	// Reason is an error code of the reference (ImagePullLoopBackOff, NamespaceNotFound …), Message says it to a person.
	Reason        string `json:"reason,omitempty"`
	Message       string `json:"message,omitempty"`
	Replicas      int32  `json:"replicas,omitempty"`
	ReadyReplicas int32  `json:"readyReplicas,omitempty"`
}

// RouterStatus is how the cluster's inference router is reached: what the cluster says of its Service.
type RouterStatus struct {
	// Type is LoadBalancer, NodePort or ClusterIP.
	Type string `json:"type"`
	// LoadBalancers are the addresses (IP or name) that the cloud gave; Nodes the addresses of some nodes.
	LoadBalancers []string     `json:"loadBalancers,omitempty"`
	Nodes         []string     `json:"nodes,omitempty"`
	ClusterIP     string       `json:"clusterIP,omitempty"`
	Ports         []RouterPort `json:"ports,omitempty"`
}

// RouterPort is one port of the router's Service. Name is http or https.
type RouterPort struct {
	Name     string `json:"name"`
	Port     int32  `json:"port"`
	NodePort int32  `json:"nodePort,omitempty"`
}
