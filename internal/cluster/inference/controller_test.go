package inference

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/api/routerload"
	"fairlead.dev/fairlead/internal/testing/kubetest"
)

// stage is a real API server with the operator on it; Deployment controller, kubelet and router are played by the test.
type stage struct {
	t      *testing.T
	c      client.WithWatch
	router *router
}

// router tells a load at any address.
type router struct {
	mu   sync.Mutex
	load map[string]routerload.Load
	addr string
}

func newRouter(t *testing.T) *router {
	r := &router{load: map[string]routerload.Load{}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != routerload.Path {
			http.NotFound(w, q)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		_ = json.NewEncoder(w).Encode(routerload.Report{Deployments: r.load})
	}))
	t.Cleanup(s.Close)
	r.addr = s.Listener.Addr().String()
	return r
}

func (r *router) tell(deployment string, l routerload.Load) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.load["ml/"+deployment] = l
}

// client reaches the router under the addresses 10.9.9.*; nothing answers at others.
func (r *router) client() *http.Client {
	return &http.Client{Timeout: loadTimeout, Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, port, _ := net.SplitHostPort(address); port != "9001" || host[:7] != "10.9.9." {
			return nil, &net.AddrError{Err: "nobody is there", Addr: address}
		}
		return (&net.Dialer{}).DialContext(ctx, network, r.addr)
	}}}
}

func newStage(t *testing.T) *stage {
	t.Helper()
	log.SetLogger(logr.Discard())
	kube := kubetest.Start(t)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	c, err := client.NewWithWatch(kube.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, c: c, router: newRouter(t)}
	files, _ := filepath.Glob("../../../charts/azureml/crds/amlarc*.yaml")
	for _, f := range files {
		b, err := os.ReadFile(f)
		s.must(err)
		var crd apiextensionsv1.CustomResourceDefinition
		s.must(yaml.Unmarshal(b, &crd))
		s.must(c.Create(t.Context(), &crd))
		until(s, &crd, &apiextensionsv1.CustomResourceDefinitionList{}, func(c *apiextensionsv1.CustomResourceDefinition) bool {
			for _, cond := range c.Status.Conditions {
				if cond.Type == apiextensionsv1.Established && cond.Status == apiextensionsv1.ConditionTrue {
					return true
				}
			}
			return false
		})
	}
	for _, ns := range []string{"ml", "azureml"} {
		s.must(c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}))
	}
	mgr, err := ctrl.NewManager(kube.Config, ctrl.Options{Scheme: scheme, Cache: CacheOptions("azureml"), Metrics: metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: new(true)}})
	s.must(err)
	s.must(Add(mgr, Config{RuntimeImage: "fairlead/runtime:1", PullSecret: "extension", ModelCache: true, HTTP: s.router.client()}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("manager: %v", err)
		}
	})
	return s
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// until watches one object until it is as wanted.
func until[T client.Object](s *stage, obj T, list client.ObjectList, ok func(T) bool) T {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Minute)
	defer cancel()
	w, err := s.c.Watch(ctx, list, client.InNamespace(obj.GetNamespace()), client.MatchingFields{"metadata.name": obj.GetName()})
	s.must(err)
	defer w.Stop()
	var last any
	for {
		select {
		case e, open := <-w.ResultChan():
			if !open {
				s.t.Fatal("watch ended")
			}
			if o, is := e.Object.(T); is && e.Type != watch.Deleted {
				if last = o; ok(o) {
					return o
				}
			}
		case <-ctx.Done():
			b, _ := yaml.Marshal(last)
			s.t.Fatalf("object did not become as wanted; last:\n%s", b)
		}
	}
}

func (s *stage) create(name string, edit ...func(*v1alpha1.OnlineDeployment)) *v1alpha1.OnlineDeployment {
	s.t.Helper()
	od := aDeployment(edit...)
	od.ObjectMeta = metav1.ObjectMeta{Name: name, Namespace: "ml"}
	s.must(s.c.Create(s.t.Context(), od))
	return od
}

func (s *stage) state(name, state, reason string) *v1alpha1.OnlineDeployment {
	s.t.Helper()
	od := &v1alpha1.OnlineDeployment{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ml"}}
	return until(s, od, &v1alpha1.OnlineDeploymentList{}, func(od *v1alpha1.OnlineDeployment) bool {
		return od.Status.State == state && od.Status.Reason == reason && od.Status.ObservedGeneration == od.Generation
	})
}

func (s *stage) deployment(name string, ok func(*appsv1.Deployment) bool) *appsv1.Deployment {
	s.t.Helper()
	return until(s, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ml"}}, &appsv1.DeploymentList{}, ok)
}

func wants(n int32) func(*appsv1.Deployment) bool {
	return func(d *appsv1.Deployment) bool { return *d.Spec.Replicas == n }
}

// play makes the Deployment's status as its controller does when all pods are up.
func (s *stage) play(name string) {
	s.t.Helper()
	d := s.deployment(name, func(*appsv1.Deployment) bool { return true })
	n := *d.Spec.Replicas
	before := d.DeepCopy()
	d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, UpdatedReplicas: n, ReadyReplicas: n, AvailableReplicas: n}
	s.must(s.c.Status().Patch(s.t.Context(), d, client.MergeFrom(before)))
}

// pod makes a pod of the Deployment's template, with a status.
func (s *stage) pod(d *appsv1.Deployment, name string, edit func(*corev1.Pod)) {
	s.t.Helper()
	p := &corev1.Pod{ObjectMeta: *d.Spec.Template.ObjectMeta.DeepCopy(), Spec: *d.Spec.Template.Spec.DeepCopy()}
	p.Name, p.Namespace, p.Spec.NodeName = name, "ml", "node-1"
	s.must(s.c.Create(s.t.Context(), p))
	edit(p)
	s.must(s.c.Status().Update(s.t.Context(), p))
}

func TestController(t *testing.T) {
	s := newStage(t)
	s.must(s.c.Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "azureml-fe-1", Namespace: "azureml", Labels: map[string]string{discoveryv1.LabelServiceName: v1alpha1.RouterService}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.9.9.1"}}},
	}))

	t.Run("is made, mended, updated and rolled back", func(t *testing.T) {
		s := &stage{t, s.c, s.router}
		s.create("blue")
		d := s.deployment("blue", wants(2))
		if got := d.Spec.Template.Spec.ImagePullSecrets; len(got) != 1 || got[0].Name != "extension" {
			t.Errorf("pull secrets %v", got)
		}
		key := client.ObjectKey{Namespace: "ml", Name: "blue"}
		for _, o := range renderBeside(aDeployment(), testConfig(t)) {
			s.must(s.c.Get(t.Context(), key, o))
			if refs := o.GetOwnerReferences(); len(refs) != 1 || refs[0].Kind != "OnlineDeployment" {
				t.Errorf("%T is owned by %v", o, refs)
			}
		}
		s.state("blue", v1alpha1.DeploymentCreating, "")
		s.play("blue")
		od := s.state("blue", v1alpha1.DeploymentSucceeded, "")

		s.must(s.c.Delete(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "blue", Namespace: "ml"}}))
		until(s, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "blue", Namespace: "ml"}}, &corev1.ServiceList{}, func(o *corev1.Service) bool { return o.Spec.ClusterIP == "None" })

		s.pod(d, "blue-old", serves)
		changed := od.DeepCopy()
		changed.Spec.Image, changed.Spec.Routes.Port = "registry.example/py:2", 5002
		s.must(s.c.Patch(t.Context(), changed, client.MergeFrom(od)))
		d = s.deployment("blue", func(d *appsv1.Deployment) bool {
			return d.Spec.Template.Spec.Containers[0].Image == "registry.example/py:2"
		})
		until(s, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "blue", Namespace: "ml"}}, &corev1.ServiceList{}, func(o *corev1.Service) bool { return o.Spec.Ports[0].Port == 5002 })
		s.state("blue", v1alpha1.DeploymentUpdating, "")
		s.pod(d, "blue-new", crashed(server, "Error", 1, 3, "boom"))
		s.state("blue", v1alpha1.DeploymentFailed, ReasonCrash)
	})
	t.Run("waits for its instance type", func(t *testing.T) {
		s := &stage{t, s.c, s.router}
		s.create("typed", func(od *v1alpha1.OnlineDeployment) { od.Spec.InstanceType = "small" })
		s.state("typed", v1alpha1.DeploymentFailed, ReasonInvalid)
		s.must(s.c.Create(t.Context(), &v1alpha1.InstanceType{ObjectMeta: metav1.ObjectMeta{Name: "small"}, Spec: v1alpha1.ImplicitDefault()}))
		s.deployment("typed", wants(2))
	})
	t.Run("follows the load, to zero and back", func(t *testing.T) {
		s := &stage{t, s.c, s.router}
		s.create("auto", func(od *v1alpha1.OnlineDeployment) {
			od.Spec.Scale = v1alpha1.DeploymentScale{Min: 0, Max: 5, TargetUtilizationPercentage: 70, PollingIntervalSeconds: 1}
		})
		s.deployment("auto", wants(1))
		s.router.tell("auto", routerload.Load{Busy: 2, Queued: 1})
		s.deployment("auto", wants(5))
		s.play("auto")
		s.state("auto", v1alpha1.DeploymentSucceeded, "")
		s.router.tell("auto", routerload.Load{})
		s.deployment("auto", wants(0))
		s.play("auto")
		s.state("auto", v1alpha1.DeploymentSucceeded, "")
		s.router.tell("auto", routerload.Load{Queued: 1})
		s.deployment("auto", wants(2))
	})
	t.Run("speaks as an identity", func(t *testing.T) { testIdentity(&stage{t, s.c, s.router}) })
	t.Run("leaves alone what is not its own", func(t *testing.T) {
		s := &stage{t, s.c, s.router}
		labels := map[string]string{"app": "database"}
		s.must(s.c.Create(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "database", Namespace: "ml"}, Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "db", Image: "db"}}}},
		}}))
		s.create("database")
		until(s, &v1alpha1.OnlineDeployment{ObjectMeta: metav1.ObjectMeta{Name: "database", Namespace: "ml"}}, &v1alpha1.OnlineDeploymentList{}, func(od *v1alpha1.OnlineDeployment) bool {
			return od.Status.Message != "" && od.Status.State == v1alpha1.DeploymentCreating
		})
		if d := s.deployment("database", func(*appsv1.Deployment) bool { return true }); d.Spec.Template.Spec.Containers[0].Name != "db" {
			t.Error("somebody else's Deployment was changed")
		}
	})
}

// TestLoads: every router is asked, what they carry adds up, and one that does not answer is noticed.
func TestLoads(t *testing.T) {
	r := newRouter(t)
	r.tell("auto", routerload.Load{Busy: 2, Queued: 3, Peak: 6})
	a := newAutoscaler(Config{HTTP: r.client()}, nil)
	for _, address := range []string{"10.9.9.1:9001", "10.9.9.2:9001"} {
		if got, err := a.ask(t.Context(), address); err != nil || got.Deployments["ml/auto"].Peak != 6 {
			t.Errorf("%s: %+v, %v", address, got, err)
		}
	}
	if _, err := a.ask(t.Context(), "10.8.8.8:9001"); err == nil {
		t.Error("a router that is not there answered")
	}
}
