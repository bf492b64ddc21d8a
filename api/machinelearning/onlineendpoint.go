package machinelearning

// Authentication modes of online endpoints. AADToken is not served on Kubernetes.
const (
	AuthKey      = "Key"
	AuthAMLToken = "AMLToken"
	AuthAADToken = "AADToken"
)

// OnlineEndpointProperties is the properties object of an online endpoint.
type OnlineEndpointProperties struct {
	Description string            `json:"description,omitempty"`
	Properties  map[string]string `json:"properties"`
	// AuthMode is Key or AMLToken.
	AuthMode string `json:"authMode"`
	// Compute is the id of an attached Kubernetes compute.
	Compute string `json:"compute"`
	// Traffic is the percentage of requests of each deployment: 0 or 100 in all. MirrorTraffic sends copies to at most one more.
	Traffic       map[string]int `json:"traffic"`
	MirrorTraffic map[string]int `json:"mirrorTraffic,omitempty"`
	// PublicNetworkAccess has a meaning for managed endpoints only.
	PublicNetworkAccess string `json:"publicNetworkAccess,omitempty"`
	// Keys may be given when the endpoint is made; it is never sent back.
	Keys *EndpointAuthKeys `json:"keys,omitempty"`
	// The rest is read-only. The addresses are null until the cluster has told where its router is.
	ScoringURI        *string `json:"scoringUri"`
	SwaggerURI        *string `json:"swaggerUri"`
	ProvisioningState string  `json:"provisioningState,omitempty"`
}

// EndpointAuthKeys is the answer of listKeys.
type EndpointAuthKeys struct {
	PrimaryKey   string `json:"primaryKey"`
	SecondaryKey string `json:"secondaryKey"`
}

// EndpointAuthToken is the answer of token. Times are Unix seconds.
type EndpointAuthToken struct {
	AccessToken         string `json:"accessToken"`
	ExpiryTimeUTC       int64  `json:"expiryTimeUtc"`
	RefreshAfterTimeUTC int64  `json:"refreshAfterTimeUtc"`
	TokenType           string `json:"tokenType"`
}

// RegenerateEndpointKeysRequest is the body of regenerateKeys.
type RegenerateEndpointKeysRequest struct {
	// KeyType is Primary or Secondary.
	KeyType string `json:"keyType"`
	// KeyValue is the new key; empty makes one.
	KeyValue string `json:"keyValue"`
}
