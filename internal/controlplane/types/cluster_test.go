package types_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
	"fairlead.dev/fairlead/internal/link"
)

func TestClusterRefused(t *testing.T) {
	e := typestest.New(t)
	e.Base()
	for body, text := range map[string]string{
		`{}`: "is empty. It is the agent's RSA public key",
		`{"properties":{"agentPublicKeyCertificate":"???"}}`: "neither PEM nor base64",
		`{"properties":{"agentPublicKeyCertificate":7}}`:     "it must be a string",
	} {
		refused(t, e.TryPut(typestest.Cluster, body), "properties.agentPublicKeyCertificate", text)
	}
}

func TestClusterShow(t *testing.T) {
	e := typestest.New(t)
	e.Base()
	e.Put(typestest.Cluster, strings.Replace(typestest.ClusterBody(), `"distribution"`, `"connectivityStatus":"Connected","totalNodeCount":99,"distribution"`, 1))
	step := func(want string) {
		t.Helper()
		if got := e.Prop(typestest.Cluster, "connectivityStatus"); got != want {
			t.Errorf("connectivityStatus %v; want %s", got, want)
		}
	}
	step("Connecting")
	if n := e.Prop(typestest.Cluster, "totalNodeCount"); n != 0.0 {
		t.Errorf("totalNodeCount %v was taken from the PUT", n)
	}
	e.Heartbeat()
	step("Connected")
	e.Advance(29 * time.Second)
	step("Connected")
	e.Advance(time.Second)
	step("Offline")
	e.Heartbeat() // the same value again
	step("Connected")
}

func TestClusterDelete(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	refused(t, e.TryDelete(typestest.Cluster, false), "", "Cluster edge is used by compute k8s of workspace lab; detach it first")
	refused(t, e.TryDelete(typestest.Extension, false), "", "Extension arcml is used by compute k8s")
	if err := e.TryDelete(typestest.Cluster, true); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{typestest.Cluster, typestest.Extension} {
		if _, err := e.Store.Get(e.Ctx, strings.ToLower(id)); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v; want it gone", id, err)
		}
	}
	var ext link.Extension
	observed, err := e.Store.ObservedPrefix(e.Ctx, strings.ToLower(typestest.Cluster), "")
	if err != nil || len(observed) > 0 || e.Desired("extension/arcml", &ext) {
		t.Errorf("maps are not empty: %v, %v, %+v", observed, err, ext)
	}
}

func TestComputeRefused(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	for name, c := range map[string]struct{ body, target, text string }{
		"type":        {`{"properties":{"computeType":"AmlCompute"}}`, "properties.computeType", "must be one of: Kubernetes"},
		"no resource": {`{"properties":{"computeType":"Kubernetes"}}`, "properties.resourceId", "is missing"},
		"bad id":      {`{"properties":{"computeType":"Kubernetes","resourceId":"/subscriptions/../x"}}`, "properties.resourceId", "not allowed"},
		"namespace":   {`{"properties":{"computeType":"Kubernetes","resourceId":"/subscriptions/s","properties":{"namespace":"A b"}}}`, "properties.properties.namespace", `"A b"`},
		"identity": {`{"identity":{"type":"UserAssigned","userAssignedIdentities":{"` + typestest.Group + `/providers/Microsoft.ManagedIdentity/userAssignedIdentities/no":{}}},"properties":{"computeType":"Kubernetes","resourceId":"/subscriptions/s"}}`,
			"identity.userAssignedIdentities", "does not exist; create it first"},
		"no identity named": {`{"identity":{"type":"UserAssigned"},"properties":{"computeType":"Kubernetes","resourceId":"/subscriptions/s"}}`, "identity.userAssignedIdentities", "names none"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, e.TryPut(typestest.Workspace+"/computes/c1", c.body), c.target, c.text)
		})
	}
	for _, name := range []string{"c", "1c", "c-", "waytoolongforacompute", "c_1"} {
		if err := e.TryPut(typestest.Workspace+"/computes/"+name, typestest.ComputeBody); err == nil {
			t.Errorf("name %q was taken", name)
		}
	}
}

func TestWorkspaceLife(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	id := e.Prop(typestest.Workspace, "workspaceId")
	e.Put(typestest.Workspace, `{"properties":{"workspaceId":"mine","description":"d"}}`)
	if got := e.Prop(typestest.Workspace, "workspaceId"); got != id {
		t.Errorf("workspaceId went from %v to %v", id, got)
	}
	ds := typestest.Workspace + "/datastores/"
	refused(t, e.TryDelete(ds+"workspaceblobstore", false), "", "belongs to the workspace")
	refused(t, e.TryPut(ds+"d", `{"properties":{"datastoreType":"AzureFile"}}`), "properties.datastoreType", "one of: AzureBlob")
	refused(t, e.TryPut(ds+"d", `{"properties":{"datastoreType":"AzureBlob","accountName":"flabcdefabcdef","containerName":"abc"}}`), "properties.accountName", "Leave accountName out")
	refused(t, e.TryPut(ds+"d", `{"properties":{"datastoreType":"AzureBlob","containerName":"../x"}}`), "properties.containerName", "3 to 63")
	e.Put(ds+"d", `{"properties":{"datastoreType":"azureblob","containerName":"abc","isDefault":true,"credentials":{"credentialsType":"AccountKey","secrets":{"key":"secret"}}}}`)
	if raw, err := json.Marshal(e.Show(ds + "d")); err != nil || strings.Contains(string(raw), "secret") || strings.Contains(string(raw), `"isDefault":true`) {
		t.Errorf("%s, %v", raw, err)
	}
	if err := e.TryDelete(typestest.Compute, false); err != nil {
		t.Fatal(err)
	}
	if err := e.TryDelete(typestest.Workspace, false); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Store.Get(e.Ctx, strings.ToLower(ds+"d")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("datastore d: %v; want it gone with its workspace", err)
	}
}

func TestAssetRefused(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	ws := typestest.Workspace
	e.Put(ws+"/data/d/versions/1", `{"properties":{"dataType":"uri_file","dataUri":"https://example.org/a"}}`)
	e.Put(ws+"/data/d/versions/1", `{"properties":{"description":"new","dataType":"uri_file"}}`) // what may change
	if e.Prop(ws+"/data/d/versions/1", "dataUri") != "https://example.org/a" {
		t.Error("dataUri was lost by an update without it")
	}
	for name, c := range map[string]struct{ id, props, target, text string }{
		"data type":            {"data/e/versions/1", `"dataType":"file","dataUri":"https://example.org/a"`, "properties.dataType", "one of: uri_file"},
		"data uri":             {"data/e/versions/1", `"dataType":"uri_file"`, "properties.dataUri", "is missing"},
		"local data":           {"data/e/versions/1", `"dataType":"uri_file","dataUri":"/etc/passwd"`, "properties.dataUri", "local path"},
		"other type":           {"data/d/versions/2", `"dataType":"uri_folder","dataUri":"https://example.org/a"`, "", `is of type "uri_file"`},
		"changed":              {"data/d/versions/1", `"dataType":"uri_file","dataUri":"https://example.org/b"`, "", "its dataUri cannot be changed"},
		"code missing":         {"codes/c/versions/1", ``, "properties.codeUri", "startPendingUpload"},
		"code elsewhere":       {"codes/c/versions/1", `"codeUri":"https://example.org/x"`, "properties.codeUri", "own storage"},
		"code of others' host": {"codes/c/versions/1", `"codeUri":"https://fl000000000000.blob.fl.test/x1x/y"`, "properties.codeUri", "another workspace"},
		"code of others":       {"codes/c/versions/1", `"codeUri":"https://fl.test/blob/fl000000000000/x1x/y"`, "properties.codeUri", "another workspace"},
		"no image":             {"environments/e/versions/1", ``, "properties.image", "is missing"},
		"bad image":            {"environments/e/versions/1", `"image":"a b"`, "properties.image", "not an image reference"},
		"conda":                {"environments/e/versions/1", `"image":"a","condaFile":"name: x"`, "properties.condaFile", "Give image"},
		"build":                {"environments/e/versions/1", `"build":{"contextUri":"x"}`, "properties.build", "push it"},
		"windows":              {"environments/e/versions/1", `"image":"a","osType":"Windows"`, "properties.osType", "one of: Linux"},
		"model type":           {"models/m/versions/1", `"modelType":"onnx","modelUri":"https://example.org/x"`, "properties.modelType", "custom_model"},
		"model of no job":      {"models/m/versions/1", `"modelUri":"azureml://jobs/nope/outputs/artifacts/paths/x"`, "properties.modelUri", `job "nope"`},
		"image of version":     {"environments/sklearn/versions/1", `"image":"other:1"`, "", "its image cannot be changed"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, e.TryPut(ws+"/"+c.id, `{"properties":{`+c.props+`}}`), c.target, c.text)
		})
	}
}

func TestUploadIsSealedOnceRegistered(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	id := typestest.Workspace + "/codes/c/versions/1"
	first, err := e.Call(id, "startPendingUpload", "")
	if err != nil {
		t.Fatal(err)
	}
	again, err := e.Call(id, "startPendingUpload", "")
	if err != nil || again != first {
		t.Errorf("a second upload of the version goes to %+v, %v; want %+v", again, err, first)
	}
	raw, err := json.Marshal(first)
	if err != nil {
		t.Fatal(err)
	}
	var ref struct {
		BlobReferenceForConsumption struct{ BlobURI string }
	}
	if err := json.Unmarshal(raw, &ref); err != nil {
		t.Fatal(err)
	}
	e.Put(id, `{"properties":{"codeUri":"`+ref.BlobReferenceForConsumption.BlobURI+`"}}`)
	sealed, err := e.Call(id, "startPendingUpload", "")
	if raw, _ := json.Marshal(sealed); err != nil || !strings.Contains(string(raw), "sp=rl\\u0026") {
		t.Errorf("after registration: %s, %v; want a SAS that only reads", raw, err)
	}
}
