package deployment_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/controlplane/reconcile/deployment"
	"fairlead.dev/fairlead/internal/controlplane/reconcile/endpoint"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
	"fairlead.dev/fairlead/internal/link"
)

const key = link.PrefixDeployment + "digits/blue"

func TestDeployment(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	c := deployment.New(e.Deps)
	e.Put(typestest.Blue, typestest.BlueBody)
	step := func() { t.Helper(); e.Step(c, typestest.Blue) }
	told := func() (d link.Deployment, spec v1alpha1.OnlineDeploymentSpec) {
		t.Helper()
		if !e.Desired(key, &d) {
			t.Fatal("the cluster was not told of the deployment")
		}
		if err := json.Unmarshal(d.Spec, &spec); err != nil {
			t.Fatal(err)
		}
		return d, spec
	}
	step()
	d, spec := told()
	if d.Namespace != "train" || !strings.HasPrefix(d.Secret["token"], "token of 22222222-") || spec.TokenSecret != v1alpha1.DeploymentObjectName("digits", "blue")+"-fetchtoken-secrets" {
		t.Errorf("told %+v", d)
	}
	if !strings.HasSuffix(spec.Model.URL, "/LocalUpload/x/model/") || spec.Code.ScoringScript != "score.py" || spec.Image != "docker.io/library/sklearn:1" || spec.Scale.Max != 1 {
		t.Errorf("spec %+v", spec)
	}

	e.Observe(key, link.ServingStatus{Revision: d.Revision, State: "Pending", Reason: "ContainerCreating", Message: "pulling the image"})
	e.Step(c, "observed:"+strings.ToLower(typestest.Cluster)+" "+key)
	if e.Prop(typestest.Blue, "provisioningState") != "Creating" || e.Prop(typestest.Blue, "properties", "fairlead.statusMessage") != "pulling the image" {
		t.Errorf("%v", e.Show(typestest.Blue)["properties"])
	}
	e.Observe(key, link.ServingStatus{Revision: d.Revision, State: "Succeeded"})
	step()
	if e.Prop(typestest.Blue, "provisioningState") != "Succeeded" || e.Prop(typestest.Blue, "properties", "fairlead.statusMessage") != nil {
		t.Errorf("%v", e.Show(typestest.Blue)["properties"])
	}
	if ops, err := e.Store.OperationsOf(e.Ctx, strings.ToLower(typestest.Blue)); err != nil || len(ops) != 0 {
		t.Errorf("operations left: %v, %v", ops, err)
	}

	e.Advance(29 * 24 * time.Hour)
	step()
	if young, _ := told(); young.Secret["token"] != d.Secret["token"] {
		t.Error("the token was renewed too early")
	}
	e.Advance(2 * 24 * time.Hour)
	step()
	renewed, _ := told()
	if renewed.Secret["token"] == d.Secret["token"] || renewed.Revision != d.Revision {
		t.Error("the token was not renewed, or the pods with it")
	}

	e.Put(typestest.Blue, strings.Replace(typestest.BlueBody, `"properties":{`, `"properties":{"environmentVariables":{"A":"b"},`, 1))
	step()
	updated, _ := told()
	if updated.Revision == d.Revision || e.Prop(typestest.Blue, "provisioningState") != "Updating" {
		t.Errorf("after an update: %s, %v", updated.Revision, e.Prop(typestest.Blue, "provisioningState"))
	}
	e.Advance(time.Second)
	e.Heartbeat()
	e.Observe(key, link.ServingStatus{Revision: updated.Revision, State: "Failed", Reason: "DeploymentCrashLoopBackOff", Message: "inference-server said: no module sklearn"})
	step()
	if e.Prop(typestest.Blue, "provisioningState") != "Failed" || e.Prop(typestest.Blue, "properties", "fairlead.statusReason") != "DeploymentCrashLoopBackOff" {
		t.Errorf("%v", e.Show(typestest.Blue)["properties"])
	}
}

// TestMadeAgain: a deployment that is like a deleted one of the same name is told as another, so that the cluster speaks of it anew.
func TestMadeAgain(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	c := deployment.New(e.Deps)
	revision := func() string {
		t.Helper()
		e.Put(typestest.Blue, typestest.BlueBody)
		e.Step(c, typestest.Blue)
		var d link.Deployment
		if !e.Desired(key, &d) {
			t.Fatal("not told")
		}
		return d.Revision
	}
	first := revision()
	if err := e.TryDelete(typestest.Blue, false); err != nil {
		t.Fatal(err)
	}
	if second := revision(); second == first {
		t.Error("told as the same")
	}
}

// TestChangedMeanwhile: what is deleted or written while its desired value is prepared is not told as it was.
func TestChangedMeanwhile(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	e.Put(typestest.Blue, typestest.BlueBody)
	c := deployment.New(e.Deps)
	e.Step(c, typestest.Blue)
	tell := c.Tell
	during := func(do func()) error {
		c.Tell = func(ctx context.Context, rec store.Record, old json.RawMessage) (func(context.Context, store.Tx, store.Record) (store.Record, error), error) {
			write, err := tell(ctx, rec, old)
			do()
			return write, err
		}
		_, err := c.Reconcile(e.Ctx, strings.ToLower(typestest.Blue))
		return err
	}
	e.Observe(key, link.ServingStatus{Revision: told(t, e).Revision, State: link.ServingSucceeded})
	e.Step(c, typestest.Blue)
	if err := during(func() {
		e.Put(typestest.Blue, strings.Replace(typestest.BlueBody, `"properties":{`, `"tags":{"a":"b"},"properties":{`, 1))
	}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("written meanwhile: %v, want ErrConflict", err)
	}
	if err := during(func() {
		if err := e.TryDelete(typestest.Blue, true); err != nil {
			t.Error(err)
		}
	}); err != nil {
		t.Errorf("deleted meanwhile: %v", err)
	}
	if e.Desired(key, new(link.Deployment)) {
		t.Error("the cluster is told of what was deleted")
	}
}

func told(t *testing.T, e *typestest.Env) link.Deployment {
	t.Helper()
	var d link.Deployment
	if !e.Desired(key, &d) {
		t.Fatal("not told")
	}
	return d
}

// TestLost: a cluster that is connected anew is told again, and what it says of what is gone is dropped.
func TestLost(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	e.Put(typestest.Blue, typestest.BlueBody)
	cluster := strings.ToLower(typestest.Cluster)
	d, ep := deployment.New(e.Deps), endpoint.New(e.Deps)
	e.Step(d, typestest.Blue)
	if err := e.Store.Update(e.Ctx, func(tx store.Tx) error {
		if err := tx.DeleteDesired(e.Ctx, cluster, "endpoint/digits"); err != nil {
			return err
		}
		return tx.DeleteDesired(e.Ctx, cluster, key)
	}); err != nil {
		t.Fatal(err)
	}
	e.Step(ep, "cluster:"+cluster)
	e.Step(d, "cluster:"+cluster)
	if !e.Desired("endpoint/digits", &link.Endpoint{}) || !e.Desired(key, &link.Deployment{}) {
		t.Error("not told again")
	}
	e.Observe("deployment/digits/gone", link.ServingStatus{State: "Succeeded"})
	e.Step(d, "observed:"+cluster+" deployment/digits/gone")
	if _, err := e.Store.Observed(e.Ctx, cluster, "deployment/digits/gone"); err == nil {
		t.Error("word of a deployment that is gone was kept")
	}
}

func TestEndpointEndsItsOperation(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	c := endpoint.New(e.Deps)
	e.Put(typestest.Endpoint, `{"properties":{"description":"new"}}`)
	e.Step(c, typestest.Endpoint)
	if e.Prop(typestest.Endpoint, "provisioningState") != "Updating" {
		t.Fatal("ended before the cluster spoke")
	}
	var told link.Endpoint
	if !e.Desired("endpoint/digits", &told) {
		t.Fatal("not told")
	}
	e.Observe("endpoint/digits", link.ServingStatus{Revision: told.Revision, State: "Succeeded"})
	e.Step(c, typestest.Endpoint)
	if e.Prop(typestest.Endpoint, "provisioningState") != "Succeeded" {
		t.Errorf("%v", e.Show(typestest.Endpoint)["properties"])
	}
}

// TestIdentity: pods learn whom they speak as, and what to send, which stays while the token is renewed and the deployment updated.
func TestIdentity(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	c := deployment.New(e.Deps)
	with := strings.Replace(typestest.BlueBody, "{", `{"identity":{"type":"SystemAssigned"},`, 1)
	told := func(body string) (link.Deployment, *v1alpha1.ManagedIdentity) {
		t.Helper()
		if body != "" {
			e.Put(typestest.Blue, body)
		}
		e.Step(c, typestest.Blue)
		var d link.Deployment
		var spec v1alpha1.OnlineDeploymentSpec
		if !e.Desired(key, &d) {
			t.Fatal("the cluster was not told of the deployment")
		}
		if err := json.Unmarshal(d.Spec, &spec); err != nil {
			t.Fatal(err)
		}
		e.Set(typestest.Blue, map[string]any{"provisioningState": "Succeeded"})
		return d, spec.Identity
	}
	if d, is := told(typestest.BlueBody); is != nil || d.Secret[v1alpha1.IdentityHeader] != "" {
		t.Errorf("without identity: %+v", is)
	}
	first, is := told(with)
	if is == nil || is.ClientID == "" || is.PrincipalID != e.Show(typestest.Blue)["identity"].(map[string]any)["principalId"] || !strings.HasSuffix(is.TokenURL, "/oauth2/v2.0/token") {
		t.Fatalf("identity %+v", is)
	}
	header := first.Secret[v1alpha1.IdentityHeader]
	if len(header) < 26 || first.Secret[v1alpha1.FetchToken] == "" {
		t.Fatalf("header %q", header)
	}
	e.Advance(31 * 24 * time.Hour)
	if d, _ := told(""); d.Secret[v1alpha1.IdentityHeader] != header || d.Secret[v1alpha1.FetchToken] == first.Secret[v1alpha1.FetchToken] {
		t.Error("a renewal of the token changed what processes send, or there was none")
	}
	if d, again := told(strings.Replace(with, `"properties":{`, `"properties":{"environmentVariables":{"A":"b"},`, 1)); d.Secret[v1alpha1.IdentityHeader] != header || *again != *is {
		t.Errorf("an update changed what processes send, or the identity: %+v", again)
	}
	if d, is := told(strings.Replace(with, "SystemAssigned", "None", 1)); is != nil || d.Secret[v1alpha1.IdentityHeader] != "" {
		t.Errorf("taken away: %+v", is)
	}
}

// TestOrphan: what a cluster is told of and no record stands for is forgotten, as soon as the cluster speaks of it.
func TestOrphan(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	c := deployment.New(e.Deps)
	e.Put(typestest.Blue, typestest.BlueBody)
	e.Step(c, typestest.Blue)
	cluster := strings.ToLower(typestest.Cluster)
	left, err := e.Store.Desired(e.Ctx, cluster, key, 0)
	if err != nil || len(left) != 1 {
		t.Fatalf("told %v, %v", left, err)
	}
	if err := e.TryDelete(typestest.Blue, false); err != nil {
		t.Fatal(err)
	}
	if err := e.Store.Update(e.Ctx, func(tx store.Tx) error { return tx.PutDesired(e.Ctx, cluster, key, left[0].Value) }); err != nil {
		t.Fatal(err)
	}
	e.Observe(key, link.ServingStatus{State: "Succeeded"})
	e.Step(c, "observed:"+cluster+" "+key)
	var d link.Deployment
	if e.Desired(key, &d) {
		t.Error("the cluster is told of what is not there")
	}
	if _, err := e.Store.Observed(e.Ctx, cluster, key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("what the cluster said stays: %v", err)
	}
	e.Put(typestest.Blue, typestest.BlueBody)
	e.Step(c, typestest.Blue)
	e.Observe(key, link.ServingStatus{State: "Succeeded"})
	e.Step(c, "observed:"+cluster+" "+key)
	if !e.Desired(key, &d) {
		t.Error("what is there was forgotten")
	}
}

// TestKeys: whatever its kind, a cluster whose state or extension changes wakes what serves in it.
func TestKeys(t *testing.T) {
	c := deployment.New(typestest.New(t).Deps)
	for name, ch := range map[string]store.Change{
		"connected cluster": {Kind: "resource", Type: clusterstate.ClusterType, Key: "/c"},
		"managed cluster":   {Kind: "resource", Type: clusterstate.ManagedType, Key: "/c"},
		"extension":         {Kind: "resource", Type: clusterstate.ExtensionType, Key: clusterstate.ExtensionKey("/c", "e"), Deleted: true},
	} {
		if got := c.Keys(ch); len(got) != 1 || got[0] != "cluster:/c" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := c.Keys(store.Change{Kind: "resource", Type: clusterstate.ClusterType, Key: "/c", Deleted: true}); got != nil {
		t.Errorf("of a cluster that is gone: %q", got)
	}
}
