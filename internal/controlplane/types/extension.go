package types

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/kubernetesconfiguration"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/scan"
	"fairlead.dev/fairlead/internal/extensionsettings"
	"fairlead.dev/fairlead/internal/link"
)

// azureMLType is the extension type as it is sent back; releaseNamespace is where it goes.
const (
	azureMLType      = "Microsoft.AzureML.Kubernetes"
	releaseNamespace = "azureml"
)

func extension(d Deps) *resource.Type {
	return &resource.Type{
		Namespace: nsConfig, Name: "extensions",
		Extends:     []string{"Microsoft.Kubernetes/connectedClusters", "Microsoft.ContainerService/managedClusters"},
		APIVersions: []string{"2023-05-01", "2022-11-01", "2022-03-01", "2021-09-01", "2020-07-01-preview"},
		NameRule:    regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,51}[A-Za-z0-9])?$`),
		NameHelp:    "1 to 53 letters, digits and hyphens, beginning and ending with a letter or digit",
		Async:       true,
		Patch:       patchExtension,
		Admit: func(ctx context.Context, p *resource.Put) error {
			return admitExtension(ctx, d, p)
		},
		Remove: func(ctx context.Context, r *resource.Removal) (bool, error) {
			wait, err := removeExtension(ctx, r)
			if err != nil || wait {
				return wait, err
			}
			return false, ReleaseChannel(ctx, r.Tx, r.Record, d.Clock())
		},
		LogsOf: func(rec store.Record) string { return rec.Parent },
		Show: func(_ context.Context, _ store.Reader, _ store.Record, body map[string]any) error {
			if props, ok := body["properties"].(map[string]any); ok {
				delete(props, protectedSettings)
			}
			return nil
		},
	}
}

// ExtensionInternal is the Internal of an extension's record.
type ExtensionInternal struct {
	// Generation is that of the desired value. It begins at the time of creation in milliseconds, so that what a
	// cluster still says of an extension of the same name that is gone is never taken for this one.
	Generation int64 `json:"generation"`
	// SSLName is the name in the inference router\'s certificate, which is a protected setting; clusterstate reads it.
	SSLName string `json:"sslName,omitempty"`
	// Channel are the Keys of its Relay and its Service Bus namespace.
	Channel []string `json:"channel,omitempty"`
}

func extensionInternal(rec *store.Record) (ExtensionInternal, error) {
	var in ExtensionInternal
	if rec == nil || len(rec.Internal) == 0 {
		return in, nil
	}
	if err := json.Unmarshal(rec.Internal, &in); err != nil {
		return in, fmt.Errorf("decoding state of %s: %w", rec.Key, err)
	}
	return in, nil
}

func admitExtension(ctx context.Context, d Deps, p *resource.Put) error {
	props, err := object(p.Body, "properties")
	if err != nil {
		return err
	}
	old, err := oldProperties(p.Old)
	if err != nil {
		return err
	}
	restore(props, old, "installState", "statuses", "errorInfo", "currentVersion", "packageUri", "customLocationSettings")
	noProtected(props)
	var e kubernetesconfiguration.ExtensionProperties
	if err := decode(props, &e); err != nil {
		return err
	}
	if err := checkExtension(ctx, p, &e); err != nil {
		return err
	}
	protected, err := keepProtected(d, p, e.ConfigurationProtectedSettings)
	if err != nil {
		return err
	}
	settings, err := texts(e.ConfigurationSettings, false)
	if err != nil {
		return err
	}
	o, err := storedSettings(d, p.Old, old)
	if err != nil {
		return err
	}
	if e.ConfigurationProtectedSettings != nil {
		o.Now = d.Clock()
	}
	if err := checkSettings(extensionsettings.Settings{Plain: settings, Protected: protected}, o); err != nil {
		return err
	}
	if err := refuseStranding(ctx, p, o.Stored.Plain, settings); err != nil {
		return err
	}
	e.ConfigurationSettings = anyMap(settings)
	e.ConfigurationProtectedSettings = nil
	delete(props, protectedSettings)
	e.InstallState = link.ExtensionPending
	e.Statuses, e.ErrorInfo = nil, nil
	props["statuses"], props["errorInfo"] = []any{}, nil
	if err := overlay(props, e); err != nil {
		return err
	}
	if err := systemIdentity(d, p, true); err != nil {
		return err
	}
	return desireExtension(ctx, d, p, e, settings, protected)
}

// checkExtension checks what is not a setting and sets defaults.
func checkExtension(ctx context.Context, p *resource.Put, e *kubernetesconfiguration.ExtensionProperties) error {
	var err error
	if e.ExtensionType, err = enum("properties.extensionType", e.ExtensionType, azureMLType); err != nil {
		return err
	}
	if e.Scope == nil || e.Scope.Cluster == nil && e.Scope.Namespace == nil {
		e.Scope = &kubernetesconfiguration.Scope{Cluster: &kubernetesconfiguration.ClusterScope{}}
	}
	if e.Scope.Namespace != nil {
		return arm.Invalid("properties.scope", "Invalid scope 'namespace'.  This extension can be installed only at 'cluster' scope.")
	}
	if e.Scope.Cluster.ReleaseNamespace == "" {
		e.Scope.Cluster.ReleaseNamespace = releaseNamespace
	}
	if err := checkNamespace("properties.scope.cluster.releaseNamespace", e.Scope.Cluster.ReleaseNamespace); err != nil {
		return err
	}
	if e.AutoUpgradeMinorVersion == nil {
		auto := e.Version == ""
		e.AutoUpgradeMinorVersion = &auto
	}
	if e.ReleaseTrain == "" {
		e.ReleaseTrain = "Stable"
	}
	if *e.AutoUpgradeMinorVersion && e.Version != "" {
		return arm.Invalid("properties.version", "To pin to specific version, auto-upgrade-minor-version must be set to 'false'.")
	}
	return onlyOne(ctx, p)
}

// onlyOne refuses a second machine learning extension on a cluster.
func onlyOne(ctx context.Context, p *resource.Put) error {
	parent, _ := p.ID.Parent()
	return scan.Each(ctx, p.Tx, store.Query{Type: clusterstate.ExtensionType, Parent: parent.Key()}, func(rec store.Record) (bool, error) {
		if rec.Key != p.ID.Key() && strings.EqualFold(field(rec, "extensionType"), azureMLType) {
			return false, arm.Errorf(409, "Conflict", "Cluster %s already has extension %s of type %s; update that one, or delete it first.",
				parent.Name(), rec.Name, azureMLType)
		}
		return true, nil
	})
}

var namespaceRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

func checkNamespace(target, ns string) error {
	if !namespaceRule.MatchString(ns) {
		return arm.Invalid(target, "%s is %q; a Kubernetes namespace is 1 to 63 lower-case letters, digits and hyphens, beginning and ending with a letter or digit.", target, ns)
	}
	return nil
}

// keepProtected seals new protected settings into the record and returns those in force. They are replaced as a
// whole; a body without them keeps the stored ones, since no client can read them to send them again.
func keepProtected(d Deps, p *resource.Put, given map[string]any) (map[string]string, error) {
	if given == nil {
		return openSettings(d, p.Old)
	}
	m, err := texts(given, true)
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encoding protected settings: %w", err)
	}
	if p.Record.Secret, err = d.Seal(raw); err != nil {
		return nil, fmt.Errorf("sealing protected settings: %w", err)
	}
	return m, nil
}

func openSettings(d Deps, old *store.Record) (map[string]string, error) {
	if old == nil || len(old.Secret) == 0 {
		return nil, nil
	}
	raw, err := d.Open(old.Secret)
	if err != nil {
		return nil, fmt.Errorf("opening protected settings of %s: %w", old.Key, err)
	}
	var m map[string]string
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("decoding protected settings of %s: %w", old.Key, err)
	}
	return m, nil
}

func anyMap(in map[string]string) map[string]any {
	out := make(map[string]any, len(in))
	for k, v := range in {
		out[k] = v
	}
	return out
}

// desireExtension writes what the cluster shall have, in the transaction of the PUT.
func desireExtension(ctx context.Context, d Deps, p *resource.Put, e kubernetesconfiguration.ExtensionProperties, settings, protected map[string]string) error {
	in, err := extensionInternal(p.Old)
	if err != nil {
		return err
	}
	in.Generation = max(in.Generation+1, d.Clock().UnixMilli())
	in.SSLName = extensionsettings.Settings{Plain: settings, Protected: protected}.Effective()["sslCname"]
	if in.Channel, err = keepChannel(ctx, d, p, settings, in.Channel); err != nil {
		return err
	}
	if p.Record.Internal, err = json.Marshal(in); err != nil {
		return fmt.Errorf("encoding state of %s: %w", p.ID.Key(), err)
	}
	name := strings.ToLower(p.ID.Name())
	raw, err := json.Marshal(link.Extension{Name: name, ExtensionType: azureMLType, Version: e.Version, Pinned: !*e.AutoUpgradeMinorVersion,
		ReleaseNamespace: e.Scope.Cluster.ReleaseNamespace, Generation: in.Generation, Settings: settings, ProtectedSettings: protected})
	if err != nil {
		return fmt.Errorf("encoding extension %s: %w", name, err)
	}
	if len(raw) > link.MaxValue {
		return arm.Invalid("properties", "The extension's settings are %d bytes in all; at most %d are allowed.", len(raw), link.MaxValue)
	}
	parent, _ := p.ID.Parent()
	if err := d.Desired.Put(ctx, p.Tx, parent.Key(), link.PrefixExtension+name, raw); err != nil {
		return fmt.Errorf("writing desired extension %s: %w", name, err)
	}
	return nil
}

// removeExtension asks the cluster to uninstall and waits for it, unless forced or the cluster was never there to install.
func removeExtension(ctx context.Context, d *resource.Removal) (bool, error) {
	parent, _ := arm.MustParseID(d.Record.ID).Parent()
	cluster, key := parent.Key(), link.PrefixExtension+strings.ToLower(d.Record.Name)
	if !d.Force {
		if err := refuseInUse(ctx, d.Tx, cluster, "Extension "+d.Record.Name); err != nil {
			return false, err
		}
	}
	if err := ignoreNotFound(d.Tx.DeleteDesired(ctx, cluster, key)); err != nil {
		return false, fmt.Errorf("deleting desired %s: %w", key, err)
	}
	_, seen, err := clusterstate.Heartbeat(ctx, d.Tx, cluster)
	if err != nil {
		return false, err
	}
	if !d.Force && !seen.IsZero() {
		return true, nil
	}
	if err := ignoreNotFound(d.Tx.DeleteObserved(ctx, cluster, key)); err != nil {
		return false, fmt.Errorf("deleting observed %s: %w", key, err)
	}
	return false, nil
}
