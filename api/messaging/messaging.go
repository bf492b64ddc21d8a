// Package messaging holds the wire types of Microsoft.Relay and Microsoft.ServiceBus, which have rules and keys in common. No logic.
package messaging

// Rights of an authorization rule.
const (
	Manage = "Manage"
	Send   = "Send"
	Listen = "Listen"
)

// NamespaceProperties is the properties object of a namespace of either kind; all of it is read-only.
type NamespaceProperties struct {
	ProvisioningState  string `json:"provisioningState,omitempty"`
	Status             string `json:"status,omitempty"`
	CreatedAt          string `json:"createdAt,omitempty"`
	UpdatedAt          string `json:"updatedAt,omitempty"`
	ServiceBusEndpoint string `json:"serviceBusEndpoint,omitempty"`
	MetricID           string `json:"metricId,omitempty"`
}

// SKU is the level of a namespace.
type SKU struct {
	Name string `json:"name"`
	Tier string `json:"tier"`
}

// RuleProperties is the properties object of an authorization rule.
type RuleProperties struct {
	Rights []string `json:"rights"`
}

// Keys is what listKeys answers.
type Keys struct {
	PrimaryConnectionString   string `json:"primaryConnectionString"`
	SecondaryConnectionString string `json:"secondaryConnectionString"`
	PrimaryKey                string `json:"primaryKey"`
	SecondaryKey              string `json:"secondaryKey"`
	KeyName                   string `json:"keyName"`
}

// HybridConnectionProperties is the properties object of a hybrid connection. ListenerCount is read-only.
type HybridConnectionProperties struct {
	RequiresClientAuthorization *bool  `json:"requiresClientAuthorization,omitempty"`
	UserMetadata                string `json:"userMetadata,omitempty"`
	ListenerCount               int    `json:"listenerCount"`
	CreatedAt                   string `json:"createdAt,omitempty"`
	UpdatedAt                   string `json:"updatedAt,omitempty"`
}

// CountDetails are the messages of a topic or a subscription, by where they are.
type CountDetails struct {
	ActiveMessageCount             int `json:"activeMessageCount"`
	DeadLetterMessageCount         int `json:"deadLetterMessageCount"`
	ScheduledMessageCount          int `json:"scheduledMessageCount"`
	TransferMessageCount           int `json:"transferMessageCount"`
	TransferDeadLetterMessageCount int `json:"transferDeadLetterMessageCount"`
}

// TopicSettings is what a topic is told. Durations are ISO 8601.
type TopicSettings struct {
	DefaultMessageTimeToLive string `json:"defaultMessageTimeToLive,omitempty"`
	MaxSizeInMegabytes       int    `json:"maxSizeInMegabytes,omitempty"`
	EnableBatchedOperations  *bool  `json:"enableBatchedOperations,omitempty"`
	Status                   string `json:"status,omitempty"`
}

// TopicCounters are the read-only fields of a topic.
type TopicCounters struct {
	SubscriptionCount int          `json:"subscriptionCount"`
	SizeInBytes       int          `json:"sizeInBytes"`
	CountDetails      CountDetails `json:"countDetails"`
}

// SubscriptionSettings is what a subscription is told.
type SubscriptionSettings struct {
	LockDuration             string `json:"lockDuration,omitempty"`
	DefaultMessageTimeToLive string `json:"defaultMessageTimeToLive,omitempty"`
	MaxDeliveryCount         int    `json:"maxDeliveryCount,omitempty"`
	EnableBatchedOperations  *bool  `json:"enableBatchedOperations,omitempty"`
	Status                   string `json:"status,omitempty"`
}

// SubscriptionCounters are the read-only fields of a subscription.
type SubscriptionCounters struct {
	MessageCount int          `json:"messageCount"`
	CountDetails CountDetails `json:"countDetails"`
}
