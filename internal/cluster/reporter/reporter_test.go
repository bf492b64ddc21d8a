package reporter

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/charts"
	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/testing/kubetest"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite golden files")

func golden(t *testing.T, name string, value any) {
	t.Helper()
	got, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func list(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

func node(name string, condition corev1.ConditionStatus, cordoned bool) corev1.Node {
	return corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kubernetes.io/hostname": name, "pool": "ml"}},
		Spec:       corev1.NodeSpec{Unschedulable: cordoned},
		Status: corev1.NodeStatus{
			Allocatable: list("2", "8Gi"),
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: condition}},
		},
	}
}

func instanceType(name string) v1alpha1.InstanceType {
	return v1alpha1.InstanceType{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.InstanceTypeSpec{
		NodeSelector: map[string]string{"pool": "ml"},
		Resources:    corev1.ResourceRequirements{Requests: list("700m", "1500Mi"), Limits: list("1", "2Gi")},
	}}
}

func namespace(name string, phase corev1.NamespacePhase) corev1.Namespace {
	return corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NamespaceStatus{Phase: phase}}
}

func TestNodesStatusGolden(t *testing.T) {
	nodes := []corev1.Node{node("b", corev1.ConditionTrue, false), node("a", corev1.ConditionUnknown, false), node("c", corev1.ConditionTrue, true)}
	namespaces := []corev1.Namespace{
		namespace("team", corev1.NamespaceActive), namespace("default", corev1.NamespaceActive), namespace("kube-system", corev1.NamespaceActive),
		namespace("ml-system", corev1.NamespaceActive), namespace("azure-arc", corev1.NamespaceActive), namespace("going", corev1.NamespaceTerminating),
	}
	status := nodesStatus(nodes, namespaces, []v1alpha1.InstanceType{instanceType("small")}, "ml-system")
	golden(t, "nodes.json", status)
	golden(t, "nodes-slim.json", slim(status))
	golden(t, "nodes-empty.json", nodesStatus(nil, nil, nil, "ml-system"))
	golden(t, "nodes-default-overridden.json", nodesStatus(nil, nil, []v1alpha1.InstanceType{instanceType(v1alpha1.DefaultInstanceType)}, "ml-system"))
}

func TestJobStatusGolden(t *testing.T) {
	start, end, code := metav1.NewTime(time.Unix(1700000000, 0)), metav1.NewTime(time.Unix(1700000060, 0)), int32(3)
	job := &v1alpha1.AmlJob{ObjectMeta: metav1.ObjectMeta{Name: "0123456789abcdef0123456789abcdef"}}
	golden(t, "job-new.json", jobStatus(job))
	job.Status = v1alpha1.AmlJobStatus{
		State: "Failed", Reason: "NonZeroExit", Message: "exit code 3", ExitCode: &code, Attempt: 1, StartTime: &start, EndTime: &end,
		Pods: []v1alpha1.AmlJobPod{{Name: "p-0", Node: "a", Rank: 0, Phase: "Failed"}},
	}
	golden(t, "job-failed.json", jobStatus(job))
}

func TestReporter(t *testing.T) {
	cluster := kubetest.Start(t)
	c := newClient(t, cluster)
	values := make(chan link.Value, 100)
	r, err := New(Config{Kube: cluster.Config, Inference: true, Namespace: "default", Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Observe: func(key string, value any) error {
		raw, err := json.Marshal(value)
		values <- link.Value{Key: key, Value: raw}
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := r.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { cancel(); <-done })

	await(t, values, link.KeyNodes, func(s link.NodesStatus) bool {
		return len(s.Nodes) == 0 && len(s.InstanceTypes) == 1 && s.InstanceTypes[0].Name == v1alpha1.DefaultInstanceType
	})
	n, it := node("a", corev1.ConditionTrue, false), instanceType("small")
	for _, o := range []client.Object{&n, &it, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}} {
		if err := c.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	await(t, values, link.KeyNodes, func(s link.NodesStatus) bool {
		return len(s.Nodes) == 1 && len(s.InstanceTypes) == 2 && cmp.Equal(s.Namespaces, []string{"team"})
	})
	reportServing(t, c, values)
	id := "0123456789abcdef0123456789abcdef"
	job := &v1alpha1.AmlJob{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: id}, Spec: v1alpha1.AmlJobSpec{Job: v1alpha1.JobSpec{
		JobID: id, Name: "r", Image: "i", InstanceCount: 1, Options: v1alpha1.JobOptions{CommonRuntimeJobSpec: []byte("{}")},
	}}}
	if err := c.Create(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	await(t, values, link.PrefixJob+id, func(s link.JobStatus) bool { return s.State == "Queued" })
	job.Status.State = "Running"
	if err := c.Status().Update(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	await(t, values, link.PrefixJob+id, func(s link.JobStatus) bool { return s.State == "Running" && s.ID == id })

	again := job.DeepCopy()
	again.ObjectMeta = metav1.ObjectMeta{Namespace: "team", Name: id}
	if err := c.Delete(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	await(t, values, link.PrefixJob+id, func(s link.JobStatus) bool {
		return s.State == "Failed" && s.Reason == link.ReasonAmlJobDeleted && strings.Contains(s.Message, "AmlJob team/"+id) && s.EndTime != ""
	})
	if err := c.Create(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	ended := job.DeepCopy()
	ended.ObjectMeta, ended.Spec.Job.JobID = metav1.ObjectMeta{Namespace: "team", Name: strings.Repeat("a", 32)}, strings.Repeat("a", 32)
	if err := c.Create(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	ended.Status.State = "Completed"
	if err := c.Status().Update(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	await(t, values, link.PrefixJob+ended.Name, func(s link.JobStatus) bool {
		if s.ID == id {
			t.Errorf("told of a job after its last word: %+v", s)
		}
		return s.State == "Completed"
	})
	if err := c.Delete(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	last := ended.DeepCopy()
	last.ObjectMeta, last.Spec.Job.JobID = metav1.ObjectMeta{Namespace: "team", Name: strings.Repeat("b", 32)}, strings.Repeat("b", 32)
	if err := c.Create(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	for v := range values { // up to the last job, nothing is said of the one that was deleted after its end
		if v.Key == link.PrefixJob+last.Name {
			break
		}
		if v.Key == link.PrefixJob+id || v.Key == link.PrefixJob+ended.Name {
			t.Errorf("told %s", v.Value)
		}
	}
}

func newClient(t *testing.T, cluster *kubetest.Cluster) client.Client {
	t.Helper()
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
	for _, name := range []string{"amljobs", "instancetypes", "onlineendpoints", "onlinedeployments"} {
		doc, err := charts.FS.ReadFile("azureml/crds/amlarc.azureml.com_" + name + ".yaml")
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
		awaitServed(t, c, crd.Spec.Names.Kind)
	}
	return c
}

// awaitServed waits until the API server serves a new kind.
func awaitServed(t *testing.T, c client.Client, kind string) {
	t.Helper()
	timeout, tick := time.After(time.Minute), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := c.RESTMapper().RESTMapping(schema.GroupKind{Group: v1alpha1.GroupVersion.Group, Kind: kind}); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("%s is not served", kind)
		}
	}
}

// await reads values until one of the key satisfies ok.
func await[T any](t *testing.T, values <-chan link.Value, key string, ok func(T) bool) {
	t.Helper()
	timeout := time.After(time.Minute)
	last := ""
	for {
		select {
		case v := <-values:
			var got T
			if v.Key != key {
				continue
			}
			if err := json.Unmarshal(v.Value, &got); err != nil {
				t.Fatal(err)
			}
			if last = string(v.Value); ok(got) {
				return
			}
		case <-timeout:
			t.Fatalf("no fitting value of %s; the last was %s", key, last)
		}
	}
}
