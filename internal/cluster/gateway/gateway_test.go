package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/charts"
	"fairlead.dev/fairlead/internal/cluster/desired"
	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/testing/kubetest"
	"github.com/google/go-cmp/cmp"
)

const (
	one = "11111111111111111111111111111111"
	two = "22222222222222222222222222222222"
)

func job(id, namespace string, cancel bool) link.Job {
	spec, err := json.Marshal(v1alpha1.AmlJobSpec{Job: v1alpha1.JobSpec{JobID: id, Name: "run-" + id[:2], Image: "python", InstanceCount: 1, Cancel: cancel, Options: v1alpha1.JobOptions{CommonRuntimeJobSpec: []byte("{}")}}})
	if err != nil {
		panic(err)
	}
	return link.Job{ID: id, Namespace: namespace, Labels: map[string]string{"ml.azure.com/workspace": "ws"}, Spec: spec, Secret: map[string]string{"token": "secret-" + id}}
}

func jobItem(t *testing.T, j link.Job) item {
	t.Helper()
	raw, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	i, err := jobs.read(link.PrefixJob+j.ID, raw)
	if err != nil {
		t.Fatal(err)
	}
	i.kind, i.key = jobs, link.PrefixJob+j.ID
	return i
}

func TestUndesired(t *testing.T) {
	at := func(namespace, name string) metav1.PartialObjectMetadata {
		return metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	}
	wanted := jobItem(t, job(one, "default", false))
	items := map[string]item{wanted.id(): wanted}
	cases := map[string]struct {
		current []metav1.PartialObjectMetadata
		want    []ref
	}{
		"nothing there":      {nil, nil},
		"as desired":         {[]metav1.PartialObjectMetadata{at("default", one)}, nil},
		"not desired":        {[]metav1.PartialObjectMetadata{at("default", one), at("team", two)}, []ref{{"team", two}}},
		"in another's place": {[]metav1.PartialObjectMetadata{at("team", one)}, []ref{{"team", one}}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, undesired(jobs, items, c.current), cmp.AllowUnexported(ref{})); diff != "" {
				t.Errorf("undesired (-want +got):\n%s", diff)
			}
		})
	}
}

func TestClassify(t *testing.T) {
	missing := apierrors.NewNotFound(schema.GroupResource{Resource: "namespaces"}, "team")
	noCRD := &apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonNotFound, Code: 404, Message: "the server could not find the requested resource"}}
	invalid := apierrors.NewInvalid(schema.GroupKind{Kind: "AmlJob"}, one, nil)
	cases := map[string]struct {
		job    link.Job
		err    error
		state  string
		reason string
		text   string
		again  bool
	}{
		"namespace missing":           {job(one, "team", false), missing, "Queued", ReasonNamespaceNotFound, "kubectl create namespace team", true},
		"namespace missing, canceled": {job(one, "team", true), missing, "Canceled", "Canceled", "before it was started", false},
		"definition missing":          {job(one, "team", false), noCRD, "", "", "", true},
		"invalid":                     {job(one, "team", false), invalid, "Failed", ReasonInvalidJob, "does not accept the job", false},
		"API server away":             {job(one, "team", false), errors.New("connection refused"), "", "", "", true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			told, _, again := classify(jobItem(t, c.job), c.err)
			status, _ := told.(link.JobStatus)
			if status.State != c.state || status.Reason != c.reason || !strings.Contains(status.Message, c.text) || again != c.again {
				t.Errorf("got %+v again %v", status, again)
			}
		})
	}
}

// fixture is a gateway over a real API server.
type fixture struct {
	client   client.Client
	events   *desired.Follower
	observed chan link.JobStatus
	// forgotten are the keys that were taken back.
	forgotten chan string
	stop      func()
}

func start(t *testing.T) *fixture {
	cluster := kubetest.Start(t)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.New(cluster.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	doc, err := charts.FS.ReadFile("azureml/crds/amlarc.azureml.com_amljobs.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.Unmarshal(doc, &crd); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), &crd); err != nil {
		t.Fatal(err)
	}
	f := &fixture{client: c, observed: make(chan link.JobStatus, 100), forgotten: make(chan string, 100)}
	f.startGateway(t)
	t.Cleanup(func() { f.stop() })
	return f
}

// startGateway starts a gateway that knows nothing; the one before, if any, ends.
func (f *fixture) startGateway(t *testing.T) {
	if f.stop != nil {
		f.stop()
	}
	g := New(Config{Client: f.client, Log: slog.New(slog.DiscardHandler), Mourning: time.Millisecond,
		Observe: func(_ string, s any) error { f.observed <- s.(link.JobStatus); return nil },
		Forget:  func(key string) { f.forgotten <- key },
	})
	f.events = desired.NewFollower(g.Handler())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := g.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	f.stop = func() { cancel(); <-done }
}

func (f *fixture) send(t *testing.T, e link.Event) {
	t.Helper()
	if err := f.events.Apply(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, j link.Job) link.Event {
	t.Helper()
	value, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	return link.Event{Type: link.EventPut, Key: link.PrefixJob + j.ID, Value: value}
}

// eventually asks until check passes; the API server is another process, so there is nothing to wait on.
func eventually(t *testing.T, what string, check func() bool) {
	t.Helper()
	timeout, tick := time.After(30*time.Second), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for !check() {
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal("timed out waiting: " + what)
		}
	}
}

func TestGateway(t *testing.T) {
	f := start(t)
	get := func(namespace, id string) (*v1alpha1.AmlJob, error) {
		var out v1alpha1.AmlJob
		err := f.client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: id}, &out)
		return &out, err
	}
	gone := func(namespace, id string) func() bool {
		return func() bool { _, err := get(namespace, id); return apierrors.IsNotFound(err) }
	}
	t.Run("leftovers are deleted only when the snapshot is complete", func(t *testing.T) {
		left := &v1alpha1.AmlJob{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: two, Labels: map[string]string{LabelManagedBy: FieldManager}}, Spec: v1alpha1.AmlJobSpec{Job: v1alpha1.JobSpec{JobID: two, Name: "x", Image: "i", InstanceCount: 1}}}
		left.Spec.Job.Options.CommonRuntimeJobSpec = []byte("{}")
		others := left.DeepCopy()
		others.Name, others.Labels, others.Spec.Job.JobID = strings.Repeat("3", 32), nil, strings.Repeat("3", 32)
		for _, o := range []*v1alpha1.AmlJob{left, others} {
			eventually(t, "the definition is served", func() bool { return f.client.Create(t.Context(), o.DeepCopy()) == nil })
		}
		f.send(t, link.Event{Type: link.EventReset})
		f.send(t, put(t, job(one, "default", false)))
		eventually(t, "the desired job", func() bool { _, err := get("default", one); return err == nil })
		if _, err := get("default", two); err != nil {
			t.Fatalf("deleted before the bookmark: %v", err)
		}
		f.send(t, link.Event{Type: link.EventBookmark, Seq: 1})
		eventually(t, "the leftover is deleted", gone("default", two))
		if _, err := get("default", others.Name); err != nil {
			t.Errorf("an AmlJob of somebody else was touched: %v", err)
		}
	})
	t.Run("the secret is the job's own", func(t *testing.T) {
		j, err := get("default", one)
		if err != nil {
			t.Fatal(err)
		}
		if j.Labels["ml.azure.com/workspace"] != "ws" {
			t.Errorf("labels %v", j.Labels)
		}
		var s corev1.Secret
		eventually(t, "the secret", func() bool {
			return f.client.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: one + v1alpha1.RunSecretSuffix}, &s) == nil
		})
		if string(s.Data["token"]) != "secret-"+one || len(s.OwnerReferences) != 1 || s.OwnerReferences[0].UID != j.UID {
			t.Errorf("data %q owner %+v, want the job %s", s.Data["token"], s.OwnerReferences, j.UID)
		}
	})
	t.Run("cancel reaches the job and its status stays", func(t *testing.T) {
		j, err := get("default", one)
		if err != nil {
			t.Fatal(err)
		}
		j.Status.State = "Running"
		if err := f.client.Status().Update(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		f.send(t, put(t, job(one, "default", true)))
		eventually(t, "cancel", func() bool { got, err := get("default", one); return err == nil && got.Spec.Job.Cancel })
		if got, _ := get("default", one); got.Status.State != "Running" || got.UID != j.UID {
			t.Errorf("status %+v", got.Status)
		}
	})
	t.Run("a missing namespace is said, and not final", func(t *testing.T) {
		f.send(t, put(t, job(two, "team", false)))
		s := <-f.observed
		if s.State != "Queued" || s.Reason != ReasonNamespaceNotFound || !strings.Contains(s.Message, `Namespace "team" does not exist`) {
			t.Fatalf("status %+v", s)
		}
		if err := f.client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}); err != nil {
			t.Fatal(err)
		}
		for len(f.forgotten) > 0 {
			<-f.forgotten
		}
		eventually(t, "the job of the new namespace", func() bool { _, err := get("team", two); return err == nil })
		if key := <-f.forgotten; key != link.PrefixJob+two {
			t.Errorf("forgot %q", key)
		}
	})
	t.Run("a change that is refused does not end a job that is there", func(t *testing.T) {
		bad := job(two, "team", false)
		bad.Spec = []byte(strings.Replace(string(bad.Spec), `"instanceCount":1`, `"instanceCount":0`, 1))
		for _, j := range []link.Job{bad, {ID: two, Namespace: "team", Spec: []byte("[]")}} {
			g := New(Config{Client: f.client, Observe: func(_ string, s any) error { t.Errorf("told %+v", s); return nil }})
			if err := g.apply(t.Context(), jobItem(t, j)); err == nil || !strings.Contains(err.Error(), "goes on as it is") {
				t.Errorf("error %v; want one that has it tried again", err)
			}
		}
		absent := bad
		absent.ID = strings.Repeat("4", 32)
		f.send(t, put(t, absent))
		if s := <-f.observed; s.State != "Failed" || s.Reason != ReasonInvalidJob || s.ID != absent.ID {
			t.Errorf("status %+v", s)
		}
		f.send(t, link.Event{Type: link.EventDelete, Key: link.PrefixJob + absent.ID, Seq: 2})
	})
	t.Run("what somebody deleted is not made again", func(t *testing.T) {
		drop := func(id string) {
			t.Helper()
			if err := f.client.Delete(t.Context(), &v1alpha1.AmlJob{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: id}}); err != nil {
				t.Fatal(err)
			}
		}
		mourned := func(id string) {
			t.Helper()
			var s link.JobStatus
			eventually(t, "the job's end", func() bool {
				select {
				case s = <-f.observed:
					return true
				default:
					return false
				}
			})
			if s.State != "Failed" || s.Reason != link.ReasonAmlJobDeleted || s.ID != id || !strings.Contains(s.Message, "AmlJob default/"+id) {
				t.Errorf("status %+v", s)
			}
			if _, err := get("default", id); !apierrors.IsNotFound(err) {
				t.Errorf("made again: %v", err)
			}
		}
		three := strings.Repeat("5", 32)
		f.send(t, put(t, job(three, "default", false)))
		eventually(t, "the job", func() bool { _, err := get("default", three); return err == nil })
		for key := ""; key != link.PrefixJob+three; key = <-f.forgotten {
		}
		drop(three)
		f.send(t, put(t, job(three, "default", false))) // as after a lost connection
		mourned(three)
		f.startGateway(t)
		started := job(three, "default", false)
		started.Started = true
		f.send(t, link.Event{Type: link.EventReset})
		for _, j := range []link.Job{job(one, "default", false), job(two, "team", false), started} {
			f.send(t, put(t, j))
		}
		f.send(t, link.Event{Type: link.EventBookmark, Seq: 3})
		mourned(three)
		f.send(t, link.Event{Type: link.EventDelete, Key: link.PrefixJob + three, Seq: 4})
	})
	t.Run("deleted", func(t *testing.T) {
		f.send(t, link.Event{Type: link.EventDelete, Key: link.PrefixJob + two, Seq: 2})
		eventually(t, "deletion", gone("team", two))
		f.send(t, link.Event{Type: link.EventReset})
		f.send(t, link.Event{Type: link.EventBookmark, Seq: 3})
		eventually(t, "deletion by an empty snapshot", gone("default", one))
	})
}
