// Package types is the registry's content: one file per resource type, with its rules, its defaults and what it sends back.
package types

import (
	"context"
	"net"
	"net/url"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/fairlead/internal/controlplane/desired"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/identity"
	"fairlead.dev/fairlead/internal/link"
)

// Provider namespaces.
const (
	nsResources  = "Microsoft.Resources"
	nsKubernetes = "Microsoft.Kubernetes"
	nsConfig     = "Microsoft.KubernetesConfiguration"
	nsML         = "Microsoft.MachineLearningServices"
	nsIdentity   = "Microsoft.ManagedIdentity"
	// nsContainerService is that of managed clusters.
	nsContainerService = "Microsoft.ContainerService"
)

// Blobs is the blob front.
type Blobs interface {
	// IsFile reports whether there is a blob at an address of the blob front; a folder is none.
	IsFile(ctx context.Context, address string) (bool, error)
	// URL is the address of a blob, a folder or (name "") a container, without credential.
	URL(account, container, name string) string
	// SAS is an address that carries its own permission.
	SAS(account, container, prefix, perms string, ttl time.Duration) string
}

// Deps is what the types and their controllers need of the rest of the control plane. All fields but NewID, Relays and Installer are required.
type Deps struct {
	Store store.Store
	Clock func() time.Time
	// PublicURL is how every other party reaches the control plane, without trailing slash.
	PublicURL string
	// StorageSuffix is the name below which storage accounts are hosts, {account}.blob.{suffix}.
	StorageSuffix string
	TenantID      string
	// CA is the PEM bundle that verifies PublicURL; "" when public CAs do.
	CA string
	// Seal encrypts secrets for the store, Open decrypts them.
	Seal, Open func([]byte) ([]byte, error)
	// Desired seals what clusters are told.
	Desired *desired.Map
	// IssueRunToken makes a run's bearer token.
	IssueRunToken func(ctx context.Context, jobKey, jobID string, ttl time.Duration) (string, error)
	// IssueFetchToken makes the token by which a deployment's pods read model and code; id is its principal.
	IssueFetchToken func(ctx context.Context, deploymentKey, id string, ttl time.Duration) (string, error)
	// IssueIdentityToken makes a token of a managed identity, good while the compute that carries it has it.
	IssueIdentityToken func(ctx context.Context, id identity.Identity, compute store.Record, ttl time.Duration) (string, error)
	// IssueEndpointToken makes a token of a caller for one audience: an endpoint.
	IssueEndpointToken func(ctx context.Context, p resource.Principal, audience string, ttl time.Duration) (string, error)
	// TokenKeys are the name of the issuer of such tokens and the JSON web key set that verifies them.
	TokenKeys func() (issuer, jwks string, err error)
	// OpenRelay reaches a target in a cluster.
	OpenRelay func(ctx context.Context, cluster string, t link.Target) (net.Conn, error)
	Blobs     Blobs
	// Authorize is the role check of an action on the Key of a resource; a refusal is an *arm.Error with status 403. Nil refuses all.
	Authorize func(ctx context.Context, p resource.Principal, action, scopeKey string) error
	// Relays is how many relays of a cluster, by its Key, are connected to this server; nil is none.
	Relays func(cluster string) int
	// Installer reaches managed clusters; nil takes none.
	Installer Installer
	// NewID makes a random GUID; nil is uuid.NewString.
	NewID func() string
}

func (d Deps) newID() string {
	if d.NewID != nil {
		return d.NewID()
	}
	return uuid.NewString()
}

// host is PublicURL's host and port.
func (d Deps) host() string {
	u, err := url.Parse(d.PublicURL)
	if err != nil {
		return d.PublicURL
	}
	return u.Host
}

// All is every type of this release.
func All(d Deps) []*resource.Type {
	ts := []*resource.Type{
		subscription(d), resourceGroup(d), userAssignedIdentity(d),
		connectedCluster(d), managedCluster(d), extension(d),
		workspace(d), compute(d), datastore(d), job(d), onlineEndpoint(d), onlineDeployment(d),
		batchEndpoint(d), batchDeployment(d),
	}
	ts = append(ts, absent()...)
	ts = append(ts, channel(d)...)
	ts = append(ts, code(d)...)
	ts = append(ts, environment(d)...)
	ts = append(ts, model(d)...)
	return append(ts, data(d)...)
}
