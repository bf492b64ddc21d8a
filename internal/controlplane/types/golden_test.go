package types_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/types"
	accounts "fairlead.dev/fairlead/internal/controlplane/types/account"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
	"fairlead.dev/fairlead/internal/link"
)

var update = flag.Bool("update", false, "write golden files")

func golden(t *testing.T, name string, v any) {
	t.Helper()
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	got := buf.Bytes()
	path := filepath.Join("testdata", name+".json")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s differs (-want +got); go test -update writes it anew\n%s", path, d)
	}
}

// account is that of the workspace that Ready makes.
func account() string { return accounts.Name("22222222-0000-0000-0000-000000000003") }

func TestGolden(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	ws := typestest.Workspace
	uai := typestest.Group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/train"
	e.Put(uai, `{"location":"lab"}`)
	e.Put(ws+"/computes/named", fmt.Sprintf(`{"identity":{"type":"UserAssigned","userAssignedIdentities":{%q:{}}},"properties":{"computeType":"kubernetes","resourceId":%q}}`, uai, typestest.Cluster))
	e.Put(ws+"/codes/abc/versions/1", fmt.Sprintf(typestest.CodeBody, account()))
	e.Put(ws+"/data/iris/versions/1", `{"properties":{"dataType":"uri_file","dataUri":"azureml://datastores/workspaceblobstore/paths/LocalUpload/x/iris.csv"}}`)
	e.Put(ws+"/jobs/train1", fullJob)
	e.Put(ws+"/models/digits/versions/3", `{"properties":{"modelType":"custom_model","modelUri":"azureml://jobs/train1/outputs/model/paths/model.joblib","description":"d"}}`)
	for name, id := range map[string]string{
		"subscription": typestest.Sub, "resourcegroup": typestest.Group, "userassignedidentity": uai,
		"extension": typestest.Extension, "workspace": ws, "compute": typestest.Compute, "compute_identity": ws + "/computes/named",
		"datastore": ws + "/datastores/workspaceblobstore", "datastore_artifacts": ws + "/datastores/workspaceartifactstore",
		"code": ws + "/codes/abc", "codeversion": ws + "/codes/abc/versions/1",
		"environment": ws + "/environments/sklearn", "environmentversion": ws + "/environments/sklearn/versions/1",
		"model": ws + "/models/digits", "modelversion": ws + "/models/digits/versions/3",
		"data": ws + "/data/iris", "dataversion": ws + "/data/iris/versions/1", "job": ws + "/jobs/train1",
	} {
		t.Run(name, func(t *testing.T) { golden(t, name, e.Show(id)) })
	}
	t.Run("connectedcluster", func(t *testing.T) {
		body := e.Show(typestest.Cluster)
		body["properties"].(map[string]any)["agentPublicKeyCertificate"] = "KEY" // a new one in each run
		golden(t, "connectedcluster", body)
	})
	t.Run("managedcluster", func(t *testing.T) {
		d := e.Deps
		d.Installer = anInstaller{}
		e.Engine.Registry = resource.NewRegistry(types.All(d)...)
		e.Put(typestest.Managed, typestest.ManagedBody(typestest.Kubeconfig("TOKEN")))
		e.ObserveOf(typestest.Managed, link.KeyCluster, link.ClusterStatus{AgentVersion: "0.1.0", KubernetesVersion: "v1.36.3", TotalNodeCount: 3, TotalCoreCount: 6})
		golden(t, "managedcluster", e.Show(typestest.Managed))
	})
	for name, c := range map[string]struct{ id, action, body string }{
		"startpendingupload":        {ws + "/codes/new/versions/1", "startPendingUpload", `{"pendingUploadType":"TemporaryBlobReference"}`},
		"listclusterusercredential": {typestest.Cluster, "listClusterUserCredential", `{"authenticationMethod":"AAD","clientProxy":true}`},
		"listsecrets":               {ws + "/datastores/workspaceblobstore", "listSecrets", ""},
		"listkeys":                  {ws, "listKeys", ""},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := e.Call(c.id, c.action, c.body)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name, v)
		})
	}
}

// anInstaller is there, which is all that a PUT asks.
type anInstaller struct{ types.Installer }

const fullJob = `{"properties":{"jobType":"Command","displayName":"Digits","experimentName":"digits","command":"python train.py --data ${{ inputs.data }} --c ${{inputs.c}} --out ${{outputs.model}}",
 "computeId":"` + typestest.Compute + `","codeId":"azureml:abc:1","environmentId":"azureml:sklearn@latest","environmentVariables":{"A":"b"},
 "inputs":{"data":{"jobInputType":"uri_file","uri":"azureml:iris:1","mode":"Download"},"c":{"jobInputType":"literal","value":0.5},
   "web":{"jobInputType":"uri_file","uri":"https://example.org/x.csv"}},
 "outputs":{"model":{"jobOutputType":"uri_folder","mode":"Upload"},"report":{"jobOutputType":"uri_file"}},
 "resources":{"instanceCount":2,"instanceType":"GPU","shmSize":"512m"},"distribution":{"distributionType":"pytorch","processCountPerInstance":2},
 "limits":{"jobLimitsType":"Command","timeout":"PT5M"},"identity":{"identityType":"AMLToken"},"tags":{"team":"x"},"properties":{"fairlead.maxRestarts":"2"}}}`
