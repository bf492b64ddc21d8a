package types

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// Default datastores of a workspace.
const (
	blobStore     = "workspaceblobstore"
	artifactStore = "workspaceartifactstore"
	// artifactContainer is the container of artifactStore.
	artifactContainer = "azureml"
)

// StorageAccount is the name of a workspace's account in the blob front.
func StorageAccount(workspace arm.ID) string {
	sum := sha256.Sum256([]byte(workspace.Key()))
	return "fl" + hex.EncodeToString(sum[:6])
}

// storageAccountID is the account in the form of a resource id, as clients expect it; its name is the last segment.
func storageAccountID(workspace arm.ID) string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.Storage/storageAccounts/%s",
		workspace.Subscription, workspace.ResourceGroup, StorageAccount(workspace))
}

// blobStoreContainer is the container of a workspace's default datastore.
func blobStoreContainer(workspaceID string) string {
	return "azureml-blobstore-" + strings.ToLower(workspaceID)
}

// ArtifactsPath is the folder of a run's artifacts in its workspace's datastore workspaceartifactstore.
func ArtifactsPath(run string) string { return "ExperimentRun/dcid." + run }

// outputPath is the folder (or file) of a job's named output in workspaceblobstore.
func outputPath(run, output string, file bool) string {
	p := "azureml/" + run + "/" + output
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
