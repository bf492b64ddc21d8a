package compute

import (
	"errors"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
	"fairlead.dev/fairlead/internal/link"
)

func TestCheck(t *testing.T) {
	seen := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	good := func() input {
		return input{resourceID: "/x/edge", namespace: "train", facts: clusterstate.Facts{
			Exists: true, Name: "edge", Connectivity: "Connected", LastSeen: seen,
			Extension: clusterstate.Extension{Exists: true, Name: "arcml", State: "Succeeded", Training: true},
			Nodes:     &link.NodesStatus{Namespaces: []string{"default", "train"}, InstanceTypes: []link.InstanceType{{Name: "gpu"}}}}}
	}
	if p := check(good()); p != nil {
		t.Fatalf("good compute: %v", p.err)
	}
	for name, c := range map[string]struct {
		change     func(*input)
		code, text string
		wait       time.Duration
	}{
		"wrong id":   {func(in *input) { in.idError = errors.New("it is of type X") }, "InvalidComputeInformation", "it is of type X", 0},
		"no cluster": {func(in *input) { in.facts = clusterstate.Facts{} }, "ClusterNotFound", `No cluster has the id "/x/edge"`, 0},
		"connecting": {func(in *input) { in.facts.Connectivity = "Connecting" }, "ClusterNotReachable", "Cluster edge has not been heard from", waitConnecting},
		"offline":    {func(in *input) { in.facts.Connectivity = "Offline" }, "ClusterNotReachable", "Cluster edge is offline since 2026-01-02T03:04:05Z; bring it back", 0},
		"expired":    {func(in *input) { in.facts.Connectivity = "Expired" }, "ClusterNotReachable", "has expired; delete it and connect it again", 0},
		"no extension": {func(in *input) { in.facts.Extension = clusterstate.Extension{} }, "ClusterServiceNotFound",
			"Cluster edge has no extension of type Microsoft.AzureML.Kubernetes; deploy it", 0},
		"no training":          {func(in *input) { in.facts.Extension.Training = false }, "E45004", "Training feature is not enabled", 0},
		"extension failed":     {func(in *input) { in.facts.Extension.State, in.facts.Extension.Error = "Failed", "no image" }, "ClusterServiceNotFound", "failed to install: no image", 0},
		"extension going":      {func(in *input) { in.facts.Extension.State = "Deleting" }, "ClusterServiceNotFound", "being deleted", 0},
		"extension installing": {func(in *input) { in.facts.Extension.State = "Creating" }, "ClusterServiceNotFound", "still being installed", waitInstalling},
		"no report":            {func(in *input) { in.facts.Nodes = nil }, "GenericComputeError", "cluster-status-reporter", waitReport},
		"no namespace": {func(in *input) { in.namespace = "ml" }, "InvalidComputeInformation",
			`no namespace "ml"; make it with 'kubectl create namespace ml', then attach again. It has: default, train`, waitNamespace},
		"no instance type": {func(in *input) { in.instanceType = "big" }, "InvalidComputeInformation", `"big", which cluster edge does not have; it has: defaultinstancetype, gpu`, waitNamespace},
	} {
		t.Run(name, func(t *testing.T) {
			in := good()
			c.change(&in)
			p := check(in)
			if p == nil {
				t.Fatal("no problem found")
			}
			if p.err.Code != c.code || !strings.Contains(p.err.Message, c.text) || p.wait != c.wait {
				t.Errorf("%s after %v: %s\nwant %s after %v with %q", p.err.Code, p.wait, p.err.Message, c.code, c.wait, c.text)
			}
		})
	}
}

func TestReconcile(t *testing.T) {
	e := typestest.New(t)
	e.Ready()
	c := New(e.Deps)
	id := typestest.Workspace + "/computes/c1"
	e.Put(id, strings.Replace(typestest.ComputeBody, "train", "nope", 1))
	if again := e.Step(c, id).RequeueAfter; again <= 0 {
		t.Error("does not wait for a newer report")
	}
	e.Advance(waitNamespace)
	e.Heartbeat()
	e.Step(c, id)
	errs, _ := e.Prop(id, "provisioningErrors").([]any)
	if e.Prop(id, "provisioningState") != "Failed" || len(errs) != 1 {
		t.Fatalf("without namespace: %v", e.Show(id)["properties"])
	}
	e.Put(id, typestest.ComputeBody)
	e.Step(c, id)
	if errs, _ := e.Prop(id, "provisioningErrors").([]any); e.Prop(id, "provisioningState") != "Succeeded" || len(errs) != 0 {
		t.Errorf("attached again: %v", e.Show(id)["properties"])
	}
	ops, err := e.Store.OperationsOf(e.Ctx, strings.ToLower(id))
	if err != nil || len(ops) != 0 {
		t.Errorf("operations left: %v, %v", ops, err)
	}
}
