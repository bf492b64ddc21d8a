package types

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
)

// startPendingUpload answers with a container for one version's files. The same version of the same workspace always gets
// the same container, so that an upload that broke off can go on; once the version is registered it can only be read.
func (d Deps) startPendingUpload(ctx context.Context, a *resource.Call) (any, error) {
	var req machinelearning.PendingUploadRequest
	if len(a.Body) > 0 {
		if err := json.Unmarshal(a.Body, &req); err != nil {
			return nil, arm.Invalid("", "The body cannot be read: %v.", err)
		}
	}
	if req.PendingUploadType == "" {
		req.PendingUploadType = "TemporaryBlobReference"
	}
	typ, err := enum("pendingUploadType", req.PendingUploadType, "TemporaryBlobReference", "None")
	if err != nil {
		return nil, err
	}
	ws, err := getWorkspace(ctx, a.Store, a.ID)
	if err != nil {
		return nil, err
	}
	container := uploadContainer(field(ws, "workspaceId"), a.ID)
	id := req.PendingUploadID
	if id == "" {
		id = container
	}
	perms := "racwdl"
	if _, err := a.Store.Get(ctx, a.ID.Key()); err == nil {
		perms = "rl"
	} else if ignoreNotFound(err) != nil {
		return nil, err
	}
	account := StorageAccountOf(ws)
	return machinelearning.PendingUploadResponse{
		PendingUploadID: id, PendingUploadType: typ,
		BlobReferenceForConsumption: machinelearning.BlobReference{
			BlobURI: d.Blobs.URL(account, container, ""), StorageAccountArmID: field(ws, "storageAccount"),
			Credential: machinelearning.SASCredential{CredentialType: "SAS", SASURI: d.Blobs.SAS(account, container, "", perms, SASTTL)},
		},
	}, nil
}

// uploadContainer is the container of a version's files.
func uploadContainer(workspaceID string, version arm.ID) string {
	sum := sha256.Sum256([]byte(workspaceID + version.Key()))
	return "upload-" + hex.EncodeToString(sum[:16])
}
