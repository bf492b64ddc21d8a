// Package serving is what the control plane remembers of online endpoints and deployments beside their wire form, in
// store.Record.Internal and Secret: where they are, and what of them was looked up when they were written.
package serving

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/identity"
)

// Full types, lower case.
const (
	EndpointType   = "microsoft.machinelearningservices/workspaces/onlineendpoints"
	DeploymentType = EndpointType + "/deployments"
)

// Place is where in which cluster something serves.
type Place struct {
	// Compute and Cluster are Keys; Namespace is the compute's.
	Compute   string `json:"compute"`
	Cluster   string `json:"cluster"`
	Namespace string `json:"namespace"`
}

// Endpoint is the Internal of an endpoint's record.
type Endpoint struct {
	Place
	identity.Order
	// Audience is what its tokens are for: random, so that those of a deleted endpoint are not for one of the same name.
	Audience string `json:"audience"`
	// Revision is that of what the cluster was told last.
	Revision string `json:"revision,omitempty"`
}

// Deployment is the Internal of a deployment's record.
type Deployment struct {
	Place
	identity.Order
	// ID is the object id of its token.
	ID string `json:"id"`
	// SpeaksAs is the managed identity that its pods get tokens of.
	SpeaksAs identity.Grant `json:"speaksAs,omitzero"`
	// Spec is what the cluster is told but for the addresses, which are looked at when it is.
	Spec v1alpha1.OnlineDeploymentSpec `json:"spec"`
	// Revision is that of what the cluster was told last, TokenAt when the token it was told was issued.
	Revision string    `json:"revision,omitempty"`
	TokenAt  time.Time `json:"tokenAt,omitzero"`
}

// Keys are an endpoint's keys, sealed in the record's Secret.
type Keys struct {
	Primary   string `json:"primary"`
	Secondary string `json:"secondary"`
}

// Hash is what the cluster learns of a key.
func Hash(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// Revision tells one specification from another, and what has the name of something deleted from that: the cluster may see no more
// than a change of this. id is the thing's own.
func Revision(id string, spec []byte) string { return Hash(id + " " + string(spec))[:32] }

// DecodeEndpoint reads the Internal of an endpoint.
func DecodeEndpoint(rec store.Record) (Endpoint, error) { return decode[Endpoint](rec) }

// DecodeDeployment reads the Internal of a deployment.
func DecodeDeployment(rec store.Record) (Deployment, error) { return decode[Deployment](rec) }

func decode[T any](rec store.Record) (v T, err error) {
	if len(rec.Internal) == 0 {
		return v, nil
	}
	if err := json.Unmarshal(rec.Internal, &v); err != nil {
		return v, fmt.Errorf("decoding state of %s: %w", rec.Key, err)
	}
	return v, nil
}

// Encode is the form in which either is stored.
func Encode[T Endpoint | Deployment](v T) (json.RawMessage, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding state: %w", err)
	}
	return raw, nil
}
