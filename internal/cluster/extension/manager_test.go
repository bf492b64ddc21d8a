package extension

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/internal/cluster/claims"
	"fairlead.dev/fairlead/internal/cluster/extension/helm"
	"fairlead.dev/fairlead/internal/cluster/preflight"
	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/mountbroker"
	"fairlead.dev/fairlead/internal/testing/kubetest"
)

// The test's kubelet cannot pull badImage, for which the manager waits until its deadline, and refuses refusedImage for good.
const badImage, refusedImage = "registry.example/bad:1", "registry.example/refused:1"

// harness is a manager over a real API server whose Deployments become ready as a kubelet would make them.
type harness struct {
	t      *testing.T
	config *rest.Config
	kube   kubernetes.Interface
	image  string // of the agent that starts next
	// version is its chart's; empty is the real one.
	version string
	// deadline is how long that agent waits for pods: for long, unless the end of a deadline is what is tested.
	deadline time.Duration

	mu sync.Mutex
	// sick is an image with which the gateway is not ready, crashing one with which its container ends again and again.
	sick, crashing string
	statuses       map[string]link.ExtensionStatus
	changed        chan struct{}
	// forgotten is how often what the extension leaves was to be taken away; the first time it is in vain.
	forgotten int
}

// newHarness starts an API server with one node, and what plays its controllers and kubelet.
func newHarness(t *testing.T) *harness {
	cluster := kubetest.Start(t)
	kube := kubernetes.NewForConfigOrDie(cluster.Config)
	h := &harness{
		t: t, config: cluster.Config, kube: kube, image: "fairlead/agent:1", deadline: 2 * time.Minute,
		statuses: map[string]link.ExtensionStatus{}, changed: make(chan struct{}, 1),
	}
	if _, err := kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "azure-arc"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	kubetest.AddNode(t, kube, "n1")
	kubelet, stopKubelet := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { h.kubelet(kubelet) })
	t.Cleanup(func() {
		stopKubelet()
		wg.Wait()
	})
	return h
}

func TestManager(t *testing.T) {
	h := newHarness(t)
	kube := h.kube
	h.deadline = 4 * time.Second
	m, stop := h.start()
	m.Synced()
	ext := link.Extension{Name: "arcml", ExtensionType: "Microsoft.AzureML.Kubernetes", ReleaseNamespace: "azureml", Generation: 1, Settings: map[string]string{"enableTraining": "True"}}

	t.Run("a cluster that cannot take it is told so and nothing is applied", func(t *testing.T) { h.testPreflight(t, m, ext) })
	t.Run("a first installation that fails is taken away and says why", func(t *testing.T) {
		bad := ext
		bad.Settings = map[string]string{"enableTraining": "True", "image.agent": badImage}
		m.Put(bad)
		s := h.await(t, "arcml", link.ExtensionFailed, 1)
		for _, want := range []string{
			"Error: [ InnerError: [Helm installation failed : its pods did not become ready : InnerError [release arcml failed, and has been uninstalled due to atomic being set: timed out waiting for the condition",
			`pod azureml/gateway-bad: container gateway: ImagePullBackOff: Back-off pulling image "registry.example/bad:1"`, "occurred while doing the operation : [Create] on the config",
		} {
			if !strings.Contains(s.Message, want) {
				t.Errorf("message %q\nhas not %q", s.Message, want)
			}
		}
		if n := h.deployments(); n != 0 {
			t.Errorf("%d deployments are left", n)
		}
	})
	t.Run("a new generation installs", func(t *testing.T) {
		stop()
		h.leftover(t)
		h.deadline = 2 * time.Minute // for all that follows
		m, stop = h.start()
		ext.Generation = 2
		m.Put(ext)
		m.Synced()
		s := h.await(t, "arcml", link.ExtensionInstalled, 2)
		if c := code(s, "E48006"); !strings.Contains(c.Message, "ClusterRole azureml-gateway") {
			t.Errorf("statuses %+v do not tell of what was left", s.Checks)
		}
		if _, err := kube.AppsV1().StatefulSets("azureml").Get(t.Context(), "frameworkcontroller", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
	})
	t.Run("instance types are validated", func(t *testing.T) { testInstanceTypes(t, h.config) })
	t.Run("components may do what they need and no more", func(t *testing.T) { testRights(t, kube) })
	t.Run("the gateway is shown no Secret", func(t *testing.T) { testSecrets(t, kube, h.config) })
	t.Run("aml-operator ends only pods of jobs", func(t *testing.T) { testPods(t, kube, h.config) })
	t.Run("an upgrade that fails is rolled back", func(t *testing.T) {
		bad := ext
		bad.Generation, bad.Settings = 3, map[string]string{"enableTraining": "True", "image.agent": refusedImage}
		m.Put(bad)
		s := h.await(t, "arcml", link.ExtensionFailed, 3)
		if want := "release arcml failed, and has been rolled back due to atomic being set"; !strings.Contains(s.Message, want) {
			t.Errorf("message %q\nhas not %q", s.Message, want)
		}
		d, err := kube.AppsV1().Deployments("azureml").Get(t.Context(), "gateway", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Spec.Template.Spec.Containers[0].Image; got == refusedImage {
			t.Error("the gateway still has the bad image")
		}
	})
	t.Run("a restarted agent says again what failed and does nothing", func(t *testing.T) {
		stop()
		h.forget()
		m, stop = h.start()
		bad := ext
		bad.Generation, bad.Settings = 3, map[string]string{"enableTraining": "True", "image.agent": refusedImage}
		m.Put(bad)
		m.Synced()
		h.await(t, "arcml", link.ExtensionFailed, 3)
	})
	t.Run("an upgrade removes what is switched off", func(t *testing.T) {
		ext.Generation, ext.Settings = 4, map[string]string{"enableTraining": "False", "enableInference": "True", "allowInsecureConnections": "True", "inferenceRouterServiceType": "nodePort"}
		attach(t, kube, "switched-off", mountbroker.ClaimDriver, claims.Finalizer)
		m.Put(ext)
		h.await(t, "arcml", link.ExtensionInstalled, 4)
		h.letGo(t, "switched-off")
		if _, err := kube.AppsV1().Deployments("azureml").Get(t.Context(), "aml-operator", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("aml-operator is still there: %v", err)
		}
	})
	t.Run("components of inference may do what they need and no more", func(t *testing.T) { testInferenceRights(t, kube) })
	t.Run("identity-controller makes only accounts of deployments", func(t *testing.T) { testAccounts(t, h.config) })
	t.Run("inference-operator writes only Deployments of online deployments", func(t *testing.T) { testDeployments(t, kube, h.config) })
	t.Run("a revision left by a killed agent is recovered", func(t *testing.T) {
		stop()
		h.breakRelease("pending-upgrade")
		m, stop = h.start()
		ext.Generation, ext.Settings = 5, map[string]string{"enableTraining": "true"}
		m.Put(ext)
		m.Synced()
		h.await(t, "arcml", link.ExtensionInstalled, 5)
	})
	t.Run("an agent of another image brings it to the extension", func(t *testing.T) {
		stop()
		h.forget()
		h.image = "fairlead/agent:2"
		m, stop = h.start()
		m.Put(ext)
		m.Synced()
		h.await(t, "arcml", link.ExtensionInstalled, 5)
		d, err := kube.AppsV1().Deployments("azureml").Get(t.Context(), "gateway", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := d.Spec.Template.Spec.Containers[0].Image; got != h.image {
			t.Errorf("the gateway has image %s, want %s", got, h.image)
		}
	})
	t.Run("a JobSet controller of somebody else's is used", func(t *testing.T) {
		h.deployJobSet(t)
		ext.Generation, ext.Settings = 6, map[string]string{"enableTraining": "true", "nodeLostSeconds": "61"}
		m.Put(ext)
		s := h.await(t, "arcml", link.ExtensionInstalled, 6)
		if c := code(s, "E48003"); !strings.Contains(c.Message, "Deployment jobset-system/jobset-controller-manager is a JobSet controller") {
			t.Errorf("statuses %+v", s.Checks)
		}
		if _, err := kube.AppsV1().StatefulSets("azureml").Get(t.Context(), "frameworkcontroller", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("frameworkcontroller is there beside it: %v", err)
		}
	})
	t.Run("versions", func(t *testing.T) {
		restart := func(version string, ext link.Extension) {
			stop()
			h.forget()
			h.version = version
			m, stop = h.start()
			m.Put(ext)
			m.Synced()
		}
		ext = h.testVersions(t, ext, restart, func(e link.Extension) { m.Put(e) })
	})
	t.Run("unknown types and settings fail with what to do", func(t *testing.T) {
		m.Put(link.Extension{Name: "other", ExtensionType: "microsoft.flux", Generation: 1})
		if s := h.await(t, "other", link.ExtensionFailed, 1); !strings.Contains(s.Message, `extensionType "microsoft.flux" is not known`) {
			t.Error(s.Message)
		}
		m.Delete("other")
		h.await(t, "other", link.ExtensionRemoved, 1)
	})
	t.Run("an extension deleted while the agent was down is removed, with what it leaves, also at a second try", func(t *testing.T) {
		stop()
		attach(t, kube, "removed", mountbroker.ClaimDriver, claims.Finalizer)
		h.forgotten = 0
		m, stop = h.start()
		m.Synced()
		h.await(t, "arcml", link.ExtensionRemoved, ext.Generation)
		if n := h.deployments(); n != 0 {
			t.Errorf("%d deployments are left", n)
		}
		if _, err := kube.CoreV1().ConfigMaps("azureml").Get(t.Context(), preflight.ReportName, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the report of the checks is left: %v", err)
		}
		h.letGo(t, "removed")
		if h.forgotten != 2 {
			t.Errorf("what is left was to be taken away %d times, want 2", h.forgotten)
		}
	})
	stop()
}

func (h *harness) start() (*Manager, func()) {
	chart := chartOf(h.t, h.version)
	log := slog.New(slog.NewTextHandler(h.t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	m := New(Config{
		Kube: h.kube, Metadata: metadata.NewForConfigOrDie(h.config), Helm: helm.New(h.config, log), Namespace: "azure-arc", Deadline: h.deadline, Log: log,
		Charts: map[string]*helm.Chart{"microsoft.azureml.kubernetes": chart},
		Values: map[string]any{"image": map[string]any{"agent": h.image, "router": "fairlead/router:1", "runtime": "fairlead/runtime:1"}},
		Prepare: func(ctx context.Context, namespace string) error {
			_, err := h.kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{})
			if apierrors.IsAlreadyExists(err) {
				return nil
			}
			return err
		},
		Forget: h.takeAway,
		Report: h.report,
	})
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
			h.t.Error(err)
		}
	}()
	return m, func() { cancel(); <-done }
}

func (h *harness) report(name string, s link.ExtensionStatus) {
	h.mu.Lock()
	h.statuses[name] = s
	h.mu.Unlock()
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

func (h *harness) takeAway(_ context.Context, namespace string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if namespace == "azureml" {
		h.forgotten++
	}
	if h.forgotten == 1 {
		return errors.New("the network is away")
	}
	return nil
}

func (h *harness) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.statuses = map[string]link.ExtensionStatus{}
}

func (h *harness) await(t *testing.T, name, state string, generation int64) link.ExtensionStatus {
	t.Helper()
	timeout := time.After(2 * time.Minute)
	for {
		h.mu.Lock()
		s := h.statuses[name]
		h.mu.Unlock()
		if s.State == state && s.Generation == generation {
			return s
		}
		if s.Generation == generation && s.State == link.ExtensionFailed && state == link.ExtensionInstalled {
			t.Fatalf("extension %s failed: %s", name, s.Message)
		}
		select {
		case <-h.changed:
		case <-timeout:
			t.Fatalf("extension %s: %+v, want %s of generation %d", name, s, state, generation)
		}
	}
}

func (h *harness) deployments() int {
	list, err := h.kube.AppsV1().Deployments("azureml").List(h.t.Context(), metav1.ListOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	return len(list.Items)
}

// breakRelease makes the newest revision look like one whose agent was killed.
func (h *harness) breakRelease(status string) {
	h.t.Helper()
	if err := helm.New(h.config, slog.New(slog.DiscardHandler)).SetStatus("azureml", "arcml", status); err != nil {
		h.t.Fatal(err)
	}
}

// kubelet plays controllers and kubelet: workloads become ready unless their image cannot be pulled.
func (h *harness) kubelet(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		deployments, err := h.kube.AppsV1().Deployments("azureml").List(ctx, metav1.ListOptions{})
		if err != nil {
			continue
		}
		broken := ""
		for _, d := range deployments.Items {
			image := d.Spec.Template.Spec.Containers[0].Image
			good := image != badImage && image != refusedImage
			if !good {
				broken = image
			}
			if d.Name == "gateway" && good && !h.gateway(ctx, &d) {
				good = false
				if h.isSick(image) {
					broken = refusedImage
				}
			}
			d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation}
			if good {
				d.Status.Replicas, d.Status.UpdatedReplicas, d.Status.AvailableReplicas, d.Status.ReadyReplicas = 1, 1, 1, 1
			}
			_, _ = h.kube.AppsV1().Deployments("azureml").UpdateStatus(ctx, &d, metav1.UpdateOptions{})
		}
		sets, err := h.kube.AppsV1().StatefulSets("azureml").List(ctx, metav1.ListOptions{})
		if err != nil {
			continue
		}
		for _, s := range sets.Items {
			s.Status = appsv1.StatefulSetStatus{ObservedGeneration: s.Generation, Replicas: 1, UpdatedReplicas: 1, ReadyReplicas: 1}
			_, _ = h.kube.AppsV1().StatefulSets("azureml").UpdateStatus(ctx, &s, metav1.UpdateOptions{})
		}
		h.daemons(ctx)
		h.brokenPod(ctx, broken)
	}
}

// daemons makes every DaemonSet ready on the one node.
func (h *harness) daemons(ctx context.Context) {
	sets, err := h.kube.AppsV1().DaemonSets("azureml").List(ctx, metav1.ListOptions{})
	if err != nil {
		return
	}
	for _, s := range sets.Items {
		s.Status = appsv1.DaemonSetStatus{ObservedGeneration: s.Generation, DesiredNumberScheduled: 1, CurrentNumberScheduled: 1, UpdatedNumberScheduled: 1, NumberReady: 1, NumberAvailable: 1}
		_, _ = h.kube.AppsV1().DaemonSets("azureml").UpdateStatus(ctx, &s, metav1.UpdateOptions{})
	}
}

// brokenPod keeps a pod that cannot start with an image while there is one.
func (h *harness) brokenPod(ctx context.Context, image string) {
	pods := h.kube.CoreV1().Pods("azureml")
	if image == "" {
		zero := int64(0)
		_ = pods.Delete(ctx, "gateway-bad", metav1.DeleteOptions{GracePeriodSeconds: &zero})
		return
	}
	p, err := pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "gateway-bad", Labels: map[string]string{"app.kubernetes.io/instance": "arcml"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "gateway", Image: image}}},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		p, err = pods.Get(ctx, "gateway-bad", metav1.GetOptions{})
	}
	if err != nil {
		return
	}
	why := &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: `Back-off pulling image "` + image + `"`}
	if image == refusedImage {
		why = &corev1.ContainerStateWaiting{Reason: "InvalidImageName", Message: image}
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "gateway", Image: image, State: corev1.ContainerState{Waiting: why}}}
	_, _ = pods.UpdateStatus(ctx, p, metav1.UpdateOptions{})
}
