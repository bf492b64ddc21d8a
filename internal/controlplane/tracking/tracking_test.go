package tracking_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob/memblob"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/tracking"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
)

var update = flag.Bool("update", false, "write golden files")

// world is tracking over a real store, engine and blob front, with a workspace.
type world struct {
	*typestest.Env
	server *tracking.Server
	who    resource.Principal
	// may refuses what the role check would.
	may func(permission string) error
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Env: typestest.New(t), who: resource.Principal{ID: "u", Name: "ann", Kind: "User"}, may: func(string) error { return nil }}
	w.Ready()
	front := blobs.New(blobs.Config{Bucket: memblob.OpenBucket(nil), PublicURL: "https://fl.test", SASKey: []byte("k")})
	ids := 0
	w.server = tracking.New(tracking.Config{Engine: w.Engine, Blobs: front, Clock: w.Now,
		NewID: func() string { ids++; return fmt.Sprintf("id%d", ids) },
		Authenticate: func(*http.Request) (resource.Principal, error) {
			if w.who.ID == "" {
				return w.who, errors.New("no token")
			}
			return w.who, nil
		},
		Authorize: func(_ context.Context, _ resource.Principal, permission, _ string) error { return w.may(permission) },
		Run:       blobs.NewAuthorizer(w.Store, nil, w.Now).RunOf,
	})
	return w
}

// ask sends a request to the workspace's tracking.
func (w *world) ask(method, path, body string) (int, string) {
	w.T.Helper()
	r := httptest.NewRequestWithContext(w.Ctx, method, "/mlflow/v1.0"+typestest.Workspace+"/api/2.0/"+path, strings.NewReader(body))
	rec := httptest.NewRecorder()
	w.server.Handler().ServeHTTP(rec, r)
	return rec.Code, rec.Body.String()
}

func (w *world) must(method, path, body string) map[string]any {
	w.T.Helper()
	status, text := w.ask(method, path, body)
	var out map[string]any
	if err := json.Unmarshal([]byte(text), &out); err != nil || status != http.StatusOK {
		w.T.Fatalf("%s %s: %d %s %v", method, path, status, text, err)
	}
	return out
}

// TestAPI sends the requests of testdata/api.txt, one a line, and compares all answers.
func TestAPI(t *testing.T) {
	w := newWorld(t)
	requests, err := os.ReadFile("testdata/api.txt")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for line := range strings.Lines(string(requests)) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		method, rest, _ := strings.Cut(line, " ")
		path, body, _ := strings.Cut(rest, " ")
		status, answer := w.ask(method, path, body)
		var indented bytes.Buffer
		if json.Indent(&indented, []byte(answer), "", "  ") == nil {
			answer = indented.String()
		}
		fmt.Fprintf(&out, "%s\n%d %s\n\n", line, status, strings.TrimSpace(answer))
	}
	golden := filepath.Join("testdata", "api.golden")
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), out.String()); diff != "" {
		t.Errorf("answers (-want +got); renew with -update:\n%s", diff)
	}
}

// TestRights: reading and writing need their right on the workspace, and a token.
func TestRights(t *testing.T) {
	w := newWorld(t)
	w.may = func(permission string) error {
		if permission != "read" {
			return blobs.Refusef("only reading is allowed")
		}
		return nil
	}
	if status, body := w.ask("POST", "mlflow/experiments/search", `{}`); status != http.StatusOK {
		t.Errorf("reading: %d %s", status, body)
	}
	for _, r := range [][3]string{{"POST", "mlflow/runs/create", `{"experiment_id":"0"}`}, {"POST", "mlflow/experiments/create", `{"name":"x"}`},
		{"PUT", "mlflow-artifacts/artifacts/ExperimentRun/dcid.x/f", "x"}, {"POST", "mlflow/registered-models/create", `{"name":"m"}`}} {
		if status, body := w.ask(r[0], r[1], r[2]); status != http.StatusForbidden || !strings.Contains(body, "PERMISSION_DENIED") {
			t.Errorf("%s by a reader: %d %s", r[1], status, body)
		}
	}
	w.who = resource.Principal{}
	if status, _ := w.ask("GET", "mlflow/experiments/get?experiment_id=0", ""); status == http.StatusOK {
		t.Error("it answers without a token")
	}
}

// job submits a job and has the reconciler tell the cluster of it; it returns the principal of its token.
func (w *world) job(name string) resource.Principal {
	w.T.Helper()
	w.Put(typestest.Workspace+"/jobs/"+name, `{"properties":{"jobType":"Command","command":"true","experimentName":"digits","displayName":"Shown","tags":{"team":"a"},"computeId":"k8s","environmentId":"azureml:sklearn:1"}}`)
	rec := w.Record(typestest.Workspace + "/jobs/" + name)
	st, err := runstate.Decode(rec)
	if err != nil {
		w.T.Fatal(err)
	}
	st.JobID = runstate.ID(rec.Key, rec.Seq)
	w.write(rec, st)
	return resource.Principal{ID: runstate.PrincipalID(rec.Key, st.JobID), Name: st.JobID, Kind: "Run", Scope: rec.Key}
}

func (w *world) write(rec store.Record, st runstate.State) {
	w.T.Helper()
	var err error
	if rec.Internal, err = st.Encode(); err != nil {
		w.T.Fatal(err)
	}
	if err := w.Store.Update(w.Ctx, func(tx store.Tx) error { _, err := tx.Put(w.Ctx, rec); return err }); err != nil {
		w.T.Fatal(err)
	}
}

func field(m map[string]any, path ...string) any {
	var v any = m
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

// TestRunToken: a job is a run; its token writes that and what it starts, reads the workspace, and ends an hour after the job.
func TestRunToken(t *testing.T) {
	w := newWorld(t)
	user := w.who
	foreign := w.job("other")
	w.who = w.job("train")

	run := w.must("GET", "mlflow/runs/get?run_id=train", "")
	if got := []any{field(run, "run", "info", "run_name"), field(run, "run", "info", "status"), field(run, "run", "info", "artifact_uri")}; !cmp.Equal(got, []any{"Shown", "SCHEDULED", "mlflow-artifacts:/ExperimentRun/dcid.train"}) {
		t.Errorf("the job's run: %v", got)
	}
	experiment := field(run, "run", "info", "experiment_id").(string)
	if got := field(w.must("GET", "mlflow/experiments/get?experiment_id="+experiment, ""), "experiment", "name"); got != "digits" {
		t.Errorf("its experiment is %v", got)
	}
	w.must("POST", "mlflow/runs/log-metric", `{"run_id":"train","key":"loss","value":0.5,"timestamp":1}`)
	w.must("POST", "mlflow/runs/update", `{"run_id":"train","status":"FINISHED","end_time":7}`)
	if got := field(w.must("GET", "mlflow/runs/get?run_id=train", ""), "run", "info", "status"); got != "SCHEDULED" {
		t.Errorf("the run says %v, but the job does", got)
	}
	child := w.must("POST", "mlflow/runs/create", `{"experiment_id":"`+experiment+`","run_name":"child","tags":[{"key":"mlflow.parentRunId","value":"train"}]}`)
	id := field(child, "run", "info", "run_id").(string)
	place := strings.TrimPrefix(field(child, "run", "info", "artifact_uri").(string), "mlflow-artifacts:/")
	w.must("POST", "mlflow/runs/set-tag", `{"run_id":"`+id+`","key":"a","value":"b"}`)
	w.must("PUT", "mlflow-artifacts/artifacts/"+place+"/f.txt", "hello")
	w.must("POST", "mlflow/logged-models", `{"experiment_id":"`+experiment+`","name":"m","source_run_id":"train"}`)
	if status, body := w.ask("GET", "mlflow-artifacts/artifacts/"+place+"/f.txt", ""); status != http.StatusOK || body != "hello" {
		t.Errorf("got %d %q", status, body)
	}
	w.must("GET", "mlflow/runs/get?run_id=other", "")

	for name, r := range map[string][2]string{
		"another's run":       {"mlflow/runs/log-metric", `{"run_id":"other","key":"loss","value":1,"timestamp":1}`},
		"another experiment":  {"mlflow/runs/create", `{"experiment_id":"0"}`},
		"a new experiment":    {"mlflow/experiments/create", `{"name":"mine"}`},
		"a registered model":  {"mlflow/registered-models/create", `{"name":"m"}`},
		"another's run again": {"mlflow/runs/delete", `{"run_id":"other"}`},
		"another's model":     {"mlflow/logged-models", `{"experiment_id":"` + experiment + `","name":"m","source_run_id":"other"}`},
	} {
		if status, body := w.ask("POST", r[0], r[1]); status != http.StatusForbidden || !strings.Contains(body, "PERMISSION_DENIED") {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, body := w.ask("PUT", "mlflow-artifacts/artifacts/ExperimentRun/dcid.other/f", "x"); status != http.StatusForbidden {
		t.Errorf("another's artifact: %d %s", status, body)
	}
	w.who.ID = foreign.ID
	if status, _ := w.ask("GET", "mlflow/runs/get?run_id=train", ""); status != http.StatusForbidden {
		t.Errorf("the token of a deleted run of this name: %d", status)
	}

	w.who = user
	if _, err := w.Engine.Delete(w.Ctx, engine.DeleteRequest{ID: arm.MustParseID(typestest.Workspace + "/jobs/train"), Principal: user, Force: true}); err != nil {
		t.Fatal(err)
	}
	if status, _ := w.ask("GET", "mlflow/runs/get?run_id="+id, ""); status != http.StatusNotFound {
		t.Errorf("the deleted job's child is there: %d", status)
	}
}

// TestArtifactCutOff: what did not arrive whole is not there.
func TestArtifactCutOff(t *testing.T) {
	w := newWorld(t)
	r := httptest.NewRequestWithContext(w.Ctx, http.MethodPut, "/mlflow/v1.0"+typestest.Workspace+"/api/2.0/mlflow-artifacts/artifacts/ExperimentRun/dcid.x/f", io.MultiReader(strings.NewReader("half"), failing{}))
	rec := httptest.NewRecorder()
	w.server.Handler().ServeHTTP(rec, r)
	if rec.Code == http.StatusOK {
		t.Error("half an upload was taken")
	}
	if status, _ := w.ask("GET", "mlflow-artifacts/artifacts/ExperimentRun/dcid.x/f", ""); status != http.StatusNotFound {
		t.Errorf("it is there: %d", status)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
