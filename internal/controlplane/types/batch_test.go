package types_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
)

const (
	batchEndpoint = typestest.Workspace + "/batchEndpoints/scorer"
	batchBlue     = batchEndpoint + "/deployments/blue"
	batchBody     = `{"properties":{"compute":"azureml:k8s","environmentId":"azureml:sklearn@latest","model":{"assetId":"azureml:digits:1"},
 "codeConfiguration":{"codeId":"azureml:abc:1","scoringScript":"src/score.py"}}}`
	batchInput = `{"properties":{"inputData":{"UriFolder":{"jobInputType":"UriFolder","uri":"azureml://datastores/workspaceblobstore/paths/LocalUpload/z/images/"}}}}`
)

// batching has a batch endpoint whose default is blue.
func batching(t *testing.T) *typestest.Env {
	t.Helper()
	e := typestest.New(t)
	e.Serving()
	e.Put(batchEndpoint, `{"properties":{}}`)
	e.Put(batchBlue, batchBody)
	e.Put(batchEndpoint, `{"properties":{"authMode":"aadtoken","defaults":{"deploymentName":"BLUE"}}}`)
	return e
}

// over is a JSON document with the properties of another over its own.
func over(t *testing.T, doc, props string) string {
	t.Helper()
	var a, b map[string]any
	for text, into := range map[string]*map[string]any{doc: &a, props: &b} {
		if err := json.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	for k, v := range b {
		a["properties"].(map[string]any)[k] = v
	}
	raw, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestGoldenBatch(t *testing.T) {
	e := batching(t)
	e.Put(batchEndpoint+"/deployments/full", over(t, batchBody, `{"description":"d","environmentVariables":{"A":"b"},"errorThreshold":5,"miniBatchSize":2,"loggingLevel":"debug",
 "outputAction":"summaryonly","outputFileName":"rows.csv","maxConcurrencyPerInstance":4,"retrySettings":{"maxRetries":1,"timeout":"PT2M"},
 "resources":{"instanceCount":3,"instanceType":"GPU"},"properties":{"fairlead.maxRestarts":"7"}}`))
	answer, err := e.Call(batchEndpoint, "jobs", batchInput)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "batchendpoint_invoked", answer)
	name := answer.(map[string]any)["name"].(string)
	for file, id := range map[string]string{"batchendpoint": batchEndpoint, "batchdeployment": batchBlue, "batchdeployment_full": batchEndpoint + "/deployments/full",
		"batchjob": typestest.Workspace + "/jobs/" + name} {
		t.Run(file, func(t *testing.T) { golden(t, file, e.Show(id)) })
	}
	st, err := runstate.Decode(e.Record(typestest.Workspace + "/jobs/" + name))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "batchjob_spec", st.Spec)
}

// batchOf is how a job scores.
func batchOf(t *testing.T, e *typestest.Env, job string) (commonruntime.Batch, runstate.State) {
	t.Helper()
	st, err := runstate.Decode(e.Record(typestest.Workspace + "/jobs/" + job))
	if err != nil {
		t.Fatal(err)
	}
	if st.Spec.Batch == nil {
		t.Fatal("the job is no batch job")
	}
	return *st.Spec.Batch, st
}

// TestInvokeBatch: an invocation has its deployment's settings, and its own over them.
func TestInvokeBatch(t *testing.T) {
	e := batching(t)
	e.Put(batchEndpoint+"/deployments/green", over(t, batchBody, `{"miniBatchSize":3,"retrySettings":{"maxRetries":9}}`))
	e.Put(typestest.Workspace+"/data/images/versions/1", `{"properties":{"dataType":"uri_file","dataUri":"https://example.org/a.zip"}}`)
	own := over(t, batchInput, `{"name":"mine","miniBatchSize":5,"errorThreshold":0,"maxConcurrencyPerInstance":2,"outputFileName":"x.csv","retrySettings":{"timeout":"PT5S"},
 "compute":{"instanceCount":2},"properties":{"experimentName":"exp"},"tags":{"a":"b"},"outputData":{"score":{"jobOutputType":"UriFolder","uri":"azureml://datastores/workspaceblobstore/paths/out/"}}}`)
	if _, err := e.Call(batchEndpoint, "jobs", own, "azureml-model-deployment: GREEN"); err != nil {
		t.Fatal(err)
	}
	got, st := batchOf(t, e, "mine")
	want := commonruntime.Batch{Data: "UriFolder", Model: "model", Output: "score", Script: "src/score.py", File: "x.csv", Processes: 2, MiniBatchSize: 5, MaxRetries: 9,
		TimeoutSeconds: 5, LogLevel: "Info"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if st.InstanceCount != 2 || st.MaxRestarts != 3 || st.Spec.Version != commonruntime.Version4 || !strings.HasSuffix(st.Spec.Outputs["score"].URL, "/out") {
		t.Errorf("%+v", st)
	}
	for path, want := range map[string]string{"experimentName": "exp", "properties azureml.deploymentname": "green", "properties azureml.endpointname": "scorer", "tags a": "b"} {
		if got := e.Prop(typestest.Workspace+"/jobs/mine", strings.Fields(path)...); got != want {
			t.Errorf("%s is %v, want %s", path, got, want)
		}
	}
	// As the reference's documentation spells it, under a name that no job's input may have.
	documented := `{"properties":{"Name":"documented","InputData":{"heart-data":{"JobInputType":"UriFolder","Uri":"azureml:` + typestest.Workspace + `/datastores/workspaceblobstore/paths/in"}},
 "OutputData":{"score":{"JobOutputType":"UriFolder","Uri":"azureml:` + typestest.Workspace + `/datastores/workspaceblobstore/paths/there"}}}}`
	if _, err := e.Call(batchEndpoint, "jobs", documented); err != nil {
		t.Fatal(err)
	}
	if got, st := batchOf(t, e, "documented"); got.Data != "data" || !strings.HasSuffix(st.Spec.Inputs["data"].URL, "/in") || !strings.HasSuffix(st.Spec.Outputs["score"].URL, "/there") {
		t.Errorf("%+v %+v", got, st.Spec)
	}
	// As older clients say it.
	if _, err := e.Call(batchEndpoint, "jobs", `{"properties":{"name":"old","dataset":"azureml:images:1","outputData":{"output_name":{"jobOutputType":"UriFile","uri":"azureml://datastores/workspaceblobstore/paths/out/p.csv"}}}}`); err != nil {
		t.Fatal(err)
	}
	got, st = batchOf(t, e, "old")
	if got.File != "p.csv" || !strings.HasSuffix(st.Spec.Outputs["score"].URL, "/out") || st.Spec.Inputs["dataset"].Type != "uri_file" {
		t.Errorf("%+v %+v", got, st.Spec)
	}
}

func TestBatchRefused(t *testing.T) {
	e := batching(t)
	e.Put(typestest.Workspace+"/data/table/versions/1", `{"properties":{"dataType":"mltable","dataUri":"azureml://datastores/workspaceblobstore/paths/t"}}`)
	for name, c := range map[string]struct{ id, props, target, text string }{
		"keys":              {batchEndpoint, `{"authMode":"Key"}`, "properties.authMode", "Give AADToken"},
		"given keys":        {batchEndpoint, `{"keys":{"primaryKey":"x"}}`, "properties.keys", "no keys"},
		"default not there": {batchEndpoint, `{"defaults":{"deploymentName":"red"}}`, "", `names deployment "red", which batch endpoint scorer does not have; it has: blue`},
		"pipeline":          {batchBlue, `{"deploymentConfiguration":{}}`, "properties.deploymentConfiguration", "pipelines"},
		"no compute":        {batchBlue, `{"compute":""}`, "properties.compute", "missing"},
		"other compute":     {batchBlue, `{"compute":"x"}`, "properties.compute", `"x"`},
		"other environment": {batchBlue, `{"environmentId":"azureml:no:1"}`, "properties.environmentId", "no:1"},
		"no environment":    {batchBlue, `{"environmentId":null}`, "properties.environmentId", "mlflow for an mlflow_model"},
		"no script":         {batchBlue, `{"codeConfiguration":null}`, "properties.codeConfiguration", "init() and run(mini_batch)"},
		"nothing":           {batchBlue, `{"codeConfiguration":null,"model":null}`, "properties.model", "both missing"},
		"model by path":     {batchBlue, `{"model":{"referenceType":"DataPath","path":"x"}}`, "properties.model.referenceType", "DataPath"},
		"threshold":         {batchBlue, `{"errorThreshold":-2}`, "properties.errorThreshold", "-2"},
		"mini-batch":        {batchBlue, `{"miniBatchSize":0}`, "properties.miniBatchSize", "1 to 1000000"},
		"processes":         {batchBlue, `{"maxConcurrencyPerInstance":2000}`, "properties.maxConcurrencyPerInstance", "1 to 1024"},
		"retries":           {batchBlue, `{"retrySettings":{"maxRetries":-1}}`, "properties.retrySettings.maxRetries", "0 to 100"},
		"timeout":           {batchBlue, `{"retrySettings":{"timeout":"PT0S"}}`, "properties.retrySettings.timeout", "PT0S"},
		"action":            {batchBlue, `{"outputAction":"append"}`, "properties.outputAction", "AppendRow, SummaryOnly"},
		"level":             {batchBlue, `{"loggingLevel":"loud"}`, "properties.loggingLevel", "Info, Warning, Debug"},
		"file":              {batchBlue, `{"outputFileName":"a/b.csv"}`, "properties.outputFileName", "without a folder"},
		"instances":         {batchBlue, `{"resources":{"instanceCount":0}}`, "properties.resources.instanceCount", "1 to 100"},
		"no input":          {"jobs", `{"inputData":{}}`, "properties.inputData", "has 0 inputs (none); a deployment of a model always requires 1 data input"},
		"two inputs":        {"jobs", `{"inputData":{"a":{"uri":"azureml:x:1"},"b":{"uri":"azureml:x:1"}}}`, "properties.inputData", "has 2 inputs (a, b); a deployment of a model always requires 1 data input"},
		"literal":           {"jobs", `{"inputData":{"a":{"jobInputType":"Literal","uri":"x"}}}`, "properties.inputData.a.jobInputType", "takes no literal inputs"},
		"model as input":    {"jobs", `{"inputData":{"a":{"jobInputType":"CustomModel","uri":"x"}}}`, "properties.inputData.a.jobInputType", "UriFolder, UriFile"},
		"no address":        {"jobs", `{"inputData":{"a":null}}`, "properties.inputData.a.uri", "missing"},
		"no such data":      {"jobs", `{"inputData":{"a":{"uri":"azureml:nothing:1"}}}`, "properties.inputData.a.uri", "nothing"},
		"table by its type": {"jobs", `{"inputData":{"a":{"jobInputType":"MLTable","uri":"azureml://datastores/workspaceblobstore/paths/t"}}}`, "properties.inputData.a.uri", "the files that its MLTable file names"},
		"table":             {"jobs", `{"inputData":{"a":{"jobInputType":"UriFolder","uri":"azureml:table:1"}}}`, "properties.inputData.a.uri", "mltable"},
		"two outputs":       {"jobs", `{"outputData":{"a":{},"b":{}}}`, "properties.outputData", "2 outputs"},
		"name":              {"jobs", `{"name":"a b"}`, "properties.name", `"a b"`},
		"type":              {"jobs", `{"miniBatchSize":"many"}`, "properties.miniBatchSize", "a whole number"},
		"own setting":       {"jobs", `{"miniBatchSize":-1}`, "properties.miniBatchSize", "-1"},
	} {
		t.Run(name, func(t *testing.T) {
			switch c.id {
			case "jobs":
				_, err := e.Call(batchEndpoint, "jobs", over(t, batchInput, c.props))
				refused(t, err, c.target, c.text)
			case batchEndpoint:
				refused(t, e.TryPut(c.id, over(t, `{"properties":{}}`, c.props)), c.target, c.text)
			default:
				refused(t, e.TryPut(c.id, over(t, batchBody, c.props)), c.target, c.text)
			}
		})
	}
	_, err := e.Call(batchEndpoint, "jobs", batchInput, "azureml-model-deployment: red")
	refused(t, err, "", "The header azureml-model-deployment names deployment \"red\"")
}

// TestBatchDeleted: without its default an endpoint says what to do; with the endpoint its deployments go, and jobs stay.
func TestBatchDeleted(t *testing.T) {
	e := batching(t)
	if _, err := e.Call(batchEndpoint, "jobs", over(t, batchInput, `{"name":"j"}`)); err != nil {
		t.Fatal(err)
	}
	_, err := e.Call(batchEndpoint, "jobs", over(t, batchInput, `{"name":"j"}`))
	refused(t, err, "", "A job with the name j exists")
	e.Put(typestest.Workspace+"/jobs/other", typestest.JobBody)
	for id, own := range map[string]bool{batchEndpoint: true, batchBlue: true, batchEndpoint + "/deployments/green": false, batchEndpoint + "2": false, batchEndpoint + "2/deployments/blue": false} {
		typ, _ := e.Engine.Registry.Lookup(arm.MustParseID(id).Type())
		keep := typ.Selections["jobs"].Keep
		if keep(arm.MustParseID(id), e.Record(typestest.Workspace+"/jobs/j")) != own || keep(arm.MustParseID(id), e.Record(typestest.Workspace+"/jobs/other")) {
			t.Errorf("the jobs of %s are not its own", id)
		}
	}
	if err := e.TryDelete(batchBlue, false); err != nil {
		t.Fatal(err)
	}
	if got := e.Prop(batchEndpoint, "defaults"); got != nil {
		t.Errorf("defaults %v", got)
	}
	_, err = e.Call(batchEndpoint, "jobs", batchInput)
	refused(t, err, "", "It has no deployment at all; create one: 'ml batch-deployment create -f <file> -e scorer --set-default -g rg -w lab'")
	e.Put(batchBlue, batchBody)
	_, err = e.Call(batchEndpoint, "jobs", batchInput)
	refused(t, err, "", "'ml batch-endpoint update -n scorer --defaults blue -g rg -w lab'")
	e.Put(batchEndpoint, `{"properties":{"defaults":{"deploymentName":"blue"}}}`)
	if err := e.TryDelete(batchEndpoint, false); err != nil {
		t.Fatal(err)
	}
	for id, there := range map[string]bool{batchEndpoint: false, batchBlue: false, typestest.Workspace + "/jobs/j": true} {
		if _, err := e.Store.Get(e.Ctx, strings.ToLower(id)); (err == nil) != there {
			t.Errorf("%s: %v", id, err)
		}
	}
}
