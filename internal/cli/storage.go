package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/cli/snapshot"
	"fairlead.dev/fairlead/internal/client"
)

// files is a place for files: a container of the control plane's, or a datastore whose bytes lie elsewhere.
type files interface {
	List(ctx context.Context, prefix string) ([]client.Blob, error)
	Upload(ctx context.Context, name string, r io.ReaderAt, size int64, sent func(int64)) error
	Download(ctx context.Context, root *os.Root, blob client.Blob, rel string, got func(int64)) error
}

// datastore opens a datastore: a container with a SAS from listSecrets, or one in S3.
func (s *session) datastore(ctx context.Context, ws arm.ID, name string) (files, error) {
	path, err := child(ws, "datastores", name)
	if err != nil {
		return nil, err
	}
	ds, err := s.get(ctx, path, apiML)
	if err != nil {
		return nil, err
	}
	if text(ds, "properties", "datastoreType") == "S3" {
		workspace, err := s.get(ctx, ws.String(), apiML)
		if err != nil {
			return nil, err
		}
		account := text(workspace, "properties", "storageAccount")
		return s.Datastore(account[strings.LastIndexByte(account, '/')+1:], name)
	}
	res, err := s.Do(ctx, client.Request{Method: http.MethodPost, Path: path + "/listSecrets", Query: url.Values{"api-version": {apiML}}, Body: json.RawMessage("{}")})
	if err != nil {
		return nil, fmt.Errorf("opening datastore %s: %w", name, err)
	}
	var secrets struct {
		SASToken string `json:"sasToken"`
	}
	if err := res.Decode(&secrets); err != nil {
		return nil, err
	}
	if secrets.SASToken == "" {
		return nil, fmt.Errorf("opening datastore %s: the control plane gave no SAS for it", name)
	}
	p := sub(ds, "properties")
	return s.Container(fmt.Sprintf("%s/blob/%s/%s?%s", s.Endpoint(), text(p, "accountName"), text(p, "containerName"), strings.TrimPrefix(secrets.SASToken, "?")))
}

// defaultDatastore is the name of the workspace's default datastore.
func (s *session) defaultDatastore(ctx context.Context, ws arm.ID) (string, error) {
	items, err := s.List(ctx, ws.String()+"/datastores", url.Values{"api-version": {apiML}, "isDefault": {"true"}}, 1)
	if err != nil {
		return "", err
	}
	if len(items) == 0 {
		return "workspaceblobstore", nil
	}
	return text(items[0], "name"), nil
}

// pendingUpload opens the container into which a version's files go; uri is its address without signature.
func (s *session) pendingUpload(ctx context.Context, version string) (c *client.Container, uri string, err error) {
	res, err := s.Do(ctx, client.Request{
		Method: http.MethodPost, Path: version + "/startPendingUpload", Query: url.Values{"api-version": {apiML}},
		Body: map[string]string{"pendingUploadType": "TemporaryBlobReference"},
	})
	if err != nil {
		return nil, "", fmt.Errorf("starting the upload: %w", err)
	}
	var got map[string]any
	if err := res.Decode(&got); err != nil {
		return nil, "", err
	}
	ref := sub(got, "blobReferenceForConsumption")
	c, err = s.Container(text(ref, "credential", "sasUri"))
	return c, strings.TrimRight(text(ref, "blobUri"), "/"), err
}

// uploadData sends a local file or folder to a datastore below LocalUpload/<hash> and returns its azureml:// address.
func (a *app) uploadData(ctx context.Context, s *session, ws arm.ID, datastore, local string) (string, error) {
	snap, err := snapshot.Take(local)
	if err != nil {
		return "", err
	}
	if datastore == "" {
		if datastore, err = s.defaultDatastore(ctx, ws); err != nil {
			return "", err
		}
	}
	to, err := s.datastore(ctx, ws, datastore)
	if err != nil {
		return "", err
	}
	prefix, tail := dataPrefix(snap)
	if err := a.upload(ctx, to, snap, prefix); err != nil {
		return "", err
	}
	return "azureml://datastores/" + datastore + "/paths/" + prefix + tail, nil
}

// dataPrefix is where a snapshot's files go; tail completes it to the path of the data: the file, or the folder.
func dataPrefix(snap *snapshot.Snapshot) (prefix, tail string) {
	prefix = "LocalUpload/" + snap.Hash[:32]
	if snap.Single {
		return prefix, "/" + snap.Files[0].Rel
	}
	return prefix + "/" + folderName(snap.Root), "/"
}

var notInName = regexp.MustCompile(`[^a-zA-Z0-9._-]+`)

// folderName is a folder's own name in letters that are safe in an address.
func folderName(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	name := strings.Trim(notInName.ReplaceAllString(filepath.Base(dir), "_"), "._")
	if name == "" {
		return "data"
	}
	return name
}

// isRemote says that a path is an address or an asset, not a local file.
func isRemote(path string) bool {
	return strings.HasPrefix(path, "azureml:") || strings.Contains(path, "://") || strings.HasPrefix(path, "/subscriptions/")
}

// checkKind refuses a folder where a file is meant and the other way round, and says what is there.
func checkKind(typ, local string) error {
	st, err := os.Stat(local)
	switch {
	case os.IsNotExist(err):
		return fmt.Errorf("%q does not exist", local)
	case err != nil:
		return err
	case typ == "uri_file" && st.IsDir():
		return fmt.Errorf("%q is a folder, but the type is uri_file; use type: uri_folder", local)
	case (typ == "uri_folder" || typ == "mltable") && !st.IsDir():
		return fmt.Errorf("%q is a file, but the type is %s; use type: uri_file", local, typ)
	}
	return nil
}

var datastorePath = regexp.MustCompile(`^azureml://(?:subscriptions/[^/]+/resource[gG]roups/[^/]+/workspaces/[^/]+/)?datastores/([^/]+)/paths/(.*)$`)

// splitDatastore parts an azureml:// address into datastore and path.
func splitDatastore(uri string) (datastore, path string, ok bool) {
	m := datastorePath.FindStringSubmatch(uri)
	if m == nil {
		return "", "", false
	}
	return m[1], strings.Trim(m[2], "/"), true
}
