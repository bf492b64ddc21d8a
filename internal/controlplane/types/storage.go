package types

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/account"
	"fairlead.dev/fairlead/internal/controlplane/types/dataaddress"
)

// Default datastores of a workspace.
const (
	blobStore     = "workspaceblobstore"
	artifactStore = "workspaceartifactstore"
	// ArtifactContainer is the container of artifactStore.
	ArtifactContainer = "azureml"
)

// storageAccountID is an account in the form of a resource id, as clients expect it; its name is the last segment.
func storageAccountID(workspace arm.ID, account string) string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Storage/storageAccounts/%s",
		workspace.Subscription, workspace.ResourceGroup, account)
}

// StorageAccountOf is the name of a workspace's account in the blob front: what its record says, never computed anew.
func StorageAccountOf(workspace store.Record) string {
	return path.Base(field(workspace, "storageAccount"))
}

// getAccount is StorageAccountOf the workspace that a resource is in.
func getAccount(ctx context.Context, r store.Reader, id arm.ID) (string, error) {
	rec, err := getWorkspace(ctx, r, id)
	return StorageAccountOf(rec), err
}

// blobStoreContainer is the container of a workspace's default datastore.
func blobStoreContainer(workspaceID string) string {
	return "azureml-blobstore-" + strings.ToLower(workspaceID)
}

// ArtifactsPath is where a run's artifacts are in its workspace's datastore workspaceartifactstore; folder is State.RunFolder.
func ArtifactsPath(folder string) string { return "ExperimentRun/dcid." + folder }

// artifactsURI is ArtifactsPath as clients name it.
func artifactsURI(folder string) string {
	return "azureml://datastores/" + artifactStore + "/paths/" + ArtifactsPath(folder)
}

// outputPath is the folder (or file) of a job's named output in workspaceblobstore; folder is State.RunFolder.
func outputPath(folder, output string, file bool) string {
	p := "azureml/" + folder + "/" + output
	if file {
		p += "/" + output
	}
	return p
}

// getWorkspace reads the workspace of a resource.
func getWorkspace(ctx context.Context, r store.Reader, id arm.ID) (store.Record, error) {
	ws := workspaceOf(id)
	rec, err := r.Get(ctx, ws.Key())
	if errors.Is(err, store.ErrNotFound) {
		return rec, arm.Errorf(404, "ResourceNotFound", "Workspace %s was not found in resource group %s.", ws.Name(), ws.ResourceGroup)
	}
	if err != nil {
		return rec, fmt.Errorf("reading workspace %s: %w", ws.Name(), err)
	}
	return rec, nil
}

// byPath writes an address that names an account of the blob front by host name, as other clients do, in the front's own way.
func (d Deps) byPath(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	name, ok := account.FromHost(u.Host, d.StorageSuffix)
	if !ok {
		return address
	}
	out := d.PublicURL + "/blob/" + name + u.EscapedPath()
	if u.RawQuery != "" {
		out += "?" + u.RawQuery
	}
	return out
}

// ownURL splits an address of the blob front into account, container and name; ok is false for any other address.
func (d Deps) ownURL(u string) (account, container, name string, ok bool) {
	u, _, _ = strings.Cut(u, "?")
	rest, ok := strings.CutPrefix(u, d.PublicURL+"/blob/")
	if !ok {
		return "", "", "", false
	}
	account, rest, _ = strings.Cut(rest, "/")
	container, name, _ = strings.Cut(rest, "/")
	return account, container, strings.TrimSuffix(name, "/"), account != "" && container != ""
}

// ownAccount is the account that an address of the control plane is in, be it of a blob or of a datastore elsewhere.
func (d Deps) ownAccount(u string) (account string, ok bool) {
	if account, _, _, ok = d.ownURL(u); ok {
		return account, true
	}
	if !strings.HasPrefix(u, d.PublicURL+dataaddress.Prefix) {
		return "", false
	}
	at, ok := dataaddress.Split(u)
	return at.Account, ok
}
