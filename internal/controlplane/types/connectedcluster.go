package types

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/hybridkubernetes"
	"fairlead.dev/fairlead/internal/controlplane/operation"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/agentkey"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/controlplane/types/scan"
	"fairlead.dev/fairlead/internal/link"
)

var clusterName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)

const clusterNameHelp = "1 to 63 letters, digits, '-', '_' and '.', beginning and ending with a letter or digit"

func connectedCluster(d Deps) *resource.Type {
	return &resource.Type{
		Namespace: nsKubernetes, Name: "connectedClusters",
		APIVersions: []string{"2024-01-01", "2022-05-01-preview", "2021-10-01", "2021-03-01", "2020-01-01-preview"},
		NameRule:    clusterName, NameHelp: clusterNameHelp,
		Admit: func(ctx context.Context, p *resource.Put) error {
			return admitCluster(ctx, d, p)
		},
		Remove: func(ctx context.Context, r *resource.Removal) (bool, error) {
			return false, removeCluster(ctx, r, d.Clock())
		},
		Show: func(ctx context.Context, r store.Reader, rec store.Record, body map[string]any) error {
			return showCluster(ctx, r, rec, body, d.Clock())
		},
		Actions: map[string]resource.Action{
			strings.ToLower(hybridkubernetes.ListClusterUserCredential): {Permission: "secret", Run: d.userCredential},
		},
	}
}

// clusterReadOnly are the fields that come from the cluster, not from a PUT.
var clusterReadOnly = []string{"kubernetesVersion", "totalNodeCount", "totalCoreCount", "agentVersion", "offering",
	"connectivityStatus", "lastConnectivityTime", "managedIdentityCertificateExpirationTime"}

func admitCluster(ctx context.Context, d Deps, p *resource.Put) error {
	props, err := object(p.Body, "properties")
	if err != nil {
		return err
	}
	old, err := oldProperties(p.Old)
	if err != nil {
		return err
	}
	restore(props, old, clusterReadOnly...)
	var c hybridkubernetes.ConnectedClusterProperties
	if err := decode(props, &c); err != nil {
		return err
	}
	key, err := agentkey.Parse(c.AgentPublicKeyCertificate)
	if err != nil {
		return arm.Invalid("properties.agentPublicKeyCertificate",
			"properties.agentPublicKeyCertificate %v. It is the agent's RSA public key or certificate, as PEM or base64 of DER; 'fairlead connectedk8s connect' makes it.", err)
	}
	c.ManagedIdentityCertificateExpirationTime = ""
	delete(props, "managedIdentityCertificateExpirationTime")
	if !key.NotAfter.IsZero() {
		c.ManagedIdentityCertificateExpirationTime = arm.FormatTime(key.NotAfter)
	}
	if c.ConnectivityStatus == "" {
		c.ConnectivityStatus = hybridkubernetes.Connecting
	}
	if err := overlay(props, c); err != nil {
		return err
	}
	if err := systemIdentity(d, p, true); err != nil {
		return err
	}
	return location(ctx, p)
}

// showCluster computes the state at this moment: heartbeats are not written to the record.
func showCluster(ctx context.Context, r store.Reader, rec store.Record, body map[string]any, now time.Time) error {
	props, err := object(body, "properties")
	if err != nil {
		return err
	}
	st, seen, err := clusterstate.Heartbeat(ctx, r, rec.Key)
	if err != nil {
		return err
	}
	props["connectivityStatus"] = clusterstate.Connectivity(now, seen, clusterstate.CertificateEnd(rec))
	if seen.IsZero() {
		return nil
	}
	props["lastConnectivityTime"] = arm.FormatTime(seen)
	return overlay(props, ClusterFields(st))
}

// ClusterFields are the properties that a heartbeat sets; empty ones keep what was registered.
func ClusterFields(st link.ClusterStatus) map[string]any {
	m := map[string]any{"totalNodeCount": st.TotalNodeCount, "totalCoreCount": st.TotalCoreCount}
	for k, v := range map[string]string{"agentVersion": st.AgentVersion, "kubernetesVersion": st.KubernetesVersion,
		"distribution": st.Distribution, "infrastructure": st.Infrastructure} {
		if v != "" {
			m[k] = v
		}
	}
	return m
}

func removeCluster(ctx context.Context, d *resource.Removal, now time.Time) error {
	key := d.Record.Key
	if !d.Force {
		if err := refuseInUse(ctx, d.Tx, key, "Cluster "+d.Record.Name); err != nil {
			return err
		}
	}
	if err := orphanJobs(ctx, d.Tx, key); err != nil {
		return err
	}
	exts, err := d.Tx.List(ctx, store.Query{Type: clusterstate.ExtensionType, Parent: key, Limit: 1000})
	if err != nil {
		return fmt.Errorf("listing extensions of %s: %w", d.Record.Name, err)
	}
	for _, ext := range exts { // nobody is left who could uninstall them
		if err := errors.Join(ReleaseChannel(ctx, d.Tx, ext, now), operation.FinishDeleteAt(ctx, d.Tx, ext, now)); err != nil {
			return err
		}
	}
	return DropMaps(ctx, d.Tx, key)
}

// refuseInUse answers 409 when a compute stands on the cluster.
func refuseInUse(ctx context.Context, r store.Reader, cluster, what string) error {
	users, err := usersOf(ctx, r, cluster)
	if err != nil || len(users) == 0 {
		return err
	}
	return arm.Errorf(409, "ResourceInUse", "%s is used by %s; detach it first, or delete with forceDelete=true (jobs that run there will fail).",
		what, strings.Join(users, ", "))
}

// usersOf names the computes that stand on a cluster, at most five.
func usersOf(ctx context.Context, r store.Reader, cluster string) ([]string, error) {
	var users []string
	err := scan.Each(ctx, r, store.Query{Type: mlType("workspaces/computes"), AnyParent: true}, func(rec store.Record) (bool, error) {
		if strings.EqualFold(strings.TrimSuffix(field(rec, "resourceId"), "/"), cluster) {
			id := arm.MustParseID(rec.ID)
			users = append(users, fmt.Sprintf("compute %s of workspace %s", rec.Name, workspaceOf(id).Name()))
		}
		return len(users) < maxNamed, nil
	})
	return users, err
}

// orphanJobs wakes the job controller for every job that the cluster knows, since the map that names them goes away.
func orphanJobs(ctx context.Context, tx store.Tx, cluster string) error {
	entries, err := tx.Desired(ctx, cluster, link.PrefixJob, 0)
	if err != nil {
		return fmt.Errorf("reading jobs of cluster %s: %w", cluster, err)
	}
	for _, e := range entries {
		var j link.Job
		if err := json.Unmarshal(e.Value, &j); err != nil {
			return fmt.Errorf("decoding %s of cluster %s: %w", e.Key, cluster, err)
		}
		rec, err := tx.Get(ctx, strings.ToLower(j.Resource))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("reading job %s: %w", j.Resource, err)
		}
		if err := wakeJob(ctx, tx, rec.Key); err != nil {
			return err
		}
		if _, err := tx.Put(ctx, rec); err != nil {
			return fmt.Errorf("touching job %s: %w", rec.Key, err)
		}
	}
	return nil
}

// wakeJob leaves a note that the job controller finds also after a restart.
func wakeJob(ctx context.Context, tx store.Tx, job string) error {
	raw, err := json.Marshal(runstate.OutboxEntry{Job: job})
	if err != nil {
		return fmt.Errorf("encoding outbox entry: %w", err)
	}
	if err := tx.PutDesired(ctx, runstate.Outbox, runstate.OutboxKey(job), raw); err != nil {
		return fmt.Errorf("writing outbox entry of %s: %w", job, err)
	}
	return nil
}

// DropMaps forgets what a cluster is told and what it said.
func DropMaps(ctx context.Context, tx store.Tx, cluster string) error {
	desired, err := tx.Desired(ctx, cluster, "", 0)
	if err != nil {
		return fmt.Errorf("reading desired map of %s: %w", cluster, err)
	}
	for _, e := range desired {
		if err := tx.DeleteDesired(ctx, cluster, e.Key); err != nil {
			return fmt.Errorf("deleting %s of %s: %w", e.Key, cluster, err)
		}
	}
	observed, err := tx.ObservedPrefix(ctx, cluster, "")
	if err != nil {
		return fmt.Errorf("reading observed map of %s: %w", cluster, err)
	}
	for _, e := range observed {
		if err := tx.DeleteObserved(ctx, cluster, e.Key); err != nil {
			return fmt.Errorf("deleting %s of %s: %w", e.Key, cluster, err)
		}
	}
	return nil
}
