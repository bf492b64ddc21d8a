package types

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/identity"
	"fairlead.dev/fairlead/internal/link"
)

// computeType is the full type of computes.
const computeType = nsML + "/workspaces/computes"

// ClaimFolder is the datastore in which a PersistentVolumeClaim of a cluster has its folder, with a token of the identity of the compute
// that has the claim's namespace: who detaches the compute, or takes its role or identity away, ends what its claims reach.
func (d Deps) ClaimFolder(ctx context.Context, cluster string, q link.FolderRequest) (link.Folder, error) {
	id, err := arm.ParseID(q.Compute)
	if err != nil || !strings.EqualFold(id.Type(), computeType) {
		return link.Folder{}, arm.Invalid("compute", "compute is %q; it must be the resource id of a compute: /subscriptions/<id>/resourceGroups/<group>/providers/%s/workspaces/<name>/computes/<name>.", q.Compute, nsML)
	}
	compute, who, err := d.claimant(ctx, cluster, id, q.Namespace)
	if err != nil {
		return link.Folder{}, err
	}
	ws, _ := id.Parent()
	if err := d.claimRight(ctx, id.Name(), ws, who, q.Write); err != nil {
		return link.Folder{}, err
	}
	name := cmp.Or(q.Datastore, blobStore)
	if rec, err := d.Store.Get(ctx, ws.Child("datastores", name).Key()); err == nil && field(rec, "datastoreType") != typeAzureBlob {
		return link.Folder{}, arm.Invalid("datastore", "datastore is %q, which is of type %s; claims are folders of datastores of type %s.", name, field(rec, "datastoreType"), typeAzureBlob)
	}
	url, err := d.datastoreURL(ctx, d.Store, ws, "datastore", name, "")
	if err != nil {
		return link.Folder{}, err
	}
	token, err := d.IssueIdentityToken(ctx, who, compute, issuer.IdentityTTL)
	if err != nil {
		return link.Folder{}, fmt.Errorf("issuing a token for claims of %s: %w", id, err)
	}
	return link.Folder{URL: url, BlobBase: d.PublicURL + "/blob/", Token: token, ExpiresIn: int(issuer.IdentityTTL / time.Second)}, nil
}

// claimant is the compute that a claim acts as, and its identity. What is not this cluster's is not told from what does not exist.
func (d Deps) claimant(ctx context.Context, cluster string, id arm.ID, namespace string) (store.Record, identity.Identity, error) {
	none := identity.Identity{}
	rec, err := d.Store.Get(ctx, id.Key())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return rec, none, fmt.Errorf("reading compute %s: %w", id, err)
	}
	var props machinelearning.ComputeProperties
	if err == nil {
		if err := unmarshalProperties(rec, &props); err != nil {
			return rec, none, err
		}
	}
	if of, kerr := clusterstate.Key(props.ResourceID); err != nil || kerr != nil || of != cluster {
		return rec, none, arm.Errorf(http.StatusNotFound, "ResourceNotFound", "This cluster has no compute %s; attach one with 'ml compute attach', or correct the StorageClass's parameter compute.", id)
	}
	if has := props.Properties; has == nil || has.Namespace != namespace {
		return rec, none, arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "The claim is in namespace %q, which compute %s does not have; make it in the compute's namespace.", namespace, rec.Name)
	}
	list, err := identity.Of(ctx, d.Store, rec)
	if err != nil {
		return rec, none, err
	}
	if len(list) == 0 {
		return rec, none, arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "Compute %s has no managed identity, as which its claims would act; attach it with --identity-type SystemAssigned.", rec.Name)
	}
	return rec, list[0], nil
}

// claimRight asks whether an identity may use the workspace's datastores.
func (d Deps) claimRight(ctx context.Context, compute string, ws arm.ID, who identity.Identity, write bool) error {
	permission, role := "read", "Reader"
	if write {
		permission, role = "write", "Contributor"
	}
	err := arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "The identity of compute %s has no role on its workspace by which it may %s; give it one with 'role assignment create --assignee %s --role %s --scope %s'.", compute, permission, who.PrincipalID, role, ws)
	if d.Authorize == nil {
		return err
	}
	denied := d.Authorize(ctx, resource.Principal{ID: who.PrincipalID, Name: who.Name, Kind: issuer.KindManagedIdentity}, permission, ws.Key())
	if ae, ok := errors.AsType[*arm.Error](denied); ok && ae.Status == http.StatusForbidden {
		return err
	}
	return denied
}
