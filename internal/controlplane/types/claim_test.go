package types_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
	"fairlead.dev/fairlead/internal/link"
)

func TestClaimFolder(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	cluster := strings.ToLower(typestest.Cluster)
	withIdentity := func(body string) {
		t.Helper()
		e.Put(typestest.Compute, strings.Replace(typestest.ComputeBody, "{", "{"+body, 1))
	}
	e.Put(typestest.Workspace+"/datastores/lake", s3Store(`"bucketName":"lake","endpoint":"https://s3.lab:9000/",`+s3Key))
	ask := func(change func(*link.FolderRequest)) (link.Folder, error) {
		q := link.FolderRequest{Compute: typestest.Compute, Namespace: "train", Write: true}
		change(&q)
		return e.Deps.ClaimFolder(t.Context(), cluster, q)
	}
	same := func(*link.FolderRequest) {}
	refused := func(name string, status int, says string, change func(*link.FolderRequest)) {
		t.Helper()
		_, err := ask(change)
		if ae, ok := errors.AsType[*arm.Error](err); !ok || ae.Status != status || !strings.Contains(ae.Message, says) {
			t.Errorf("%s: %v, want %d with %q", name, err, status, says)
		}
	}
	refused("without identity", 403, "attach it with --identity-type SystemAssigned", same)
	withIdentity(`"identity":{"type":"SystemAssigned"},`)

	var asked []string
	e.Deps.Authorize = func(_ context.Context, p resource.Principal, action, scope string) error {
		asked = append(asked, p.Kind+" "+action+" "+scope)
		return nil
	}
	principal, _ := e.Show(typestest.Compute)["identity"].(map[string]any)["principalId"].(string)
	f, err := ask(same)
	if err != nil || !strings.Contains(f.URL, "/azureml-blobstore-") || f.BlobBase != "https://fl.test/blob/" || f.ExpiresIn != 3600 || !strings.HasPrefix(f.Token, "token of "+principal+" by ") {
		t.Errorf("%+v, %v", f, err)
	}
	if want := "ManagedIdentity write " + strings.ToLower(typestest.Workspace); len(asked) != 1 || asked[0] != want {
		t.Errorf("asked for %q, want %q", asked, want)
	}
	if f, err := ask(func(q *link.FolderRequest) { q.Datastore = "workspaceartifactstore" }); err != nil || !strings.HasSuffix(strings.TrimSuffix(f.URL, "/"), "/azureml") {
		t.Errorf("%+v, %v", f, err)
	}
	refused("no id", 400, "must be the resource id of a compute", func(q *link.FolderRequest) { q.Compute = "k8s" })
	refused("a workspace", 400, "must be the resource id of a compute", func(q *link.FolderRequest) { q.Compute = typestest.Workspace })
	refused("no compute", 404, "has no compute", func(q *link.FolderRequest) { q.Compute += "x" })
	refused("another namespace", 403, `in namespace "kube-system"`, func(q *link.FolderRequest) { q.Namespace = "kube-system" })
	refused("no datastore", 400, `names datastore "nope"`, func(q *link.FolderRequest) { q.Datastore = "nope" })
	refused("S3", 400, "claims are folders of datastores of type AzureBlob", func(q *link.FolderRequest) { q.Datastore = "lake" })
	if _, err := e.Deps.ClaimFolder(t.Context(), cluster+"2", link.FolderRequest{Compute: typestest.Compute, Namespace: "train"}); err == nil || !strings.Contains(err.Error(), "has no compute") {
		t.Errorf("another cluster's compute: %v", err)
	}

	e.Deps.Authorize = func(_ context.Context, _ resource.Principal, action, _ string) error {
		if action == "read" {
			return nil
		}
		return arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "no")
	}
	refused("may read only", 403, "role assignment create --assignee "+principal+" --role Contributor --scope "+typestest.Workspace, same)
	if _, err := ask(func(q *link.FolderRequest) { q.Write = false }); err != nil {
		t.Errorf("reading: %v", err)
	}
	if err := e.TryDelete(typestest.Compute, true); err != nil {
		t.Fatal(err)
	}
	refused("detached", 404, "has no compute", same)
}
