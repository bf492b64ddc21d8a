package extension

import (
	"context"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/link"
)

// TestUndo: what never worked is taken away and never come back to, and what worked once is not taken away.
func TestUndo(t *testing.T) {
	h := newHarness(t)
	m, stop := h.start()
	defer func() { stop() }()
	m.Synced()
	wish := func(generation int64, settings ...string) link.Extension {
		ext := link.Extension{Name: "arcml", ExtensionType: "Microsoft.AzureML.Kubernetes", ReleaseNamespace: "azureml", Generation: generation, Settings: map[string]string{"enableTraining": "True"}}
		for _, s := range settings {
			k, v, _ := strings.Cut(s, "=")
			ext.Settings[k] = v
		}
		return ext
	}
	failed := func(t *testing.T, generation int64, wants ...string) {
		t.Helper()
		s := h.await(t, "arcml", link.ExtensionFailed, generation)
		for _, want := range wants {
			if !strings.Contains(s.Message, want) {
				t.Errorf("message %q\nhas not %q", s.Message, want)
			}
		}
	}
	t.Run("a first installation that overtook another which fails too", func(t *testing.T) {
		m.Put(wish(1, "image.agent="+badImage))
		h.awaitWaiting(t, 1)
		m.Put(wish(2, "image.agent="+refusedImage, "nodeLostSeconds=61"))
		failed(t, 2, "has been uninstalled")
		if n := h.deployments(); n != 0 {
			t.Errorf("%d deployments are left", n)
		}
	})
	t.Run("a refused update that is taken back while a pod is not ready", func(t *testing.T) {
		m.Put(wish(3))
		h.await(t, "arcml", link.ExtensionInstalled, 3)
		m.Put(wish(4, "nodeSelector.pool=ml"))
		failed(t, 4, "E40002", "Nothing was changed")
		h.sicken(t, h.image)
		m.Put(wish(5))
		failed(t, 5, "Deployment gateway (0 of 1 ready)", "Nothing was changed")
		if rel := h.release(t, "azureml", "arcml"); rel == nil || rel.Revision != 1 || h.deployments() == 0 {
			t.Fatalf("the extension that worked was taken away: %+v", rel)
		}
		h.sicken(t, "")
		h.forget()
		m.Put(wish(5)) // as after a reconnect
		h.await(t, "arcml", link.ExtensionInstalled, 5)
	})
	t.Run("an agent that forgot everything, while a pod is not ready", func(t *testing.T) {
		stop()
		h.forget()
		if err := h.kube.CoreV1().ConfigMaps("azure-arc").Delete(t.Context(), recordsName, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		h.sicken(t, h.image)
		m, stop = h.start()
		m.Put(wish(5))
		m.Synced()
		h.await(t, "arcml", link.ExtensionInstalled, 5)
		h.sicken(t, "")
	})
	t.Run("an update that mends a container which crashes", func(t *testing.T) {
		h.crash(t, h.image)
		m.Put(wish(6, "image.agent=fairlead/agent:mended"))
		h.await(t, "arcml", link.ExtensionInstalled, 6)
	})
}

// awaitWaiting returns when the manager waits for pods.
func (h *harness) awaitWaiting(t *testing.T, generation int64) {
	t.Helper()
	timeout := time.After(time.Minute)
	for !h.waits(generation, "waiting for") {
		select {
		case <-h.changed:
		case <-timeout:
			t.Fatalf("generation %d is not waited for", generation)
		}
	}
}

func (h *harness) waits(generation int64, text string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.statuses["arcml"]
	return s.Generation >= generation && s.State == link.ExtensionPending && strings.Contains(s.Message, "waiting for") && strings.Contains(s.Message, text)
}

// sicken makes the gateway not ready with an image, for good as far as its pod says, or ready again with none, and returns when its status says so.
func (h *harness) sicken(t *testing.T, image string) {
	t.Helper()
	h.mu.Lock()
	h.sick = image
	h.mu.Unlock()
	h.until(t, func() bool {
		d, err := h.kube.AppsV1().Deployments("azureml").Get(t.Context(), "gateway", metav1.GetOptions{})
		return err == nil && (d.Status.AvailableReplicas == 0) == (image != "")
	})
}

// until asks again and again until the answer is yes.
func (h *harness) until(t *testing.T, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !yes(); <-time.After(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("what was waited for does not come about")
		}
	}
}

const crashedPod = "gateway-1-crashed"

// crash makes the gateway's container end again and again with an image, and returns when it has.
func (h *harness) crash(t *testing.T, image string) {
	t.Helper()
	h.mu.Lock()
	h.crashing = image
	h.mu.Unlock()
	h.until(t, func() bool {
		p, err := h.kube.CoreV1().Pods("azureml").Get(t.Context(), crashedPod, metav1.GetOptions{})
		return err == nil && len(p.Status.ContainerStatuses) > 0
	})
}

func (h *harness) isSick(image string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return image == h.sick
}

// gateway plays what becomes of the gateway's pods, and reports whether it is ready. With an image after the one that crashes it becomes
// ready once the manager has looked at it while the old pod is there.
func (h *harness) gateway(ctx context.Context, d *appsv1.Deployment) bool {
	h.mu.Lock()
	sick, crashing := h.sick, h.crashing
	h.mu.Unlock()
	image := d.Spec.Template.Spec.Containers[0].Image
	switch {
	case image == sick:
		return false
	case crashing == "":
		return true
	}
	pods := h.kube.CoreV1().Pods("azureml")
	if image == crashing {
		h.crashed(ctx, d)
		return false
	}
	h.revise(ctx, d, "2")
	if h.waits(6, "gateway") {
		now := int64(0)
		_ = pods.Delete(ctx, crashedPod, metav1.DeleteOptions{GracePeriodSeconds: &now})
	}
	_, err := pods.Get(ctx, crashedPod, metav1.GetOptions{})
	return err != nil
}

// revise does what the controller of Deployments does for a template: it makes its ReplicaSet.
func (h *harness) revise(ctx context.Context, d *appsv1.Deployment, revision string) *appsv1.ReplicaSet {
	annotations := map[string]string{revisionAnnotation: revision}
	if d.Annotations[revisionAnnotation] != revision {
		d.Annotations[revisionAnnotation] = revision
		if updated, err := h.kube.AppsV1().Deployments("azureml").Update(ctx, d, metav1.UpdateOptions{}); err == nil {
			*d = *updated
		}
	}
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Name: "gateway-" + revision, Labels: d.Spec.Template.Labels, Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
		Spec: appsv1.ReplicaSetSpec{Selector: d.Spec.Selector, Template: d.Spec.Template},
	}
	sets := h.kube.AppsV1().ReplicaSets("azureml")
	if made, err := sets.Create(ctx, set, metav1.CreateOptions{}); err == nil {
		return made
	}
	found, err := sets.Get(ctx, set.Name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return found
}

// crashed makes the pod whose container has ended five times.
func (h *harness) crashed(ctx context.Context, d *appsv1.Deployment) {
	set := h.revise(ctx, d, "1")
	if set == nil {
		return
	}
	pods := h.kube.CoreV1().Pods("azureml")
	p, err := pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: crashedPod, Labels: d.Spec.Template.Labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "gateway", Image: "x"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return
	}
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "gateway", RestartCount: crashes + 1, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}},
	}}
	_, _ = pods.UpdateStatus(ctx, p, metav1.UpdateOptions{})
}
