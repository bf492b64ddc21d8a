// Package resources holds the wire types of Microsoft.Resources: subscriptions and resource groups. No logic.
package resources

// Subscription is a subscription as the resource manager answers it; its fields stand at the top level, not in properties.
type Subscription struct {
	ID             string `json:"id"`
	SubscriptionID string `json:"subscriptionId"`
	TenantID       string `json:"tenantId"`
	DisplayName    string `json:"displayName"`
	// State is Enabled.
	State string `json:"state"`
	// AuthorizationSource is RoleBased.
	AuthorizationSource  string            `json:"authorizationSource,omitempty"`
	SubscriptionPolicies map[string]string `json:"subscriptionPolicies,omitempty"`
}
