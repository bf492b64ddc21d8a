// Package clusterstate says what the control plane knows of a cluster: whether it is there, its training feature, and the
// namespaces and instance types that its reporter saw. Types, controllers and log readers decide by it.
package clusterstate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/hybridkubernetes"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/api/kubernetesconfiguration"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/extensionsettings"
	"fairlead.dev/fairlead/internal/link"
)

// OfflineAfter is how long a cluster stays Connected without a heartbeat: three missed ones.
const OfflineAfter = 3 * link.HeartbeatIntervalSeconds * time.Second

// Full types, lower case, as in store.Record.Type.
const (
	ClusterType   = "microsoft.kubernetes/connectedclusters"
	ManagedType   = "microsoft.containerservice/managedclusters"
	ExtensionType = "microsoft.kubernetesconfiguration/extensions"
	// AzureML is the extensionType of the machine learning extension, lower case.
	AzureML = "microsoft.azureml.kubernetes"
)

// Facts is a cluster at one moment.
type Facts struct {
	// Exists is false when no resource has the id; nothing else is set then.
	Exists bool
	// Key and Name of the cluster.
	Key, Name string
	// Connectivity is one of the states of package hybridkubernetes; LastSeen the newest heartbeat, zero before the first.
	Connectivity string
	LastSeen     time.Time
	Extension    Extension
	// Nodes is nil until cluster-status-reporter has spoken; NodesAt is when it last did.
	Nodes   *link.NodesStatus
	NodesAt time.Time
}

// Extension is the machine learning extension of a cluster.
type Extension struct {
	Exists bool
	Name   string
	// State is its provisioningState; Error the message of its errorInfo.
	State, Error        string
	Training, Inference bool
	// SSLName is the name in the inference router's certificate; "" when it has none or speaks HTTP.
	SSLName string
}

// Connectivity decides a cluster's state from its newest heartbeat (zero: none yet) and its certificate's end (zero: none).
func Connectivity(now, lastSeen, certEnd time.Time) string {
	switch {
	case !certEnd.IsZero() && !now.Before(certEnd):
		return hybridkubernetes.Expired
	case lastSeen.IsZero():
		return hybridkubernetes.Connecting
	case now.Sub(lastSeen) >= OfflineAfter:
		return hybridkubernetes.Offline
	}
	return hybridkubernetes.Connected
}

// Heartbeat reads a cluster's newest heartbeat; the time is zero when there was none.
func Heartbeat(ctx context.Context, r store.Reader, cluster string) (link.ClusterStatus, time.Time, error) {
	var st link.ClusterStatus
	at, err := observed(ctx, r, cluster, link.KeyCluster, &st)
	return st, at, err
}

// observed decodes one observed value; absent leaves v alone and gives the zero time.
func observed(ctx context.Context, r store.Reader, cluster, key string, v any) (time.Time, error) {
	e, err := r.Observed(ctx, cluster, key)
	if errors.Is(err, store.ErrNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("reading %q of cluster %s: %w", key, cluster, err)
	}
	if err := json.Unmarshal(e.Value, v); err != nil {
		return time.Time{}, fmt.Errorf("decoding %q of cluster %s: %w", key, cluster, err)
	}
	return e.At, nil
}

// Read gathers all facts of the cluster with this key.
func Read(ctx context.Context, r store.Reader, cluster string, now time.Time) (Facts, error) {
	f, err := State(ctx, r, cluster, now)
	if err != nil || !f.Exists {
		return f, err
	}
	f.Nodes, f.NodesAt, err = Nodes(ctx, r, cluster)
	return f, err
}

// State is Read without Nodes, whose value is big in big clusters.
func State(ctx context.Context, r store.Reader, cluster string, now time.Time) (Facts, error) {
	f, rec, err := records(ctx, r, cluster)
	if err != nil || !f.Exists {
		return f, err
	}
	_, seen, err := Heartbeat(ctx, r, cluster)
	if err != nil {
		return Facts{}, err
	}
	f.LastSeen, f.Connectivity = seen, Connectivity(now, seen, CertificateEnd(rec))
	return f, nil
}

// Features is what a submit must know: whether the cluster exists, and its extension. Neither depends on the time.
func Features(ctx context.Context, r store.Reader, cluster string) (Facts, error) {
	f, _, err := records(ctx, r, cluster)
	return f, err
}

func records(ctx context.Context, r store.Reader, cluster string) (Facts, store.Record, error) {
	rec, err := r.Get(ctx, cluster)
	if errors.Is(err, store.ErrNotFound) {
		return Facts{Key: cluster}, rec, nil
	}
	if err != nil {
		return Facts{}, rec, fmt.Errorf("reading cluster %s: %w", cluster, err)
	}
	f := Facts{Exists: true, Key: rec.Key, Name: rec.Name}
	f.Extension, err = extension(ctx, r, cluster)
	return f, rec, err
}

// Nodes reads what cluster-status-reporter last saw, and when; nil when it has not spoken yet.
func Nodes(ctx context.Context, r store.Reader, cluster string) (*link.NodesStatus, time.Time, error) {
	var nodes link.NodesStatus
	at, err := observed(ctx, r, cluster, link.KeyNodes, &nodes)
	if err != nil || at.IsZero() {
		return nil, at, err
	}
	return &nodes, at, nil
}

// CertificateEnd reads when the registered certificate of a cluster's record ends; zero when never.
func CertificateEnd(rec store.Record) time.Time {
	var body struct {
		Properties hybridkubernetes.ConnectedClusterProperties
	}
	if json.Unmarshal(rec.Body, &body) != nil {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, body.Properties.ManagedIdentityCertificateExpirationTime)
	if err != nil {
		return time.Time{}
	}
	return t
}

func extension(ctx context.Context, r store.Reader, cluster string) (Extension, error) {
	recs, err := r.List(ctx, store.Query{Type: ExtensionType, Parent: cluster, Limit: 1000})
	if err != nil {
		return Extension{}, fmt.Errorf("listing extensions of %s: %w", cluster, err)
	}
	for _, rec := range recs {
		var body struct {
			Properties kubernetesconfiguration.ExtensionProperties `json:"properties"`
		}
		if err := json.Unmarshal(rec.Body, &body); err != nil {
			return Extension{}, fmt.Errorf("decoding extension %s: %w", rec.Key, err)
		}
		p := body.Properties
		if !strings.EqualFold(p.ExtensionType, AzureML) {
			continue
		}
		e := Extension{Exists: true, Name: rec.Name, State: p.ProvisioningState}
		if p.ErrorInfo != nil {
			e.Error = p.ErrorInfo.Message
		}
		effective := extensionsettings.Settings{Plain: texts(p.ConfigurationSettings)}.Effective()
		e.Training, e.Inference = effective["enableTraining"] == "True", effective["enableInference"] == "True"
		var internal struct{ SSLName string } // of types.ExtensionInternal
		if len(rec.Internal) > 0 {
			if err := json.Unmarshal(rec.Internal, &internal); err != nil {
				return Extension{}, fmt.Errorf("decoding state of extension %s: %w", rec.Key, err)
			}
		}
		e.SSLName = cmp.Or(effective["sslCname"], internal.SSLName)
		return e, nil
	}
	return Extension{}, nil
}

func texts(settings map[string]any) map[string]string {
	out := make(map[string]string, len(settings))
	for k, v := range settings {
		out[k] = fmt.Sprint(v)
	}
	return out
}

// Router reads where the cluster's inference router is; the time is zero when the cluster has not said.
func Router(ctx context.Context, r store.Reader, cluster string) (link.RouterStatus, time.Time, error) {
	var st link.RouterStatus
	at, err := observed(ctx, r, cluster, link.KeyRouter, &st)
	return st, at, err
}

// OfflineSince says in words why a cluster does nothing now; "" when it is connected.
func (f Facts) OfflineSince() string {
	switch f.Connectivity {
	case hybridkubernetes.Connecting:
		return fmt.Sprintf("cluster %s has not been heard from since it was connected", f.Name)
	case hybridkubernetes.Expired:
		return fmt.Sprintf("the certificate of cluster %s has expired", f.Name)
	case hybridkubernetes.Offline:
		return fmt.Sprintf("cluster %s is offline since %s", f.Name, f.LastSeen.UTC().Format(time.RFC3339))
	}
	return ""
}

// DefaultInstanceType is used when neither job nor compute names one; every cluster has it.
const DefaultInstanceType = v1alpha1.DefaultInstanceType

// InstanceType finds an instance type's name as the cluster spells it. known is false while the cluster has not reported,
// and names is what there is to choose from.
func (f Facts) InstanceType(name string) (found string, names []string, known bool) {
	if f.Nodes == nil {
		return name, nil, false
	}
	hasDefault := false
	for _, it := range f.Nodes.InstanceTypes {
		names = append(names, it.Name)
		hasDefault = hasDefault || it.Name == DefaultInstanceType
	}
	if !hasDefault {
		names = append(names, DefaultInstanceType)
	}
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return n, names, true
		}
	}
	return "", names, true
}

// extensions parts the Key of an extension.
const extensions = "/providers/" + ExtensionType + "/"

// ExtensionKey is the Key of a cluster's extension.
func ExtensionKey(cluster, name string) string { return cluster + extensions + name }

// Changed is the cluster whose own state, or whose extension, a change is of. A cluster that is deleted takes all along that is told of it.
func Changed(ch store.Change) (cluster string, ok bool) {
	switch {
	case ch.Kind != "resource":
		return "", false
	case IsCluster(ch.Type):
		return ch.Key, !ch.Deleted
	case ch.Type != ExtensionType:
		return "", false
	}
	cluster, _, ok = strings.Cut(ch.Key, extensions)
	return cluster, ok
}

// IsCluster reports whether a full type, in any case, is one of clusters.
func IsCluster(fullType string) bool {
	return strings.EqualFold(fullType, ClusterType) || strings.EqualFold(fullType, ManagedType)
}

// Key is the Key of a cluster's id when it is one of a connected or managed cluster.
func Key(id string) (string, error) {
	parsed, err := arm.ParseID(id)
	if err != nil {
		return "", err
	}
	if !IsCluster(parsed.Type()) {
		return "", fmt.Errorf("%q is of type %s; it must be the id of a Microsoft.Kubernetes/connectedClusters or Microsoft.ContainerService/managedClusters resource", id, parsed.Type())
	}
	return parsed.Key(), nil
}
