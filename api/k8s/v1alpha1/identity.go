package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Identity is a managed identity of the control plane that pods in this cluster speak as: those that run in the ServiceAccount of its
// name, which amlarc-identity-controller makes. By a token of that account amlarc-identity-proxy knows them. It holds nothing secret.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:printcolumn:name="Client",type=string,JSONPath=`.spec.clientId`
// +kubebuilder:printcolumn:name="Ready",type=boolean,JSONPath=`.status.ready`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.message`
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Identity struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              ManagedIdentity `json:"spec"`
	Status            IdentityStatus  `json:"status,omitempty"`
}

// IdentityList is a list of Identity.
//
// +kubebuilder:object:root=true
type IdentityList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Identity `json:"items"`
}

// ManagedIdentity says which identity, and where its tokens come from.
type ManagedIdentity struct {
	// ClientID is what clients ask by, PrincipalID what roles are assigned to.
	//
	// +kubebuilder:validation:MinLength=1
	ClientID    string `json:"clientId"`
	PrincipalID string `json:"principalId"`
	// ResourceID is a user-assigned identity's; empty for one of the endpoint, deployment or compute itself.
	ResourceID string `json:"resourceId,omitempty"`
	// TokenURL is the control plane's token endpoint.
	TokenURL string `json:"tokenUrl"`
}

// IdentityStatus is whether pods get tokens.
type IdentityStatus struct {
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Ready says that the ServiceAccount is there.
	Ready bool `json:"ready,omitempty"`
	// ServiceAccountUID tells the account that was made for the Identity from another of its name.
	ServiceAccountUID types.UID `json:"serviceAccountUid,omitempty"`
	// Message says to a person why it is not ready.
	Message string `json:"message,omitempty"`
}

// Usable says that pods of the Identity, as it is written now, get tokens.
func (i *Identity) Usable() bool {
	return i.Status.Ready && i.Status.ObservedGeneration == i.Generation
}
