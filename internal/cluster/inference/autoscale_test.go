package inference

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/api/routerload"
)

// newScene is an autoscaler in a cluster of these objects, with a router that answers at 10.9.9.*.
func newScene(t *testing.T, objects ...client.Object) (*autoscaler, *router) {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	r := newRouter(t)
	return newAutoscaler(Config{HTTP: r.client(), RouterNamespace: "azureml"}, fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()), r
}

// routersAt is where the routers are.
func routersAt(endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "azureml-fe", Namespace: "azureml",
		Labels: map[string]string{discoveryv1.LabelServiceName: v1alpha1.RouterService}}, Endpoints: endpoints}
}

func endpoint(address string, ready, serving, terminating bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}}
}

// TestPeakBetweenLooks: a deployment that is polled slowly has the peaks, too, that routers told when another was looked at.
func TestPeakBetweenLooks(t *testing.T) {
	var objects []client.Object
	for name, seconds := range map[string]int32{"slow": 10, "fast": 1} {
		objects = append(objects, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ml"}, Spec: appsv1.DeploymentSpec{Replicas: new(int32(1))}},
			&v1alpha1.OnlineDeployment{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ml"}, Spec: v1alpha1.OnlineDeploymentSpec{
				Scale: v1alpha1.DeploymentScale{Min: 0, Max: 9, TargetUtilizationPercentage: 70, PollingIntervalSeconds: seconds}}})
	}
	a, r := newScene(t, append(objects, routersAt(endpoint("10.9.9.1", true, true, false)))...)
	now := time.Unix(1_000_000, 0)
	for second := range 11 {
		r.tell("slow", routerload.Load{})
		if second == 3 {
			r.tell("slow", routerload.Load{Peak: 4})
		}
		if err := a.tick(t.Context(), now.Add(time.Duration(second)*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	if s := a.scales[types.NamespacedName{Namespace: "ml", Name: "slow"}]; s.history.busiest() != 6 || s.peak != 0 {
		t.Errorf("its busiest moment needed %d pods, want 6 for 4 requests at 70%%; %d are left for the next time", s.history.busiest(), s.peak)
	}
}

// TestEndingRouters: what a router has that is ending counts; that it has ended is no reason to know less of the others.
func TestEndingRouters(t *testing.T) {
	for name, tt := range map[string]struct {
		endpoints []discoveryv1.Endpoint
		busy      int
		complete  bool
	}{
		"one of two drains":     {[]discoveryv1.Endpoint{endpoint("10.9.9.1", true, true, false), endpoint("10.9.9.2", false, false, true)}, 4, true},
		"one has drained":       {[]discoveryv1.Endpoint{endpoint("10.9.9.1", true, true, false), endpoint("10.8.8.2", false, false, true)}, 2, true},
		"one does not answer":   {[]discoveryv1.Endpoint{endpoint("10.9.9.1", true, true, false), endpoint("10.8.8.2", true, true, false)}, 2, false},
		"one is not up yet":     {[]discoveryv1.Endpoint{endpoint("10.9.9.1", true, true, false), endpoint("10.8.8.2", false, false, false)}, 2, true},
		"there is no router":    {nil, 0, false},
		"conditions are absent": {[]discoveryv1.Endpoint{{Addresses: []string{"10.9.9.1"}}}, 2, true},
	} {
		t.Run(name, func(t *testing.T) {
			a, r := newScene(t, routersAt(tt.endpoints...))
			r.tell("one", routerload.Load{Busy: 2})
			sum, complete, _ := a.loads(t.Context())
			if got := sum["ml/one"].Busy; got != tt.busy || complete != tt.complete {
				t.Errorf("%d busy, complete %t", got, complete)
			}
		})
	}
}
