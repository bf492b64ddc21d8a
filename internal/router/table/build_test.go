package table_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/router/gate"
	"fairlead.dev/fairlead/internal/router/routertest"
	"fairlead.dev/fairlead/internal/router/table"
)

func TestPodsOfSlices(t *testing.T) {
	no := false
	objects := routertest.One("one", nil, "10.0.0.1:5001", "10.0.0.2:7000", "10.0.0.3:5001")
	objects.Slices[2].Endpoints[0].Conditions.Ready = &no
	objects.Slices[1].Endpoints[0].Conditions.Ready = nil
	objects.Slices = append(objects.Slices, routertest.Slices("one", "blue", "10.0.0.1:5001")...) // the same pod in two slices
	unnamed := routertest.Slices("one", "blue", "[fd00::1]:1")[0]
	unnamed.Ports = nil // the deployment's port
	other := routertest.Slices("other", "blue", "10.0.0.9:5001")
	objects.Slices = append(objects.Slices, append(other, unnamed)...)
	var b table.Builder
	d := b.Build(objects).Endpoint("ONE").Named("Blue")
	want := []string{"10.0.0.1:5001", "10.0.0.2:7000", "[fd00::1]:5001"}
	if len(d.Pods) != len(want) {
		t.Fatalf("pods %v, want %v", d.Pods, want)
	}
	for i := range want {
		if d.Pods[i] != want[i] {
			t.Errorf("pods %v, want %v", d.Pods, want)
		}
	}
}

// TestQueueWait: requests wait as long as the deployment says, also if it says not at all.
func TestQueueWait(t *testing.T) {
	for _, ms := range []int64{0, 30} {
		synctest.Test(t, func(t *testing.T) {
			var b table.Builder
			g := b.Build(routertest.One("one", func(d *v1alpha1.OnlineDeployment) {
				d.Spec.Requests.MaxConcurrentPerInstance, d.Spec.Requests.MaxQueueWaitMilliseconds = 1, ms
			}, "10.0.0.1:5001")).Endpoint("one").Named("blue").Gate
			if _, err := g.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			_, err := g.Acquire(t.Context())
			if took := time.Since(begin); !errors.Is(err, gate.ErrWaited) || took.Milliseconds() != ms {
				t.Errorf("%v after %v, want %d ms", err, took, ms)
			}
		})
	}
}

func TestGatesAndVerifiersGoOn(t *testing.T) {
	var b table.Builder
	first := b.Build(routertest.One("one", nil, "10.0.0.1:1"))
	second := b.Build(routertest.One("one", func(d *v1alpha1.OnlineDeployment) { d.Spec.Requests.TimeoutMilliseconds = 1 }, "10.0.0.2:1"))
	if first.Endpoint("one").Named("blue").Gate != second.Endpoint("one").Named("blue").Gate {
		t.Error("the line was lost")
	}
	if first.Endpoint("one").Auth != second.Endpoint("one").Auth {
		t.Error("verified tokens were forgotten")
	}
	changed := routertest.One("one", nil)
	changed.Endpoints[0].Spec.Auth.KeyHashes = []string{routertest.HashOf("new")}
	if err := b.Build(changed).Endpoint("one").Auth.Check("Bearer " + routertest.Key("one")); err == nil {
		t.Error("a key that was taken away is accepted")
	}
	gone := second.Endpoint("one").Named("blue").Gate
	if b.Build(table.Objects{}).Endpoint("one") != nil {
		t.Error("a deleted endpoint is there")
	}
	if _, err := gone.Acquire(t.Context()); err == nil {
		t.Error("a deleted deployment takes requests")
	}
}

func TestNameInTwoNamespaces(t *testing.T) {
	older, younger := routertest.Endpoint("one", "blue=100"), routertest.Endpoint("one", "blue=100")
	younger.Namespace, younger.Spec.Auth.KeyHashes = "a-team", []string{routertest.HashOf("stolen")}
	now := time.Now()
	older.CreationTimestamp, younger.CreationTimestamp = metav1.NewTime(now), metav1.NewTime(now.Add(time.Second))
	d := routertest.Deployment("one", "blue")
	d.Namespace = "a-team"
	var b table.Builder
	e := b.Build(table.Objects{
		Endpoints: []*v1alpha1.OnlineEndpoint{younger, older}, Deployments: []*v1alpha1.OnlineDeployment{d}, Slices: []*discoveryv1.EndpointSlice{},
	}).Endpoint("one")
	if e.Auth.Check("Bearer stolen") == nil || e.Named("blue") != nil {
		t.Error("the younger endpoint of another namespace took the name over")
	}
}
