package agentinstall

import (
	"fmt"
	"strings"

	"fairlead.dev/fairlead/internal/cluster/extension/helm"
)

// TakenError says that the cluster has the agent of another resource. It was left as it is.
type TakenError struct{ ClusterID, Endpoint string }

// Error implements error.
func (e *TakenError) Error() string {
	return fmt.Sprintf("the cluster is already connected as %s to the control plane at %s. Disconnect it there first ('fairlead connectedk8s delete', "+
		"or 'fairlead aks delete' for a managed cluster), or go on with that resource. Where that control plane is gone for good, "+
		"'kubectl delete namespace %s' gives the cluster free; the next agent removes the extensions that it finds", e.ClusterID, e.Endpoint, Namespace)
}

// refuseOther stops before another resource's agent is replaced. A resource of the same id may take its own agent over, from a control
// plane that was set up anew too.
func (o Options) refuseOther(last *helm.Release) error {
	if last == nil {
		return nil
	}
	global, _ := last.Values["global"].(map[string]any)
	id, _ := global["clusterId"].(string)
	if id == "" || strings.EqualFold(id, o.ClusterID) {
		return nil
	}
	endpoint, _ := global["endpoint"].(string)
	return &TakenError{ClusterID: id, Endpoint: endpoint}
}
