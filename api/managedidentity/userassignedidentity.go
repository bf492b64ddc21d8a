// Package managedidentity holds the wire types of Microsoft.ManagedIdentity. No logic.
package managedidentity

// UserAssignedIdentityProperties is the properties object of an identity; all of it is read-only.
type UserAssignedIdentityProperties struct {
	TenantID    string `json:"tenantId"`
	PrincipalID string `json:"principalId"`
	ClientID    string `json:"clientId"`
}
