package managedcluster

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/containerservice"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/agentkey"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/link"
)

// keyBits is the size of an agent's RSA key.
const keyBits = 3072

// newKey makes a key pair in the forms that agents and resources have.
func newKey() (private []byte, public string, err error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, "", fmt.Errorf("generating the agent's key: %w", err)
	}
	private = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return private, base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&key.PublicKey)), nil
}

// agents are the KeyID of the key that is registered, and that of the agent that was heard last ("" for none), and when it was heard.
func (c *Controller) agents(ctx context.Context, rec store.Record) (registered, heard string, seen time.Time, err error) {
	st, seen, err := clusterstate.Heartbeat(ctx, c.d.Store, rec.Key)
	if err != nil {
		return "", "", seen, err
	}
	p, err := properties(rec)
	if err != nil || p.AgentPublicKeyCertificate == "" {
		return "", st.AgentKey, seen, err
	}
	key, err := agentkey.Parse(p.AgentPublicKeyCertificate)
	if err != nil {
		return "", "", seen, fmt.Errorf("key of %s %w", rec.Key, err)
	}
	return link.KeyID(key.Public), st.AgentKey, seen, nil
}

// maxFormer bounds the keys of installations that failed one after the other.
const maxFormer = 8

// former adds a key that is replaced to those that may still be an agent's. Where they are too many, the first stays: it is the one that
// worked once.
func former(keys []string, replaced any) []string {
	if key, _ := replaced.(string); key != "" {
		keys = append(keys, key)
	}
	if len(keys) > maxFormer {
		keys = slices.Delete(keys, 1, 2)
	}
	return keys
}

// agent is what a cluster's agent is told, but for its key.
func (c *Controller) agent(rec store.Record) (types.ManagedAgent, error) {
	a := types.ManagedAgent{Endpoint: c.d.PublicURL, CA: []byte(c.d.CA), TenantID: c.d.TenantID, ClusterID: rec.ID}
	p, err := properties(rec)
	if err != nil {
		return a, err
	}
	if g := p.AgentProfile; g != nil {
		a.AgentImage, a.RouterImage, a.RuntimeImage, a.PullSecret = g.AgentImage, g.RouterImage, g.RuntimeImage, g.ImagePullSecret
	}
	if h := p.HTTPProxyConfig; h != nil {
		a.HTTPSProxy, a.HTTPProxy, a.ProxySkipRange = h.HTTPSProxy, h.HTTPProxy, strings.Join(h.NoProxy, ",")
		if a.ProxyCert, err = base64.StdEncoding.DecodeString(h.TrustedCA); err != nil {
			return a, arm.Invalid("properties.httpProxyConfig.trustedCa", "properties.httpProxyConfig.trustedCa is not base64 of a PEM file.")
		}
	}
	return a, nil
}

// host is the API server's.
func host(rec store.Record) string {
	p, err := properties(rec)
	if err != nil {
		return "the cluster"
	}
	return p.FQDN
}

func properties(rec store.Record) (containerservice.ManagedClusterProperties, error) {
	var body struct {
		Properties containerservice.ManagedClusterProperties `json:"properties"`
	}
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		return body.Properties, fmt.Errorf("decoding cluster %s: %w", rec.Key, err)
	}
	return body.Properties, nil
}
