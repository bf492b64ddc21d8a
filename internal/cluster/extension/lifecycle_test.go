package extension

import (
	"log/slog"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/internal/cluster/extension/helm"
	"fairlead.dev/fairlead/internal/cluster/preflight"
	"fairlead.dev/fairlead/internal/link"
)

// code is the first status of a code.
func code(s link.ExtensionStatus, code string) link.Status {
	for _, c := range s.Checks {
		if c.Code == code {
			return c
		}
	}
	return link.Status{}
}

// testPreflight asks for nodes that the cluster does not have.
func (h *harness) testPreflight(t *testing.T, m *Manager, ext link.Extension) {
	ext.Name, ext.ReleaseNamespace = "early", "early"
	ext.Settings = map[string]string{"enableTraining": "True", "nodeSelector.pool": "ml"}
	m.Put(ext)
	s := h.await(t, "early", link.ExtensionFailed, 1)
	const fix = "Fix: kubectl label node n1 pool=ml"
	if want := "failed pre-install: E40002 INSUFFICIENT_NODE: no node has the labels of setting nodeSelector: pool=ml. " + fix; !strings.Contains(s.Message, want) {
		t.Errorf("message %q\nhas not %q", s.Message, want)
	}
	if c := code(s, "E40002"); c.Level != "Error" || !strings.Contains(c.Message, fix) {
		t.Errorf("statuses %+v", s.Checks)
	}
	report, err := h.kube.CoreV1().ConfigMaps("early").Get(t.Context(), preflight.ReportName, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Status: Failed Name: nodes ErrorCode: E40002 ErrorMessage: INSUFFICIENT_NODE: no node has", "Remedy: kubectl label node n1 pool=ml\n", "Status: Succeeded Name: rights\n"} {
		if !strings.Contains(report.Data["reports-pre-install"], want) {
			t.Errorf("no %q in\n%s", want, report.Data["reports-pre-install"])
		}
	}
	if rel := h.release(t, "early", "early"); rel != nil {
		t.Errorf("a release was made: %+v", rel)
	}
	m.Delete("early")
	h.await(t, "early", link.ExtensionRemoved, 1)
}

func (h *harness) release(t *testing.T, namespace, name string) *helm.Release {
	t.Helper()
	rel, err := helm.New(h.config, slog.New(slog.DiscardHandler)).Last(namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	return rel
}

// leftover makes a cluster role that an installation left whose release is gone.
func (h *harness) leftover(t *testing.T) {
	t.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{
		Name: "azureml-gateway", Labels: map[string]string{"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/part-of": "azureml"},
		Annotations: map[string]string{preflight.ReleaseAnnotation: "former", preflight.ReleaseNamespaceAnnotation: "old"},
	}}
	if _, err := h.kube.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// deployJobSet makes the controller that JobSet's own manifests make.
func (h *harness) deployJobSet(t *testing.T) {
	t.Helper()
	const namespace = "jobset-system"
	if _, err := h.kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"app.kubernetes.io/name": "jobset"}
	_, err := h.kube.AppsV1().Deployments(namespace).Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "jobset-controller-manager", Labels: labels},
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "manager", Image: "registry.k8s.io/jobset/jobset:v0.10.1"}}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// testVersions follows an extension under agents of several versions.
func (h *harness) testVersions(t *testing.T, ext link.Extension, restart func(agent string, ext link.Extension), put func(link.Extension)) link.Extension {
	installed := func(step, version string) link.ExtensionStatus {
		t.Helper()
		s := h.await(t, "arcml", link.ExtensionInstalled, ext.Generation)
		rel := h.release(t, "azureml", "arcml")
		if s.Version != version || rel.ChartVersion != version {
			t.Fatalf("%s: version %s, release of %s, want %s", step, s.Version, rel.ChartVersion, version)
		}
		return s
	}
	restart("0.2.0", ext)
	installed("a newer minor version is taken", "0.2.0")

	ext.Generation, ext.Version, ext.Pinned = ext.Generation+1, "0.2.0", true
	put(ext)
	installed("pinned", "0.2.0")
	revision := h.release(t, "azureml", "arcml").Revision
	h.image = "fairlead/agent:3"
	restart("0.3.0", ext)
	s := installed("a newer agent leaves a pinned one alone", "0.2.0")
	if c := code(s, "VersionKept"); !strings.Contains(c.Message, "version 0.2.0 is pinned and stays; this agent has 0.3.0") {
		t.Errorf("statuses %+v", s.Checks)
	}
	if got := h.release(t, "azureml", "arcml").Revision; got != revision {
		t.Errorf("revision %d, want %d: an upgrade was made", got, revision)
	}

	ext.Generation, ext.Settings = ext.Generation+1, map[string]string{"enableTraining": "true", "nodeLostSeconds": "90"}
	put(ext)
	installed("its settings change under its own version", "0.2.0")
	operator, err := h.kube.AppsV1().Deployments("azureml").Get(t.Context(), "aml-operator", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	container := operator.Spec.Template.Spec.Containers[0]
	if args := strings.Join(container.Args, " "); !strings.Contains(args, "90s") || container.Image == h.image {
		t.Errorf("aml-operator has image %s and arguments %s", container.Image, args)
	}

	ext.Generation, ext.Version, ext.Pinned = ext.Generation+1, "", false
	restart("1.0.0", ext)
	s = installed("a newer major version is not taken", "0.2.0")
	if c := code(s, "VersionKept"); !strings.Contains(c.Message, "major versions are not upgraded by themselves") {
		t.Errorf("statuses %+v", s.Checks)
	}
	ext.Generation, ext.Version, ext.Pinned = ext.Generation+1, "1.0.0", true
	put(ext)
	installed("unless it is asked for", "1.0.0")
	return ext
}
