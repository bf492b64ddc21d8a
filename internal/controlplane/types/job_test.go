package types_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/controlplane/store"
	accounts "fairlead.dev/fairlead/internal/controlplane/types/account"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
	"fairlead.dev/fairlead/internal/link"
)

// with is the body of a job with fields (JSON members) over those of a minimal one.
func with(t *testing.T, fields string) string {
	t.Helper()
	body := map[string]map[string]any{"properties": {"jobType": "Command", "command": "true", "computeId": "k8s", "environmentId": "azureml:sklearn:1"}}
	var over map[string]any
	if err := json.Unmarshal([]byte("{"+fields+"}"), &over); err != nil {
		t.Fatalf("%s: %v", fields, err)
	}
	for k, v := range over {
		body["properties"][k] = v
	}
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// refused checks that err is an error for the caller with a target and a text.
func refused(t *testing.T, err error, target, text string) {
	t.Helper()
	var ae *arm.Error
	if !errors.As(err, &ae) {
		t.Fatalf("error %v; want one about %s", err, target)
	}
	if ae.Target != target || !strings.Contains(ae.Message, text) {
		t.Errorf("target %q, message %q; want target %q and %q in the message", ae.Target, ae.Message, target, text)
	}
}

func TestJobRefused(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	e.Put(typestest.Workspace+"/data/iris/versions/1", `{"properties":{"dataType":"uri_file","dataUri":"https://example.org/iris.csv"}}`)
	e.Put(typestest.Workspace+"/computes/failed", typestest.ComputeBody)
	e.Set(typestest.Workspace+"/computes/failed", map[string]any{"provisioningState": "Failed",
		"provisioningErrors": []any{map[string]any{"error": map[string]any{"code": "ClusterNotFound", "message": "no such cluster"}}}})
	other := strings.Replace(typestest.Workspace, "/lab", "/other", 1)
	e.Put(other, `{}`)
	in := func(s string) string { return `"inputs":{"a":` + s + `}` }
	for name, c := range map[string]struct{ fields, target, text string }{
		"sweep":                     {`"jobType":"Sweep"`, "properties.jobType", `"Sweep", which is not available in this release; Command is`},
		"command missing":           {`"command":" "`, "properties.command", "is missing"},
		"command not a string":      {`"command":["a"]`, "properties.command", "is an array; it must be a string"},
		"unknown input":             {`"command":"x ${{inputs.dat}}","inputs":{"data":{"jobInputType":"literal","value":"1"}}`, "properties.command", `has ${{inputs.dat}}, but the job has no input "dat"; its inputs are: data`},
		"unknown output":            {`"command":"x ${{outputs.m}}"`, "properties.command", "its outputs are: none"},
		"unknown placeholder":       {`"command":"x ${{search_space.lr}}"`, "properties.command", "a placeholder is ${{inputs.<name>}}"},
		"compute missing":           {`"computeId":""`, "properties.computeId", "give the id or the name"},
		"compute local":             {`"computeId":"local"`, "properties.computeId", `"local"`},
		"compute unknown":           {`"computeId":"nope"`, "properties.computeId", `compute "nope", which workspace lab does not have`},
		"compute elsewhere":         {`"computeId":"` + other + `/computes/k8s"`, "properties.computeId", "must be a compute of workspace lab"},
		"compute failed":            {`"computeId":"failed"`, "properties.computeId", "is Failed (ClusterNotFound: no such cluster)"},
		"environment missing":       {`"environmentId":""`, "properties.environmentId", "is empty"},
		"environment unknown":       {`"environmentId":"azureml:torch:1"`, "properties.environmentId", `has no environments "torch" of version 1`},
		"environment of other type": {`"environmentId":"` + typestest.Workspace + `/models/m/versions/1"`, "properties.environmentId", "must be of type environments"},
		"environment is an image":   {`"environmentId":"python:3.12"`, "properties.environmentId", "not an address"},
		"code unknown":              {`"codeId":"azureml:c:1"`, "properties.codeId", `has no codes "c"`},
		"code is a path":            {`"codeId":"./src"`, "properties.codeId", "local path"},
		"environment name":          {`"environmentVariables":{"1A":"x"}`, "properties.environmentVariables", `"1A"`},
		"environment value":         {`"environmentVariables":{"A":1}`, "properties.environmentVariables", "it must be a string"},
		"input type":                {in(`{"jobInputType":"file"}`), "properties.inputs.a.jobInputType", `"file"; it must be one of: literal, uri_file`},
		"input null":                {in(`null`), "properties.inputs.a", "is null"},
		"input name":                {`"inputs":{"a-b":{"jobInputType":"literal","value":"x"}}`, "properties.inputs", `"a-b"`},
		"input mode":                {in(`{"jobInputType":"uri_file","uri":"azureml:iris:1","mode":"EvalMount"}`), "properties.inputs.a.mode", "ReadOnlyMount, ReadWriteMount, Download, Direct"},
		"input without uri":         {in(`{"jobInputType":"uri_file"}`), "properties.inputs.a.uri", "is missing"},
		"input of other type":       {in(`{"jobInputType":"uri_folder","uri":"azureml:iris:1"}`), "properties.inputs.a.uri", "is of type uri_file, but the input's jobInputType is uri_folder"},
		"input unknown asset":       {in(`{"jobInputType":"uri_file","uri":"azureml:iris:2"}`), "properties.inputs.a.uri", `no data "iris" of version 2`},
		"input unknown datastore":   {in(`{"jobInputType":"uri_file","uri":"azureml://datastores/d/paths/x"}`), "properties.inputs.a.uri", `datastore "d"`},
		"asset to change":           {in(`{"jobInputType":"uri_folder","uri":"azureml:iris:1","mode":"ReadWriteMount"}`), "properties.inputs.a.uri", "of type uri_file"},
		"upload to change":          {in(`{"jobInputType":"uri_folder","uri":"azureml://datastores/workspaceblobstore/paths/LocalUpload/x","mode":"ReadWriteMount"}`), "properties.inputs.a.mode", "Give Download"},
		"artifacts to change":       {in(`{"jobInputType":"uri_folder","uri":"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.x","mode":"ReadWriteMount"}`), "properties.inputs.a.mode", "no upload, asset"},
		"store to change":           {in(`{"jobInputType":"uri_folder","uri":"azureml://datastores/workspaceblobstore/paths/","mode":"ReadWriteMount"}`), "properties.inputs.a.mode", "paths/<folder>"},
		"file to change":            {in(`{"jobInputType":"uri_file","uri":"azureml://datastores/workspaceblobstore/paths/x","mode":"ReadWriteMount"}`), "properties.inputs.a.mode", "only a uri_folder"},
		"input traversal":           {in(`{"jobInputType":"uri_file","uri":"azureml://datastores/workspaceblobstore/paths/../x"}`), "properties.inputs.a.uri", `segment ".."`},
		"input whole store as file": {in(`{"jobInputType":"uri_file","uri":"azureml://datastores/workspaceblobstore/paths/"}`), "properties.inputs.a.uri", "a whole datastore"},
		"input other workspace":     {in(`{"jobInputType":"uri_file","uri":"azureml:` + other + `/data/iris/versions/1"}`), "properties.inputs.a.uri", "another workspace"},
		"input other account":       {in(`{"jobInputType":"uri_file","uri":"https://fl.test/blob/fl000000000000/azureml/x"}`), "properties.inputs.a.uri", "storage of another workspace"},
		"input http":                {in(`{"jobInputType":"uri_file","uri":"http://example.org/x"}`), "properties.inputs.a.uri", "not served"},
		"literal null":              {in(`{"jobInputType":"literal"}`), "properties.inputs.a.value", "is null"},
		"literal object":            {in(`{"jobInputType":"literal","value":{}}`), "properties.inputs.a.value", "is an object"},
		"output default":            {`"outputs":{"default":{"jobOutputType":"uri_folder"}}`, "properties.outputs", `"default" is taken`},
		"output type":               {`"outputs":{"o":{"jobOutputType":"literal"}}`, "properties.outputs.o.jobOutputType", "one of: uri_file"},
		"output mode":               {`"outputs":{"o":{"jobOutputType":"uri_folder","mode":"Download"}}`, "properties.outputs.o.mode", "ReadWriteMount, Upload, Direct"},
		"output to https":           {`"outputs":{"o":{"jobOutputType":"uri_folder","uri":"https://example.org/x"}}`, "properties.outputs.o.uri", "an output goes to azureml://datastores/"},
		"output traversal":          {`"outputs":{"o":{"jobOutputType":"uri_folder","uri":"azureml://datastores/workspaceblobstore/paths/a/../../x"}}`, "properties.outputs.o.uri", `segment ".."`},
		"output and input":          {`"inputs":{"o":{"jobInputType":"literal","value":"1"}},"outputs":{"o":{"jobOutputType":"uri_folder"}}`, "properties.outputs.o", "name of an input and of an output"},
		"no instances":              {`"resources":{"instanceCount":0}`, "properties.resources.instanceCount", "is 0; it must be 1 to 100"},
		"too many instances":        {`"resources":{"instanceCount":101}`, "properties.resources.instanceCount", "is 101"},
		"half an instance":          {`"resources":{"instanceCount":1.5}`, "properties.resources.instanceCount", "must be a whole number"},
		"instance type":             {`"resources":{"instanceType":"big"}`, "properties.resources.instanceType", `is "big", which cluster edge does not have; it has: defaultinstancetype, gpu`},
		"shm size":                  {`"resources":{"shmSize":"2Gi"}`, "properties.resources.shmSize", `"2Gi"; it must be a whole number`},
		"docker args":               {`"resources":{"dockerArgs":"--gpus"}`, "properties.resources.dockerArgs", "no docker"},
		"timeout":                   {`"limits":{"timeout":"5m"}`, "properties.limits.timeout", `"5m" is not an ISO 8601 duration`},
		"timeout of months":         {`"limits":{"timeout":"P1M"}`, "properties.limits.timeout", "no fixed length"},
		"limits type":               {`"limits":{"jobLimitsType":"Sweep"}`, "properties.limits.jobLimitsType", "one of: Command"},
		"ray":                       {`"distribution":{"distributionType":"Ray"}`, "properties.distribution.distributionType", "PyTorch, Mpi, TensorFlow"},
		"processes":                 {`"distribution":{"distributionType":"Mpi","processCountPerInstance":0}`, "properties.distribution.processCountPerInstance", "is 0"},
		"mpi processes":             {`"distribution":{"distributionType":"mpi","processCountPerInstance":2}`, "properties.distribution.distributionType", "is Mpi with properties.resources.instanceCount 1 and processCountPerInstance 2; this release starts Mpi jobs as one process only. Give PyTorch"},
		"mpi instances":             {`"resources":{"instanceCount":2},"distribution":{"distributionType":"Mpi"}`, "properties.distribution.distributionType", "instanceCount 2 and processCountPerInstance 1"},
		"workers":                   {`"distribution":{"distributionType":"TensorFlow","workerCount":2}`, "properties.distribution.workerCount", "do not make the 1 instances"},
		"identity of nobody":        {`"identity":{"identityType":"Managed"}`, "properties.identity.identityType", "compute k8s has no managed identity; give it one"},
		"identity of the user":      {`"identity":{"identityType":"UserIdentity"}`, "properties.identity.identityType", "no token of a user is kept. Give Managed"},
		"identity of no kind":       {`"identity":{"identityType":"Root"}`, "properties.identity.identityType", "must be one of: AMLToken, Managed, UserIdentity"},
		"service":                   {`"services":{"s":{"jobServiceType":"ssh"}}`, "properties.services.s", "interactive services"},
		"restarts":                  {`"properties":{"fairlead.maxRestarts":"many"}`, "properties.properties", "from 0 to 100"},
		"too big":                   {`"environmentVariables":{"A":"` + strings.Repeat("x", 300<<10) + `"}`, "properties", "at most 262144"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, e.TryPut(typestest.Workspace+"/jobs/bad", with(t, c.fields)), c.target, c.text)
		})
	}
	if err := e.TryPut(typestest.Workspace+"/jobs/a.b", with(t, "")); err == nil {
		t.Error("a job of a bad name was taken")
	}
	t.Run("training disabled", func(t *testing.T) {
		e.Set(typestest.Extension, map[string]any{"configurationSettings": map[string]string{"enableTraining": "false"}})
		refused(t, e.TryPut(typestest.Workspace+"/jobs/bad", with(t, "")), "properties.computeId", "E45004")
	})
}

func TestJobState(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	ws := typestest.Workspace
	e.Put(ws+"/codes/abc/versions/1", fmt.Sprintf(typestest.CodeBody, account()))
	e.Put(ws+"/data/iris/versions/1", `{"properties":{"dataType":"uri_file","dataUri":"azureml://datastores/workspaceblobstore/paths/LocalUpload/x/iris.csv"}}`)
	e.Put(ws+"/jobs/train1", fullJob)
	st, err := runstate.Decode(e.Record(ws + "/jobs/train1"))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "job_state", st)
	var note runstate.OutboxEntry
	if !e.DesiredOf(runstate.Outbox, runstate.OutboxKey(strings.ToLower(ws+"/jobs/train1")), &note) {
		t.Error("no outbox entry")
	}
}

func TestJobUpdate(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	id := typestest.Workspace + "/jobs/j"
	e.Put(id, with(t, `"inputs":{"a":{"jobInputType":"literal","value":1}},"outputs":{"o":{}}`))
	before := e.Record(id).Internal
	e.Put(id, with(t, `"inputs":{"a":{"jobInputType":"literal","value":1}},"outputs":{"o":{}}`)) // the same again
	for name, fields := range map[string]string{
		"command": `"command":"false"`, "inputs": `"inputs":{}`, "resources": `"resources":{"instanceCount":2}`,
		"computeId": `"computeId":"other"`, "environmentVariables": `"environmentVariables":{"A":"b"}`, "experimentName": `"experimentName":"x"`,
		"limits": `"limits":{"timeout":"PT1S"}`,
	} {
		same := `"inputs":{"a":{"jobInputType":"literal","value":1}},"outputs":{"o":{}},` + fields
		if name == "inputs" {
			same = fields + `,"outputs":{"o":{}}`
		}
		refused(t, e.TryPut(id, with(t, same)), "", "its "+name+" cannot be changed")
	}
	if err := e.TryPatch(id, `{"properties":{"isArchived":true,"displayName":"New","tags":{"k":"v"},"status":"Completed"}}`); err != nil {
		t.Fatal(err)
	}
	rec := e.Record(id)
	if !rec.Archived || e.Prop(id, "displayName") != "New" || e.Prop(id, "status") != "NotStarted" || string(rec.Internal) != string(before) {
		t.Errorf("after PATCH: archived %v, %v", rec.Archived, e.Show(id))
	}
}

func TestJobCancel(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	id := typestest.Workspace + "/jobs/j"
	e.Put(id, with(t, ""))
	for range 2 { // twice is as good as once
		if _, err := e.Call(id, "cancel", ""); err != nil {
			t.Fatal(err)
		}
	}
	if got := e.Prop(id, "status"); got != "Canceled" {
		t.Errorf("status %v of a job never sent; want Canceled", got)
	}
	e.Set(id, map[string]any{"status": "Completed"})
	_, err := e.Call(id, "cancel", "")
	refused(t, err, "", "is Completed already")
}

func TestJobInputURLs(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	ws := typestest.Workspace
	e.Put(ws+"/jobs/first", with(t, `"outputs":{"model":{"jobOutputType":"custom_model"}}`))
	e.Put(ws+"/models/m/versions/1", `{"properties":{"modelUri":"azureml://jobs/first/outputs/artifacts/paths/outputs/m"}}`)
	blob := "https://fl.test/blob/" + account() + "/"
	store := blob + "azureml-blobstore-22222222-0000-0000-0000-000000000003/"
	for uri, want := range map[string]string{
		`"jobInputType":"uri_folder","uri":"azureml://datastores/workspaceblobstore/paths/a/b/"`:                                                                                      store + "a/b",
		`"jobInputType":"uri_folder","uri":"azureml://subscriptions/00000000-0000-0000-0000-000000000001/resourcegroups/RG/workspaces/LAB/datastores/workspaceartifactstore/paths/x"`: blob + "azureml/x",
		`"jobInputType":"uri_folder","uri":"azureml://jobs/first/outputs/model"`:                                                                                                      store + "azureml/first/model",
		`"jobInputType":"uri_file","uri":"azureml://jobs/first/outputs/model/paths/a.b"`:                                                                                              store + "azureml/first/model/a.b",
		`"jobInputType":"custom_model","uri":"azureml:m@latest"`:                                                                                                                      blob + "azureml/ExperimentRun/dcid.first/outputs/m",
		`"jobInputType":"uri_file","uri":"` + blob + `c1c/x?sig=1"`:                                                                                                                   blob + "c1c/x",
		`"jobInputType":"uri_file","uri":"https://example.org/x?sig=1"`:                                                                                                               "https://example.org/x?sig=1",
	} {
		id := ws + "/jobs/second"
		e.Put(id, with(t, `"inputs":{"a":{`+uri+`}}`))
		st, err := runstate.Decode(e.Record(id))
		if err != nil {
			t.Fatal(err)
		}
		if got := st.Spec.Inputs["a"].URL; got != want {
			t.Errorf("%s\n got %s\nwant %s", uri, got, want)
		}
		if err := e.TryDelete(id, true); err != nil {
			t.Fatal(err)
		}
	}
	st, err := runstate.Decode(e.Record(ws + "/jobs/first"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]commonruntime.Output{"model": {Type: "custom_model", URL: store + "azureml/first/model", Mode: "ReadWriteMount"}}
	if d := cmp.Diff(want, st.Spec.Outputs); d != "" {
		t.Error(d)
	}
}

func TestJobDelete(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	id := typestest.Workspace + "/jobs/j"
	e.Put(id, with(t, ""))
	refused(t, e.TryDelete(id, false), "", "is NotStarted; cancel it first")
	refused(t, e.TryDelete(typestest.Workspace, false), "", "has jobs that have not ended, such as j")
	if err := e.TryDelete(id, true); err != nil {
		t.Fatal(err)
	}
	var note runstate.OutboxEntry
	if e.DesiredOf(runstate.Outbox, runstate.OutboxKey(strings.ToLower(id)), &note) {
		t.Error("the outbox entry stayed")
	}
	var j link.Job
	if e.Desired(link.PrefixJob, &j) {
		t.Error("a desired job stayed")
	}
}

// TestNameUsedAgain: a job that has the name of a deleted one finds none of its files, nor does it mix its own with them.
func TestNameUsedAgain(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	id := typestest.Workspace + "/jobs/train1"
	body := with(t, `"outputs":{"model":{}}`)
	root := "https://fl.test/blob/" + account() + "/azureml/ExperimentRun/dcid."
	submit := func(id, folder string, told bool) {
		t.Helper()
		e.Put(id, body)
		rec := e.Record(id)
		st, err := runstate.Decode(rec)
		if err != nil {
			t.Fatal(err)
		}
		if st.Spec.Artifacts != root+folder {
			t.Errorf("artifacts %s, want %s", st.Spec.Artifacts, root+folder)
		}
		if got, want := e.Prop(id, "properties", "fairlead.artifacts"), "azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid."+folder; got != want {
			t.Errorf("fairlead.artifacts %v, want %s", got, want)
		}
		if got, want := e.Prop(id, "outputs", "model", "uri"), "azureml://datastores/workspaceblobstore/paths/azureml/"+folder+"/model"; got != want {
			t.Errorf("output %v, want %s", got, want)
		}
		e.Put(id, body) // the same again is no change
		e.Put(typestest.Workspace+"/models/"+folder+"/versions/1", `{"properties":{"modelUri":"azureml://jobs/train1/outputs/artifacts/paths/m"}}`)
		e.Put(typestest.Workspace+"/jobs/reader", with(t, `"inputs":{"a":{"jobInputType":"custom_model","uri":"azureml:`+folder+`:1"}}`))
		if r, err := runstate.Decode(e.Record(typestest.Workspace + "/jobs/reader")); err != nil || r.Spec.Inputs["a"].URL != root+folder+"/m" {
			t.Errorf("a reader of the artifacts reads %s (%v)", r.Spec.Inputs["a"].URL, err)
		}
		if told {
			st.JobID = runstate.ID(rec.Key, rec.Seq)
			rec = e.Record(id)
			if rec.Internal, err = st.Encode(); err == nil {
				err = e.Store.Update(e.Ctx, func(tx store.Tx) error { _, err := tx.Put(e.Ctx, rec); return err })
			}
		}
		if err = errors.Join(err, e.TryDelete(typestest.Workspace+"/jobs/reader", true), e.TryDelete(id, true)); err != nil {
			t.Fatal(err)
		}
	}
	submit(id, "train1", false) // no pod ever ran
	submit(id, "train1", true)
	submit(strings.Replace(id, "train1", "Train1", 1), "Train1.2", true)
	submit(id, "train1.3", true)
	e.Put(id+"0", body)
	if st, _ := runstate.Decode(e.Record(id + "0")); st.Folder != "" {
		t.Errorf("another name has folder %s", st.Folder)
	}
}

// TestWorkspaceMadeAgain: a workspace that has the name of a deleted one has other storage; one that is replaced keeps its own.
func TestWorkspaceMadeAgain(t *testing.T) {
	e := typestest.New(t)
	e.Base()
	e.Put(typestest.Workspace, `{}`)
	at := func() string {
		t.Helper()
		name := path.Base(e.Prop(typestest.Workspace, "storageAccount").(string))
		if got := e.Prop(typestest.Workspace+"/datastores/workspaceblobstore", "accountName"); got != name {
			t.Errorf("datastore has account %v, the workspace %s", got, name)
		}
		if key, err := accounts.Workspace(e.Ctx, e.Store, name); err != nil || key != strings.ToLower(typestest.Workspace) {
			t.Errorf("account %s is of %q (%v)", name, key, err)
		}
		return name
	}
	first := at()
	e.Put(typestest.Workspace, `{"properties":{"storageAccount":"/x/other","description":"d"}}`)
	if again := at(); again != first {
		t.Errorf("account %s, after a replacement %s", first, again)
	}
	if err := e.TryDelete(typestest.Workspace, true); err != nil {
		t.Fatal(err)
	}
	if _, err := accounts.Workspace(e.Ctx, e.Store, first); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the account of the deleted workspace: %v", err)
	}
	e.Put(typestest.Workspace, `{}`)
	if at() == first {
		t.Error("the new workspace has the old one's account")
	}
	refused(t, e.TryPut(typestest.Workspace+"/data/d/versions/1", `{"properties":{"dataUri":"https://fl.test/blob/`+first+`/azureml/x"}}`),
		"properties.dataUri", "storage of another workspace")
}
