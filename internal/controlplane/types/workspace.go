package types

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/account"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/controlplane/types/scan"
	"fairlead.dev/fairlead/internal/link"
)

// mlVersions are advertised for every type of the machine learning namespace.
var mlVersions = machinelearning.APIVersions

func workspace(d Deps) *resource.Type {
	return &resource.Type{
		Namespace: nsML, Name: "workspaces",
		APIVersions: mlVersions,
		NameRule:    regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{2,32}$`),
		NameHelp:    "3 to 33 letters, digits, '-' and '_', beginning with a letter or digit",
		Admit: func(ctx context.Context, p *resource.Put) error {
			return admitWorkspace(ctx, d, p)
		},
		Remove: d.removeWorkspace,
		Actions: map[string]resource.Action{
			"listkeys": {Permission: "secret", Run: func(_ context.Context, a *resource.Call) (any, error) {
				id := field(a.Record, "storageAccount")
				return machinelearning.WorkspaceKeys{UserStorageResourceID: id, UserStorageArmID: id,
					ContainerRegistryCredentials: map[string]string{}, NotebookAccessKeys: map[string]string{}}, nil
			}},
		},
	}
}

func admitWorkspace(ctx context.Context, d Deps, p *resource.Put) error {
	props, err := object(p.Body, "properties")
	if err != nil {
		return err
	}
	old, err := oldProperties(p.Old)
	if err != nil {
		return err
	}
	var w machinelearning.WorkspaceProperties
	if err := decode(props, &w); err != nil {
		return err
	}
	w.WorkspaceID, _ = old["workspaceId"].(string)
	if w.WorkspaceID == "" {
		w.WorkspaceID = strings.ToLower(d.newID())
	}
	if w.FriendlyName == "" {
		w.FriendlyName = p.ID.Name()
	}
	w.DiscoveryURL = d.PublicURL + "/discovery/workspaces/" + w.WorkspaceID
	w.MLFlowTrackingURI = "azureml://" + d.host() + "/mlflow/v1.0" + p.ID.String()
	w.StorageAccount, _ = old["storageAccount"].(string)
	if w.StorageAccount == "" {
		w.StorageAccount = storageAccountID(p.ID, account.Name(w.WorkspaceID))
	}
	w.TenantID = d.TenantID
	for _, none := range []string{"keyVault", "applicationInsights", "containerRegistry"} { // resources that no workspace here has
		delete(props, none)
	}
	if err := overlay(props, w); err != nil {
		return err
	}
	if err := systemIdentity(d, p, true); err != nil {
		return err
	}
	if err := location(ctx, p); err != nil {
		return err
	}
	name := path.Base(w.StorageAccount)
	if err := account.Keep(ctx, p.Tx, name, p.ID.Key(), d.Clock().UTC()); err != nil {
		return err
	}
	if p.Old == nil {
		return defaultDatastores(ctx, d, p, w.WorkspaceID, name)
	}
	return nil
}

// defaultDatastores makes the two datastores that every workspace has.
func defaultDatastores(ctx context.Context, d Deps, p *resource.Put, workspaceID, account string) error {
	now := d.Clock().UTC()
	for _, name := range []string{blobStore, artifactStore} {
		container := ArtifactContainer
		if name == blobStore {
			container = blobStoreContainer(workspaceID)
		}
		id := p.ID.Child("datastores", name)
		ds := newDatastore(d, id, account)
		ds.ContainerName, ds.IsDefault = container, name == blobStore
		body, err := json.Marshal(map[string]any{"properties": ds})
		if err != nil {
			return fmt.Errorf("encoding datastore %s: %w", name, err)
		}
		rec := store.Record{Key: id.Key(), ID: id.String(), Type: mlType("workspaces/datastores"), Parent: p.ID.Key(), Name: name,
			Body: body, CreatedAt: now, UpdatedAt: now, CreatedBy: p.Record.CreatedBy, UpdatedBy: p.Record.UpdatedBy}
		if _, err := p.Tx.Put(ctx, rec); err != nil {
			return fmt.Errorf("making datastore %s: %w", name, err)
		}
	}
	return nil
}

// removeWorkspace makes way for the deletion of everything in it. Jobs that have not ended are in the way, unless forced.
func (d Deps) removeWorkspace(ctx context.Context, r *resource.Removal) (bool, error) {
	if !r.Force {
		live, err := liveJobs(ctx, r.Tx, r.Record.Key)
		if err != nil {
			return false, err
		}
		if len(live) > 0 {
			return false, arm.Errorf(409, "ResourceInUse", "Workspace %s has jobs that have not ended, such as %s; cancel them first, or delete with forceDelete=true.",
				r.Record.Name, oneOf(live))
		}
	}
	for _, name := range []string{blobStore, artifactStore} { // these refuse to go alone
		if err := ignoreNotFound(r.Tx.Delete(ctx, r.ID.Child("datastores", name).Key())); err != nil {
			return false, fmt.Errorf("deleting datastore %s: %w", name, err)
		}
	}
	name := StorageAccountOf(r.Record)
	if err := r.Tx.DropTracked(ctx, name, ""); err != nil {
		return false, fmt.Errorf("deleting what workspace %s tracked: %w", r.Record.Name, err)
	}
	return false, account.Leave(ctx, r.Tx, name, d.Clock().UTC())
}

// maxNamed is how many names an error lists.
const maxNamed = 5

// liveJobs names some of a workspace's jobs that have not ended: those no cluster was told of yet and those in the maps
// of its computes' clusters. It does not read the jobs that have ended long ago.
func liveJobs(ctx context.Context, r store.Reader, ws string) ([]string, error) {
	clusters := map[string]bool{runstate.Outbox: true}
	err := scan.Each(ctx, r, store.Query{Type: mlType("workspaces/computes"), Parent: ws}, func(rec store.Record) (bool, error) {
		if id, err := arm.ParseID(field(rec, "resourceId")); err == nil {
			clusters[id.Key()] = true
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	var live []string
	for _, cluster := range keys(clusters) {
		names, err := liveJobsOf(ctx, r, cluster, func(rec store.Record) bool { return rec.Parent == ws })
		if err != nil {
			return nil, err
		}
		live = append(live, names...)
	}
	return live[:min(len(live), maxNamed)], nil
}

// liveJobsOf names jobs in one map that have not ended and that keep chooses, at most maxNamed.
func liveJobsOf(ctx context.Context, r store.Reader, cluster string, keep func(store.Record) bool) ([]string, error) {
	entries, err := r.Desired(ctx, cluster, link.PrefixJob, 0)
	if err != nil {
		return nil, fmt.Errorf("reading jobs of cluster %s: %w", cluster, err)
	}
	var live []string
	for _, e := range entries {
		var v struct{ Resource, Job string } // link.Job or runstate.OutboxEntry
		if err := json.Unmarshal(e.Value, &v); err != nil {
			return nil, fmt.Errorf("decoding %s of cluster %s: %w", e.Key, cluster, err)
		}
		rec, err := r.Get(ctx, strings.ToLower(v.Resource+v.Job))
		if ignoreNotFound(err) != nil {
			return nil, fmt.Errorf("reading job %s: %w", v.Resource+v.Job, err)
		}
		if err == nil && keep(rec) && !isTerminal(rec) {
			live = append(live, rec.Name)
		}
		if len(live) == maxNamed {
			break
		}
	}
	return live, nil
}

// forgetJob tells the cluster to delete everything of a job.
func forgetJob(ctx context.Context, tx store.Tx, key string, st runstate.State) error {
	if err := ignoreNotFound(tx.DeleteDesired(ctx, runstate.Outbox, runstate.OutboxKey(key))); err != nil {
		return fmt.Errorf("deleting outbox entry of %s: %w", key, err)
	}
	if st.JobID == "" || st.Removed {
		return nil
	}
	if err := ignoreNotFound(tx.DeleteDesired(ctx, st.Cluster, jobKey(st.JobID))); err != nil {
		return fmt.Errorf("deleting desired job %s: %w", st.JobID, err)
	}
	if err := ignoreNotFound(tx.DeleteObserved(ctx, st.Cluster, jobKey(st.JobID))); err != nil {
		return fmt.Errorf("deleting observed job %s: %w", st.JobID, err)
	}
	return nil
}
