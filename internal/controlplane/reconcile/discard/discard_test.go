package discard

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/reconcile/job"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
)

// world is a workspace with a job of which a cluster was told, and the blob front below it.
type world struct {
	*typestest.Env
	t       *testing.T
	bucket  *blob.Bucket
	front   *blobs.Front
	c       *Controller
	account string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	e := typestest.New(t)
	e.Ready()
	w := &world{Env: e, t: t, bucket: memblob.OpenBucket(nil)}
	w.front = blobs.New(blobs.Config{Bucket: w.bucket, PublicURL: "https://fl.test", SASKey: make([]byte, 32), Clock: e.Now})
	w.c = New(e.Store, w.front, e.Now)
	w.account = types.StorageAccountOf(e.Record(typestest.Workspace))
	return w
}

// run submits a job, tells its cluster, and lets it leave a log.
func (w *world) run(name string) {
	w.t.Helper()
	id := typestest.Workspace + "/jobs/" + name
	w.Put(id, typestest.JobBody)
	w.Step(job.New(w.Deps, nil), id)
	w.write("azureml/ExperimentRun/dcid." + name + "/user_logs/std_log.txt")
}

// write makes a block blob as the front lays it out.
func (w *world) write(name string) {
	w.t.Helper()
	parts := strings.Split(name, "/")
	key := "b/" + w.account + "/" + parts[0] + "/" + strings.Join(parts[1:], "+/") + "!"
	if err := w.bucket.WriteAll(w.t.Context(), key, []byte("x"), nil); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) work() {
	w.t.Helper()
	keys, err := w.c.All(w.Ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, k := range keys {
		w.Step(w.c, k)
	}
}

func (w *world) left(container string) []string {
	w.t.Helper()
	items, err := w.front.List(w.Ctx, w.account, container, "")
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, it := range items {
		out = append(out, strings.TrimSuffix(path.Dir(it.Name), "/user_logs"))
	}
	slices.Sort(out)
	return out
}

func (w *world) remove(id string) {
	w.t.Helper()
	if err := w.TryDelete(id, true); err != nil {
		w.t.Fatal(err)
	}
}

func TestDeletedJob(t *testing.T) {
	w := newWorld(t)
	for _, n := range []string{"a", "ab", "kept"} {
		w.run(n)
	}
	w.write("azureml-blobstore-1/azureml/a/model/m")
	w.Put(typestest.Workspace+"/models/m/versions/1", `{"properties":{"modelUri":"azureml://datastores/workspaceartifactstore/paths/ExperimentRun/dcid.kept/user_logs"}}`)
	w.remove(typestest.Workspace + "/jobs/a")
	w.remove(typestest.Workspace + "/jobs/kept")
	w.c.blobs = broken{}
	keys, err := w.c.All(w.Ctx)
	if err != nil || len(keys) != 2 {
		t.Fatalf("to do: %v, %v", keys, err)
	}
	if _, err := w.c.Reconcile(w.Ctx, keys[0]); err == nil {
		t.Error("a failed deletion was taken for done")
	}
	w.c.blobs = w.front
	w.work()
	if d := cmp.Diff([]string{"ExperimentRun/dcid.ab", "ExperimentRun/dcid.kept"}, w.left("azureml")); d != "" {
		t.Error(d)
	}
	if got := w.left("azureml-blobstore-1"); len(got) != 1 {
		t.Errorf("outputs: %v", got)
	}
	if keys, err := w.c.All(w.Ctx); err != nil || len(keys) != 0 {
		t.Errorf("still to do: %v, %v", keys, err)
	}
	w.Put(typestest.Workspace+"/jobs/a", typestest.JobBody)
	if got := w.Prop(typestest.Workspace+"/jobs/a", "properties", "fairlead.artifacts"); !strings.HasSuffix(got.(string), "dcid.a.2") {
		t.Errorf("the name used again has %v", got)
	}
}

type broken struct{ Blobs }

func (broken) DeleteFolder(context.Context, string, string, string) error {
	return errors.New("bucket is away")
}

func TestDeletedWorkspace(t *testing.T) {
	w := newWorld(t)
	w.run("a")
	w.remove(typestest.Workspace + "/jobs/a")
	w.work()
	w.write("azureml/x/y")
	w.write("code-1/x/y")
	w.Put(strings.Replace(typestest.Workspace, "/lab", "/other", 1), `{}`)
	other := types.StorageAccountOf(w.Record(strings.Replace(typestest.Workspace, "/lab", "/other", 1)))
	if err := w.bucket.WriteAll(w.Ctx, "b/"+other+"/azureml/x!", []byte("x"), nil); err != nil {
		t.Fatal(err)
	}
	w.remove(typestest.Compute)
	w.remove(typestest.Workspace)
	w.work()
	if len(w.left("code-1")) != 1 {
		t.Error("deleted while signatures were good")
	}
	w.Advance(types.SASTTL + time.Minute)
	w.work()
	if a, b := w.left("azureml"), w.left("code-1"); len(a)+len(b) != 0 {
		t.Errorf("left: %v %v", a, b)
	}
	if ok, err := w.bucket.Exists(w.Ctx, "b/"+other+"/azureml/x!"); !ok || err != nil {
		t.Errorf("the other workspace's blob: %v %v", ok, err)
	}
	if keys, err := w.c.All(w.Ctx); err != nil || len(keys) != 0 {
		t.Errorf("still to do: %v, %v", keys, err)
	}
}
