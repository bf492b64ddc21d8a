package types_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
)

const s3Key = `"credentials":{"credentialsType":"accesskey","accessKeyId":"AKID","secrets":{"secretsType":"AccessKey","secretAccessKey":"top/secret"}}`

func s3Store(fields string) string {
	return `{"properties":{"datastoreType":"s3",` + fields + `}}`
}

func TestS3Refused(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	lake := typestest.Workspace + "/datastores/lake"
	e.Put(lake, s3Store(`"bucketName":"b-1","endpoint":"https://s3.lab:9000/","prefix":"/team/",`+s3Key))
	e.Put(typestest.Workspace+"/datastores/blob", `{"properties":{"datastoreType":"AzureBlob","containerName":"abc"}}`)
	for name, c := range map[string]struct{ id, body, target, text string }{
		"no bucket":           {"new", s3Store(s3Key), "properties.bucketName", "3 to 63"},
		"bucket with folder":  {"new", s3Store(`"bucketName":"a/b",` + s3Key), "properties.bucketName", "properties.prefix"},
		"prefix leaves":       {"new", s3Store(`"bucketName":"abc","region":"x","prefix":"a/../b",` + s3Key), "properties.prefix", `".."`},
		"nowhere":             {"new", s3Store(`"bucketName":"abc",` + s3Key), "properties.endpoint", "for AWS the region"},
		"no scheme":           {"new", s3Store(`"bucketName":"abc","endpoint":"minio:9000",` + s3Key), "properties.endpoint", "http[s]://host[:port]"},
		"endpoint and bucket": {"new", s3Store(`"bucketName":"abc","endpoint":"https://minio/abc",` + s3Key), "properties.endpoint", "properties.bucketName"},
		"key in endpoint":     {"new", s3Store(`"bucketName":"abc","endpoint":"https://a:b@minio",` + s3Key), "properties.endpoint", "properties.credentials"},
		"region":              {"new", s3Store(`"bucketName":"abc","region":"eu/west",` + s3Key), "properties.region", "eu-west-1"},
		"no credentials":      {"new", s3Store(`"bucketName":"abc","region":"x"`), "properties.credentials", `"credentialsType":"None"`},
		"SAS":                 {"new", s3Store(`"bucketName":"abc","region":"x","credentials":{"credentialsType":"Sas"}`), "properties.credentials.credentialsType", "one of: AccessKey, None"},
		"no key id":           {"new", s3Store(`"bucketName":"abc","region":"x","credentials":{"credentialsType":"AccessKey"}`), "properties.credentials.accessKeyId", "1 to 128"},
		"no secret":           {"new", s3Store(`"bucketName":"abc","region":"x","credentials":{"credentialsType":"AccessKey","accessKeyId":"a"}`), "properties.credentials.secrets.secretAccessKey", "is missing"},
		"key but None":        {"new", s3Store(`"bucketName":"abc","region":"x","credentials":{"credentialsType":"None","accessKeyId":"a"}`), "properties.credentials", "make it AccessKey"},
		"another bucket":      {"lake", s3Store(`"bucketName":"other","endpoint":"https://s3.lab:9000","prefix":"team"`), "properties.bucketName", "make another datastore"},
		"secret sent along":   {"lake", s3Store(`"bucketName":"b-1","endpoint":"https://elsewhere","prefix":"team"`), "properties.credentials.secrets.secretAccessKey", "endpoint change"},
		"another key id":      {"lake", s3Store(`"bucketName":"b-1","endpoint":"https://s3.lab:9000","prefix":"team","credentials":{"credentialsType":"AccessKey","accessKeyId":"b"}`), "properties.credentials.secrets.secretAccessKey", "accessKeyId"},
		"S3 of a blob store":  {"blob", s3Store(`"bucketName":"abc","region":"x",` + s3Key), "properties.datastoreType", "make another datastore"},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, e.TryPut(typestest.Workspace+"/datastores/"+c.id, c.body), c.target, c.text)
		})
	}
}

// TestS3KeepsItsKey: sealed, told to nobody but by listSecrets, and kept by updates that do not send it.
func TestS3KeepsItsKey(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	lake := typestest.Workspace + "/datastores/lake"
	e.Put(lake, s3Store(`"bucketName":"lake","endpoint":"https://s3.lab:9000","Credentials":{"x":"top/secret"},`+s3Key))
	golden(t, "datastore_s3", e.Show(lake))
	if err := e.TryPatch(lake, `{"properties":{"description":"d"}}`); err != nil {
		t.Fatal(err)
	}
	e.Put(lake, s3Store(`"bucketName":"lake","endpoint":"https://s3.lab:9000"`))
	v, err := e.Call(lake, "listSecrets", "")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "listsecrets_s3", v)
	rec := e.Record(lake)
	if bytes.Contains(rec.Body, []byte("top/secret")) || bytes.Contains(rec.Internal, []byte("top/secret")) {
		t.Error("the key is in the record in clear")
	}
	if s, err := types.OpenS3(rec, e.Deps.Open); err != nil || s.SecretAccessKey != "top/secret" || s.AccessKeyID != "AKID" || s.Region != "us-east-1" {
		t.Errorf("%+v, %v", s, err)
	}
	e.Put(lake, s3Store(`"bucketName":"lake","endpoint":"https://s3.lab:9000","credentials":{"credentialsType":"None"}`))
	if _, err := e.Call(lake, "listSecrets", ""); err == nil || len(e.Record(lake).Secret) > 0 {
		t.Errorf("the key is kept, or %v", err)
	}
	if s, err := types.OpenS3(e.Record(lake), e.Deps.Open); err != nil || s.AccessKeyID != "" {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := types.OpenS3(e.Record(typestest.Workspace+"/datastores/workspaceblobstore"), e.Deps.Open); err == nil {
		t.Error("a blob store is opened as S3")
	}
}

func TestS3OfAWS(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	for region, want := range map[string]string{"eu-west-1": "https://s3.eu-west-1.amazonaws.com", "cn-north-1": "https://s3.cn-north-1.amazonaws.com.cn"} {
		id := typestest.Workspace + "/datastores/" + strings.ReplaceAll(region, "-", "_")
		e.Put(id, s3Store(`"bucketName":"lake","region":"`+region+`",`+s3Key))
		if got := e.Prop(id, "endpoint"); got != want {
			t.Errorf("%s: %v", region, got)
		}
	}
}

// TestJobsUseS3: what a job's pods are told of it, by every way to name a place there.
func TestJobsUseS3(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	ws := typestest.Workspace
	e.Put(ws+"/datastores/Lake", s3Store(`"bucketName":"lake","region":"x",`+s3Key))
	e.Put(ws+"/data/set/versions/1", `{"properties":{"dataType":"uri_folder","dataUri":"azureml://datastores/lake/paths/set 1"}}`)
	refused(t, e.TryPut(ws+"/codes/c/versions/1", `{"properties":{"codeUri":"azureml://datastores/lake/paths/code"}}`), "properties.codeUri", "workspace's own storage")
	at := "https://fl.test/datastores/" + account() + "/lake"
	state := func(id, fields string) runstate.State {
		t.Helper()
		e.Put(id, with(t, fields))
		st, err := runstate.Decode(e.Record(id))
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	st := state(ws+"/jobs/first", `"inputs":{"a":{"jobInputType":"uri_folder","uri":"azureml:set:1"},"b":{"jobInputType":"uri_file","uri":"`+at+`/x.csv"}},
		"outputs":{"o":{"jobOutputType":"uri_folder","uri":"azureml://datastores/lake/paths/out/é"}}`)
	if st.Spec.Version != commonruntime.Version3 || st.Spec.DatastoreBase != "https://fl.test/datastores/" ||
		st.Spec.Inputs["a"].URL != at+"/set%201" || st.Spec.Inputs["b"].URL != at+"/x.csv" || st.Spec.Outputs["o"].URL != at+"/out/%C3%A9" {
		t.Errorf("%+v", st.Spec)
	}
	st = state(ws+"/jobs/second", `"inputs":{"a":{"jobInputType":"uri_file","uri":"azureml://jobs/first/outputs/o/paths/m 1/x"}}`)
	if got := st.Spec.Inputs["a"].URL; got != at+"/out/%C3%A9/m%201/x" {
		t.Error(got)
	}
	if st = state(ws+"/jobs/third", ""); st.Spec.Version != commonruntime.Version || st.Spec.DatastoreBase != "" {
		t.Errorf("a job without them is told %+v", st.Spec)
	}
	st = state(ws+"/jobs/changes", `"inputs":{"a":{"jobInputType":"uri_folder","mode":"ReadWriteMount","uri":"azureml://datastores/workspaceblobstore/paths/set"},"b":{"jobInputType":"uri_folder","uri":"azureml://datastores/workspaceblobstore/paths/set"}}`)
	if st.Spec.Version != commonruntime.Version3 || st.Spec.DatastoreBase != "" || !st.Spec.Inputs["a"].Write || st.Spec.Inputs["b"].Write {
		t.Errorf("a job that changes an input is told %+v", st.Spec)
	}
	for uri, text := range map[string]string{
		"https://fl.test/datastores/fl000000000000/lake/x": "another workspace",
		"azureml://datastores/lake/paths/":                 "a whole datastore",
	} {
		raw, _ := json.Marshal(uri)
		refused(t, e.TryPut(ws+"/jobs/fourth", with(t, `"inputs":{"a":{"jobInputType":"uri_file","uri":`+string(raw)+`}}`)), "properties.inputs.a.uri", text)
	}
}
