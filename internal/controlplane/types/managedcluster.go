package types

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/containerservice"
	"fairlead.dev/fairlead/api/hybridkubernetes"
	"fairlead.dev/fairlead/internal/controlplane/kubeconfig"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
)

func managedCluster(d Deps) *resource.Type {
	return &resource.Type{
		Namespace: nsContainerService, Name: "managedClusters",
		APIVersions: []string{"2024-09-01", "2023-08-01", "2022-09-01", "2021-05-01", "2017-08-31"},
		NameRule:    clusterName, NameHelp: clusterNameHelp,
		Async: true,
		Admit: func(ctx context.Context, p *resource.Put) error {
			return admitManaged(ctx, d, p)
		},
		Remove: func(ctx context.Context, r *resource.Removal) (bool, error) {
			return !r.Force && d.Installer != nil, removeCluster(ctx, r, d.Clock())
		},
		Show: func(ctx context.Context, r store.Reader, rec store.Record, body map[string]any) error {
			return showManaged(ctx, r, rec, body, d.Clock())
		},
		Actions: map[string]resource.Action{
			strings.ToLower(containerservice.ListClusterUserCredential):  {Permission: "secret", Run: d.userCredential},
			strings.ToLower(containerservice.ListClusterAdminCredential): {Permission: "secret", Run: d.adminCredential},
		},
	}
}

// ManagedInternal is the Internal of a managed cluster's record.
type ManagedInternal struct {
	// Generation is that of what shall be installed, Installed of what was, at InstalledAt.
	Generation  int64     `json:"generation"`
	Installed   int64     `json:"installed,omitempty"`
	InstalledAt time.Time `json:"installedAt,omitzero"`
	// Claimed is until when a server may be at work on the cluster; others leave it alone.
	Claimed time.Time `json:"claimed,omitzero"`
	// UID is that of the cluster's namespace kube-system, which no other cluster has.
	UID string `json:"uid,omitempty"`
	// FormerKeys are those of agents that may still run, because no installation has ended well since; the agent's own is the property.
	FormerKeys []string `json:"formerKeys,omitempty"`
}

// ManagedState reads it.
func ManagedState(rec store.Record) (ManagedInternal, error) {
	var in ManagedInternal
	if len(rec.Internal) == 0 {
		return in, nil
	}
	if err := json.Unmarshal(rec.Internal, &in); err != nil {
		return in, fmt.Errorf("decoding state of %s: %w", rec.Key, err)
	}
	return in, nil
}

// managedReadOnly are what a PUT does not set.
var managedReadOnly = append([]string{"currentKubernetesVersion", "fqdn", "status", "agentPublicKeyCertificate"}, clusterReadOnly...)

func admitManaged(ctx context.Context, d Deps, p *resource.Put) error {
	if d.Installer == nil {
		return arm.Errorf(501, "NotSupported", "This control plane cannot install agents, and so takes no managed clusters: it was built without Helm. Connect the cluster with 'connectedk8s connect'.")
	}
	if err := busy(p.Old); err != nil {
		return err
	}
	props, err := object(p.Body, "properties")
	if err != nil {
		return err
	}
	old, err := oldProperties(p.Old)
	if err != nil {
		return err
	}
	restore(props, old, managedReadOnly...)
	restore(props, nil, "agentPoolProfiles", "powerState") // told by the cluster
	var c containerservice.ManagedClusterProperties
	if err := decode(props, &c); err != nil {
		return err
	}
	if c.ConnectivityStatus == "" {
		c.ConnectivityStatus, props["connectivityStatus"] = hybridkubernetes.Connecting, hybridkubernetes.Connecting
	}
	if props["dnsPrefix"] == nil {
		props["dnsPrefix"] = p.ID.Name()
	}
	props["enableRBAC"] = true
	if err := keepKubeconfig(d, p, props, c.Kubeconfig); err != nil {
		return err
	}
	if err := checkAgentProfile(c); err != nil {
		return err
	}
	if p.Body["sku"] == nil {
		p.Body["sku"] = map[string]any{"name": "Base", "tier": "Free"}
	}
	if err := systemIdentity(d, p, true); err != nil {
		return err
	}
	if err := location(ctx, p); err != nil {
		return err
	}
	return planManaged(p, props, old, c.Kubeconfig != nil)
}

// keepKubeconfig seals a new kubeconfig into the record; a body without one keeps the stored one, since it is not shown.
func keepKubeconfig(d Deps, p *resource.Put, props map[string]any, text *string) error {
	delete(props, "kubeconfig")
	if text == nil {
		if p.Old == nil {
			return arm.Invalid("properties.kubeconfig", "properties.kubeconfig is missing. This control plane makes no clusters: it takes one that is there, by a kubeconfig (YAML, or base64 of it) with which it can reach the API server; 'fairlead aks create --kube-config' sends it.")
		}
		return nil
	}
	k, err := kubeconfig.Parse(*text)
	if err != nil {
		return arm.Invalid("properties.kubeconfig", "properties.kubeconfig %v.", err)
	}
	if p.Record.Secret, err = d.Seal(k.Text); err != nil {
		return fmt.Errorf("sealing kubeconfig: %w", err)
	}
	props["fqdn"] = k.Host()
	return nil
}

func checkAgentProfile(c containerservice.ManagedClusterProperties) error {
	if a := c.AgentProfile; a != nil {
		for field, v := range map[string]string{"agentImage": a.AgentImage, "routerImage": a.RouterImage, "runtimeImage": a.RuntimeImage, "imagePullSecret": a.ImagePullSecret} {
			if v != "" && !imageRule.MatchString(v) {
				return arm.Invalid("properties.agentProfile."+field, "properties.agentProfile.%s is %q, which is no name of an image or a Secret.", field, v)
			}
		}
	}
	if h := c.HTTPProxyConfig; h != nil {
		for field, v := range map[string]string{"httpProxy": h.HTTPProxy, "httpsProxy": h.HTTPSProxy} {
			if u, err := url.Parse(v); v != "" && (err != nil || u.Host == "" || !strings.HasPrefix(u.Scheme, "http")) {
				return arm.Invalid("properties.httpProxyConfig."+field, "properties.httpProxyConfig.%s is %q; it must be an address such as http://proxy:3128.", field, v)
			}
		}
	}
	return nil
}

// planManaged asks for an installation when something of it changed, or the last one failed. Otherwise the PUT is done.
func planManaged(p *resource.Put, props, old map[string]any, kubeconfig bool) error {
	in := ManagedInternal{}
	if p.Old != nil {
		var err error
		if in, err = ManagedState(*p.Old); err != nil {
			return err
		}
		same := reflect.DeepEqual(props["agentProfile"], old["agentProfile"]) && reflect.DeepEqual(props["httpProxyConfig"], old["httpProxyConfig"])
		if same && !kubeconfig && old["provisioningState"] == arm.StateSucceeded {
			props["provisioningState"] = arm.StateSucceeded
			return nil
		}
	}
	in.Generation++
	delete(props, "status")
	var err error
	if p.Record.Internal, err = json.Marshal(in); err != nil {
		return fmt.Errorf("encoding state of %s: %w", p.ID.Key(), err)
	}
	return nil
}

// showManaged puts what the cluster says of itself in the reference's form.
func showManaged(ctx context.Context, r store.Reader, rec store.Record, body map[string]any, now time.Time) error {
	if err := showCluster(ctx, r, rec, body, now); err != nil {
		return err
	}
	props, err := object(body, "properties")
	if err != nil {
		return err
	}
	pools := []containerservice.AgentPoolProfile{}
	version, _ := props["kubernetesVersion"].(string)
	version = strings.TrimPrefix(version, "v")
	props["kubernetesVersion"], props["currentKubernetesVersion"] = version, version
	running := props["connectivityStatus"] == hybridkubernetes.Connected
	st, seen, err := clusterstate.Heartbeat(ctx, r, rec.Key)
	if err != nil {
		return err
	}
	if !seen.IsZero() {
		pool := containerservice.AgentPoolProfile{Name: "nodes", Count: st.TotalNodeCount, Mode: "System", OSType: "Linux", OrchestratorVersion: version, ProvisioningState: arm.StateSucceeded}
		if running {
			pool.PowerState = &containerservice.PowerState{Code: "Running"}
		}
		pools = append(pools, pool)
	}
	props["agentPoolProfiles"] = pools
	if running {
		props["powerState"] = containerservice.PowerState{Code: "Running"}
	}
	return nil
}

// adminCredential answers with the kubeconfig that the cluster was registered by.
func (d Deps) adminCredential(_ context.Context, a *resource.Call) (any, error) {
	text, err := d.Open(a.Record.Secret)
	if err != nil {
		return nil, fmt.Errorf("opening kubeconfig of %s: %w", a.Record.Key, err)
	}
	return hybridkubernetes.CredentialResults{Kubeconfigs: []hybridkubernetes.CredentialResult{{Name: "clusterAdmin", Value: text}}}, nil
}

// Installer reaches managed clusters by their kubeconfigs. The program's main package brings it, since it needs Helm.
type Installer interface {
	// Inspect looks whether the cluster can be reached and the agent installed.
	Inspect(ctx context.Context, kubeconfig []byte) (ManagedFacts, error)
	// Install applies the agent, or upgrades the one that is there, and does not wait for its pod.
	Install(ctx context.Context, kubeconfig []byte, a ManagedAgent) error
	// Explain says why the agent does not run; nil when it does.
	Explain(ctx context.Context, kubeconfig []byte) error
	// Uninstall takes the cluster's agent out; one without an agent, or with another resource's, is no error.
	Uninstall(ctx context.Context, kubeconfig []byte, clusterID string) error
}

// ManagedFacts are what a cluster says of itself to whoever has its kubeconfig.
type ManagedFacts struct {
	KubernetesVersion string
	// UID is that of namespace kube-system.
	UID string
}

// ManagedAgent is what an agent is told.
type ManagedAgent struct {
	Endpoint, TenantID, ClusterID         string
	CA, PrivateKeyPEM                     []byte
	AgentImage, RouterImage, RuntimeImage string
	PullSecret                            string
	HTTPSProxy, HTTPProxy, ProxySkipRange string
	ProxyCert                             []byte
}
