package job

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/desired"
	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/controlplane/types/trackedjob"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
	"fairlead.dev/fairlead/internal/link"
)

const jobID = typestest.Workspace + "/jobs/j"

// submitted is a job of which the cluster was told.
func submitted(t *testing.T) (*typestest.Env, *Controller, link.Job) {
	t.Helper()
	e := typestest.New(t)
	e.Ready()
	c := New(e.Deps, nil)
	e.Put(jobID, typestest.JobBody)
	keys, err := c.All(e.Ctx)
	if err != nil || len(keys) != 1 || keys[0] != strings.ToLower(jobID) {
		t.Fatalf("after a restart: %v, %v; want the job", keys, err)
	}
	e.Step(c, jobID)
	rec := e.Record(jobID)
	var j link.Job
	if !e.Desired("job/"+runstate.ID(rec.Key, rec.Seq), &j) {
		t.Fatal("no desired job")
	}
	return e, c, j
}

func spec(t *testing.T, j link.Job) (v1alpha1.JobSpec, commonruntime.JobSpec) {
	t.Helper()
	var s v1alpha1.AmlJobSpec
	if err := json.Unmarshal(j.Spec, &s); err != nil {
		t.Fatal(err)
	}
	var doc commonruntime.JobSpec
	if err := json.Unmarshal(s.Job.Options.CommonRuntimeJobSpec, &doc); err != nil {
		t.Fatal(err)
	}
	return s.Job, doc
}

func TestSubmit(t *testing.T) {
	e, _, j := submitted(t)
	if e.Prop(jobID, "status") != "Queued" {
		t.Errorf("status %v", e.Prop(jobID, "status"))
	}
	s, doc := spec(t, j)
	s.Options = v1alpha1.JobOptions{}
	if d := cmp.Diff(v1alpha1.JobSpec{JobID: j.ID, Name: "j", Image: "docker.io/library/sklearn:1", InstanceCount: 1, ShmSize: "2Gi"}, s); d != "" {
		t.Error(d)
	}
	if doc.Command != "python train.py" || doc.Version != commonruntime.Version || doc.Environment["AZUREML_RUN_ID"] != "j" {
		t.Errorf("document %+v", doc)
	}
	if raw, _ := json.Marshal(doc); strings.Contains(string(raw), "token of") {
		t.Error("the run token is in the document")
	}
	key := j.Secret[commonruntime.SecretLogKey]
	if len(key) != 64 || !strings.HasPrefix(j.Secret[commonruntime.SecretToken], "token of "+j.ID) || j.Secret[commonruntime.SecretCA] != "CA PEM" {
		t.Errorf("secret has keys of the wrong kind: %d", len(j.Secret))
	}
	j.Secret, j.Spec = nil, nil
	want := link.Job{ID: j.ID, Resource: jobID, Namespace: "train", Labels: map[string]string{"ml.azure.com/workspace": "lab", "ml.azure.com/compute": "k8s",
		"ml.azure.com/run-id": "j", "ml.azure.com/resource-group": "rg", "ml.azure.com/subscription-id": "00000000-0000-0000-0000-000000000001"}}
	if d := cmp.Diff(want, j); d != "" {
		t.Error(d)
	}
	var note runstate.OutboxEntry
	if e.DesiredOf(runstate.Outbox, runstate.OutboxKey(strings.ToLower(jobID)), &note) {
		t.Error("the outbox entry stayed")
	}
}

// TestRevive: a job that is submitted to an experiment that was deleted brings it back; one that went with it does not.
func TestRevive(t *testing.T) {
	for name, wentToo := range map[string]bool{"submitted later": false, "deleted with it": true} {
		t.Run(name, func(t *testing.T) {
			e := typestest.New(t)
			e.Ready()
			e.Put(jobID, typestest.JobBody)
			st, err := runstate.Decode(e.Record(jobID))
			if err != nil {
				t.Fatal(err)
			}
			ws, _ := trackedjob.Workspace(st)
			experiment := trackedjob.Experiment{ID: st.Spec.Environment["MLFLOW_EXPERIMENT_ID"], Name: "kept", Deleted: true}
			docs, err := experiment.Docs(ws)
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Store.Update(e.Ctx, func(tx store.Tx) error {
				return errors.Join(tx.PutTrackedDoc(e.Ctx, docs[0]), tx.SetTrackedDeleted(e.Ctx, ws, experiment.ID, wentToo))
			}); err != nil {
				t.Fatal(err)
			}
			e.Step(New(e.Deps, nil), jobID)
			d, err := e.Store.TrackedDoc(e.Ctx, ws, trackedjob.KindExperiment, experiment.ID)
			var got trackedjob.Experiment
			if err := errors.Join(err, json.Unmarshal(d.Body, &got)); err != nil || got.Deleted != wentToo || got.Name != "kept" {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func TestLife(t *testing.T) {
	e, c, j := submitted(t)
	heard := func(s link.JobStatus) {
		t.Helper()
		s.ID = j.ID
		e.Observe("job/"+j.ID, s)
		keys := c.Keys(store.Change{Kind: "observed", Key: strings.ToLower(typestest.Cluster), Type: "job/" + j.ID})
		e.Step(c, keys[0])
	}
	tracked := func(status string, start, end int64) {
		t.Helper()
		_, doc := spec(t, j)
		ws, _ := trackedjob.Workspace(runstate.State{Spec: doc})
		run, err := e.Store.TrackedRun(e.Ctx, ws, "j")
		if err != nil || run.Status != status || run.Start != start || run.End != end {
			t.Errorf("the run is %+v, %v; want %s, %d, %d", run, err, status, start, end)
		}
	}
	tracked("SCHEDULED", 1767323045000, 0)
	heard(link.JobStatus{State: "Running", StartTime: "2026-01-02T03:04:06Z"})
	tracked("RUNNING", 1767323046000, 0)
	if e.Prop(jobID, "status") != "Running" || e.Prop(jobID, "properties", "fairlead.startTime") != "2026-01-02T03:04:06.000000Z" {
		t.Errorf("%v", e.Show(jobID)["properties"])
	}
	var told link.Job
	if e.Desired("job/"+j.ID, &told); !told.Started || cmp.Diff(j.Secret, told.Secret) != "" {
		t.Errorf("the cluster is told started=%v; its Secret (-was +is):\n%s", told.Started, cmp.Diff(j.Secret, told.Secret))
	}
	code := 3
	heard(link.JobStatus{State: "Failed", Reason: "NonZeroExit", Message: "exit code 3", ExitCode: &code, EndTime: "2026-01-02T03:05:06Z"})
	tracked("FAILED", 1767323046000, 1767323106000)
	wantErr := map[string]any{"code": "NonZeroExit", "message": "exit code 3"}
	if e.Prop(jobID, "status") != "Failed" || e.Prop(jobID, "properties", "fairlead.exitCode") != "3" || cmp.Diff(wantErr, e.Prop(jobID, "error")) != "" {
		t.Errorf("%v", e.Show(jobID)["properties"])
	}
	heard(link.JobStatus{State: "Completed"})
	if e.Prop(jobID, "status") != "Failed" {
		t.Error("a terminal state changed")
	}
	e.Advance(retention)
	e.Heartbeat()
	e.Step(c, jobID)
	if e.Desired("job/"+j.ID, &link.Job{}) {
		t.Error("the cluster still has the job after its retention")
	}
	if keys, err := c.All(e.Ctx); err != nil || len(keys) != 0 {
		t.Errorf("after a restart: %v, %v; want nothing to do", keys, err)
	}
	heard(link.JobStatus{State: "Failed"}) // a late word
	if got, err := e.Store.ObservedPrefix(e.Ctx, strings.ToLower(typestest.Cluster), "job/"); err != nil || len(got) != 0 {
		t.Errorf("a late word stays: %v, %v", got, err)
	}
}

func TestCancel(t *testing.T) {
	e, c, j := submitted(t)
	if _, err := e.Call(jobID, "cancel", ""); err != nil {
		t.Fatal(err)
	}
	e.Step(c, jobID)
	var after link.Job
	e.Desired("job/"+j.ID, &after)
	if s, _ := spec(t, after); !s.Cancel || e.Prop(jobID, "status") != "CancelRequested" {
		t.Errorf("cancel %v, status %v", s.Cancel, e.Prop(jobID, "status"))
	}
	if cmp.Diff(j.Secret, after.Secret) != "" {
		t.Error("cancel changed the job's Secret")
	}
	version := e.Record(jobID).Version
	if e.Step(c, jobID); e.Record(jobID).Version != version {
		t.Error("written although nothing changed")
	}
	e.Observe("job/"+j.ID, link.JobStatus{ID: j.ID, State: "Canceled"})
	if e.Step(c, jobID); e.Prop(jobID, "status") != "Canceled" {
		t.Errorf("status %v", e.Prop(jobID, "status"))
	}
}

func TestOfflineAndBack(t *testing.T) {
	e, c, _ := submitted(t)
	e.Advance(time.Minute)
	key := c.Keys(store.Change{Kind: "resource", Key: strings.ToLower(typestest.Cluster), Type: "microsoft.kubernetes/connectedclusters"})[0]
	e.Step(c, key)
	if msg, _ := e.Prop(jobID, "properties", "fairlead.statusMessage").(string); !strings.Contains(msg, "cluster edge is offline since 2026-01-02T03:04:05Z") {
		t.Errorf("message %q", msg)
	}
	e.Heartbeat()
	e.Step(c, key)
	if msg := e.Prop(jobID, "properties", "fairlead.statusMessage"); msg != nil {
		t.Errorf("message %v after the cluster came back", msg)
	}
}

func TestTokenRenewal(t *testing.T) {
	e, c, j := submitted(t)
	e.Advance(tokenTTL / 2)
	e.Step(c, jobID)
	var after link.Job
	e.Desired("job/"+j.ID, &after)
	if after.Secret[commonruntime.SecretToken] == j.Secret[commonruntime.SecretToken] {
		t.Error("the token was not renewed")
	}
	if after.Secret[commonruntime.SecretLogKey] != j.Secret[commonruntime.SecretLogKey] {
		t.Error("the log key changed under its readers")
	}
}

func TestClusterDeleted(t *testing.T) {
	e, c, _ := submitted(t)
	if err := e.TryDelete(typestest.Cluster, true); err != nil {
		t.Fatal(err)
	}
	keys, err := c.All(e.Ctx)
	if err != nil || len(keys) != 1 {
		t.Fatalf("after a restart: %v, %v; want the job", keys, err)
	}
	e.Step(c, jobID)
	if e.Prop(jobID, "status") != "Failed" || e.Prop(jobID, "properties", "fairlead.statusReason") != "ClusterDeleted" {
		t.Errorf("%v", e.Show(jobID)["properties"])
	}
}

// TestDamagedValue: a job whose desired value does not open says so by name, and others go on.
func TestDamagedValue(t *testing.T) {
	e, c, j := submitted(t)
	cluster, other := strings.ToLower(typestest.Cluster), typestest.Workspace+"/jobs/other"
	e.Put(other, typestest.JobBody)
	e.Step(c, other)
	rec := e.Record(other)
	otherKey := "job/" + runstate.ID(rec.Key, rec.Seq)
	before, err := desired.Find(e.Ctx, e.Store, cluster, "job/"+j.ID)
	if err != nil {
		t.Fatal(err)
	}
	damaged, _ := json.Marshal(map[string]string{"resource": j.Resource, "sealed": "AQID"})
	write := func(value json.RawMessage) {
		t.Helper()
		if err := e.Store.Update(e.Ctx, func(tx store.Tx) error { return tx.PutDesired(e.Ctx, cluster, "job/"+j.ID, value) }); err != nil {
			t.Fatal(err)
		}
	}
	write(damaged)
	e.Observe("job/"+j.ID, link.JobStatus{ID: j.ID, State: "Running"})
	e.Step(c, observedPrefix+cluster+" job/"+j.ID) // needs no secret
	if e.Prop(jobID, "status") != "Running" {
		t.Errorf("status %v", e.Prop(jobID, "status"))
	}
	e.Observe("job/"+j.ID, link.JobStatus{ID: j.ID, State: "Running", StartTime: "2026-01-02T03:04:06Z"})
	e.Step(c, observedPrefix+cluster+" job/"+j.ID)
	if e.Prop(jobID, "properties", "fairlead.startTime") == nil {
		t.Error("a start was not recorded")
	}
	var was, is link.Job
	e.Desired(otherKey, &was)
	e.Advance(tokenTTL / 2)
	e.Heartbeat()
	_, err = c.Reconcile(e.Ctx, clusterPrefix+cluster)
	if !errors.Is(err, seal.ErrSealed) || !strings.Contains(err.Error(), "job/"+j.ID) {
		t.Errorf("reconciling all jobs: %v", err)
	}
	if e.Desired(otherKey, &is); is.Secret[commonruntime.SecretToken] == was.Secret[commonruntime.SecretToken] {
		t.Error("the other job's token was not renewed")
	}
	write(before.Value)
	e.Step(c, jobID)
	if e.Desired("job/"+j.ID, &is); is.Secret[commonruntime.SecretToken] == j.Secret[commonruntime.SecretToken] {
		t.Error("the token was not renewed after the repair")
	}
}

// TestBatchCleared: what a batch job's pods shared goes when the job has ended; what cannot be deleted now is deleted later.
func TestBatchCleared(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	const endpoint, id = typestest.Workspace + "/batchEndpoints/scorer", typestest.Workspace + "/jobs/b"
	e.Put(endpoint, `{"properties":{}}`)
	e.Put(endpoint+"/deployments/blue", `{"properties":{"compute":"azureml:k8s","environmentId":"azureml:sklearn@latest","model":{"assetId":"azureml:digits:1"},
 "codeConfiguration":{"codeId":"azureml:abc:1","scoringScript":"score.py"}}}`)
	if _, err := e.Call(endpoint, "jobs", `{"properties":{"name":"b","inputData":{"data":{"uri":"azureml://datastores/workspaceblobstore/paths/in"}}}}`, "azureml-model-deployment: blue"); err != nil {
		t.Fatal(err)
	}
	shared, broken := &folder{under: "ExperimentRun/dcid.b/.batch/"}, errors.New("the disk is away")
	c := New(e.Deps, shared)
	e.Step(c, id)
	rec := e.Record(id)
	job := runstate.ID(rec.Key, rec.Seq)
	e.Observe("job/"+job, link.JobStatus{ID: job, State: "Completed"})
	e.Step(c, id)
	shared.fill(2*clearStep + 1)
	shared.broken = broken
	if e.Prop(id, "status") != "Completed" {
		t.Fatalf("status %v", e.Prop(id, "status"))
	}
	if _, err := c.Reconcile(e.Ctx, strings.ToLower(id)); !errors.Is(err, broken) {
		t.Errorf("deleting fails, and reconciling says %v", err)
	}
	shared.broken = nil
	for _, want := range []int{clearStep + 1, 1, 0} {
		res := e.Step(c, id)
		if left := len(shared.names); left != want || (res.RequeueAfter == clearAgain) != (want > 0) {
			t.Errorf("%d are left, again after %s; want %d", left, res.RequeueAfter, want)
		}
	}
	if shared.most > clearAtOnce {
		t.Errorf("%d were deleted at once", shared.most)
	}
	shared.fill(1) // by a pod that was late
	e.Step(c, id)
	if len(shared.names) != 1 {
		t.Error("deleted again before the retention was over")
	}
	e.Advance(retention)
	e.Step(c, id)
	if len(shared.names) != 0 {
		t.Errorf("left are %v", shared.names)
	}
}

// folder is the blobs of one, which cannot be deleted while it is broken.
type folder struct {
	under  string
	broken error

	mu        sync.Mutex
	names     map[string]bool
	now, most int // deletes under way
}

func (f *folder) fill(n int) {
	f.names = map[string]bool{}
	for i := range n {
		f.names[fmt.Sprint(f.under, i)] = true
	}
}

func (f *folder) List(_ context.Context, _, container, prefix string) (items []blobs.Item, err error) {
	for name := range f.names {
		if container == "azureml" && prefix == f.under {
			items = append(items, blobs.Item{Name: name})
		}
	}
	return items, nil
}

func (f *folder) Delete(_ context.Context, _, _, name string) error {
	f.mu.Lock()
	f.now++
	f.most = max(f.most, f.now)
	f.mu.Unlock()
	runtime.Gosched()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now--
	if f.broken == nil {
		delete(f.names, name)
	}
	return f.broken
}
