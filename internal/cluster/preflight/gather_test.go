package preflight

import (
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/internal/testing/kubetest"
)

// broken is a cluster with many faults at once, made through its API server.
type broken struct {
	t    *testing.T
	kube kubernetes.Interface
}

func must[T any](t *testing.T) func(T, error) {
	return func(_ T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// restrict fills the release namespace with what forbids pods.
func (b broken) restrict() {
	t, core, ns := b.t, b.kube.CoreV1(), "azureml"
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "team"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("2")}}}
	q, err := core.ResourceQuotas(ns).Create(t.Context(), q, metav1.CreateOptions{})
	must[any](t)(nil, err)
	q.Status.Hard = q.Spec.Hard // as the controller of quotas does
	must[*corev1.ResourceQuota](t)(core.ResourceQuotas(ns).UpdateStatus(t.Context(), q, metav1.UpdateOptions{}))
	must[*corev1.LimitRange](t)(core.LimitRanges(ns).Create(t.Context(), &limit(corev1.LimitRangeItem{Max: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}})[0], metav1.CreateOptions{}))
	must[*networkingv1.NetworkPolicy](t)(b.kube.NetworkingV1().NetworkPolicies(ns).Create(t.Context(), &deny(networkingv1.PolicyTypeEgress)[0], metav1.CreateOptions{}))
	tls := secret(pair("ml.example.com", now.Add(-time.Hour)))
	tls.Name = "tls"
	must[*corev1.Secret](t)(core.Secrets(ns).Create(t.Context(), tls, metav1.CreateOptions{}))
}

// occupy deploys what others would have.
func (b broken) occupy() {
	t := b.t
	labels := map[string]string{"app": "x"}
	pods := func(image string) corev1.PodTemplateSpec {
		return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image}}}}
	}
	for name, image := range map[string]string{
		"jobset": "registry.k8s.io/jobset/jobset:v0.10.1", "kueue": "registry.k8s.io/kueue/kueue:v0.12.0", "prom": "quay.io/prometheus-operator/prometheus-operator:v0.80.0",
	} {
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: pods(image)}}
		must[*appsv1.Deployment](t)(b.kube.AppsV1().Deployments("others").Create(t.Context(), d, metav1.CreateOptions{}))
	}
	for name, image := range map[string]string{"nvidia": "nvcr.io/nvidia/k8s-device-plugin:v0.17.0", "nfd": "registry.k8s.io/nfd/node-feature-discovery:v0.17.0"} {
		d := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: pods(image)}}
		must[*appsv1.DaemonSet](t)(b.kube.AppsV1().DaemonSets("others").Create(t.Context(), d, metav1.CreateOptions{}))
	}
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kueue-manager-config"}, Data: map[string]string{"controller_manager_config.yaml": "manageJobsWithoutQueueName: true\n"}}
	must[*corev1.ConfigMap](t)(b.kube.CoreV1().ConfigMaps("others").Create(t.Context(), config, metav1.CreateOptions{}))
}

// claim makes cluster roles of a release that is there and of one that is gone.
func (b broken) claim() {
	t := b.t
	record := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "sh.helm.release.v1.other.v1", Labels: map[string]string{"owner": "helm", "name": "other"}}}
	must[*corev1.Secret](t)(b.kube.CoreV1().Secrets("others").Create(t.Context(), record, metav1.CreateOptions{}))
	for name, release := range map[string]string{"azureml-gateway": "other", "azureml-relayserver": "gone"} {
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{
			Name: name, Annotations: map[string]string{ReleaseAnnotation: release, ReleaseNamespaceAnnotation: "others"},
			Labels: map[string]string{"app.kubernetes.io/part-of": "azureml", "app.kubernetes.io/managed-by": "Helm"},
		}}
		must[*rbacv1.ClusterRole](t)(b.kube.RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}))
	}
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "gateway"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
	must[*corev1.Service](t)(b.kube.CoreV1().Services("azureml").Create(t.Context(), service, metav1.CreateOptions{}))
}

// guard makes a webhook that nobody answers; it comes last, as nothing can be made after it.
func (b broken) guard() {
	none := admissionv1.SideEffectClassNone
	hook := &admissionv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "policy"}, Webhooks: []admissionv1.ValidatingWebhook{{
		Name: "pods.policy.io", AdmissionReviewVersions: []string{"v1"}, SideEffects: &none,
		ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "policy", Name: "webhook"}},
		Rules: []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{admissionv1.Create}, Rule: admissionv1.Rule{
			APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"},
		}}},
	}}}
	must[*admissionv1.ValidatingWebhookConfiguration](b.t)(b.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(b.t.Context(), hook, metav1.CreateOptions{}))
}

const manifests = `---
# Source: x
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: azureml-gateway}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: azureml-relayserver}
---
apiVersion: v1
kind: Service
metadata: {name: gateway, namespace: azureml}
spec: {ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: gateway, namespace: azureml}
spec:
  replicas: 3
  template:
    spec:
      containers:
      - {name: gateway, image: x, resources: {requests: {cpu: 5m}, limits: {cpu: 500m}}}
      volumes: [{name: logs, hostPath: {path: /var/log}}]
`

func TestGather(t *testing.T) {
	cluster := kubetest.Start(t)
	kube := kubernetes.NewForConfigOrDie(cluster.Config)
	objects := metadata.NewForConfigOrDie(cluster.Config)
	s := subject()
	s.serve()
	s.set("inferenceRouterServiceType=loadBalancer", "openshift=True", "nodeSelector.pool=ml")
	s.PullSecret = "registry"
	var err error
	if s.Footprint, err = FootprintOf(manifests); err != nil {
		t.Fatal(err)
	}
	admin := kube
	look := func(kube kubernetes.Interface) []Finding {
		t.Helper()
		f := Gather(t.Context(), kube, s)
		if f.Existing, err = Existing(t.Context(), objects, s.Footprint.Objects); err != nil {
			t.Error(err)
		}
		results := Run(s, f)
		if err := Write(t.Context(), admin, s, results); err != nil {
			t.Error(err)
		}
		return Findings(results)
	}
	t.Run("an empty cluster", func(t *testing.T) {
		expect(t, look(kube), fault{code: InsufficientNode, level: Error, message: "the cluster has no node", fix: "kubeadm token create"})
	})
	kubetest.AddNode(t, kube, "n1")
	b := broken{t, kube}
	must[*corev1.Namespace](t)(kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "others"}}, metav1.CreateOptions{}))
	b.restrict()
	b.occupy()
	b.claim()
	b.guard()
	label := []byte(`{"metadata": {"labels": {"` + enforce + `": "restricted"}}}`)
	must[*corev1.Namespace](t)(kube.CoreV1().Namespaces().Patch(t.Context(), "azureml", "application/merge-patch+json", label, metav1.PatchOptions{}))
	got := look(kube)
	for _, table := range []map[string]fault{clusterFaults, namespaceFaults, componentFaults, routerFaults} {
		for _, name := range []string{"node selector", "webhook", "pull secret", "TLS secret expired", "OpenShift asked for", "no egress", "no load balancer"} {
			if want, ok := table[name]; ok {
				t.Run(name, func(t *testing.T) { expect(t, got, want) })
			}
		}
	}
	for name, want := range map[string]fault{
		"quota":           {code: QuotaExceeded, level: Error, message: "ResourceQuota azureml/team leaves 2 of pods, and the extension needs 3", fix: "kubectl edit resourcequota team"},
		"limit range":     {code: LimitRangeConflict, level: Error, message: "Deployment gateway: its limit of 500m CPU is above the maximum, 100m", fix: "kubectl edit limitrange small"},
		"pod security":    {code: PodSecurityConflict, level: Error, message: "Deployment gateway needs folder /var/log of its node", fix: "kubectl label namespace azureml"},
		"another release": {code: OwnedByAnotherRelease, level: Error, message: "ClusterRole azureml-gateway exists and cannot be taken over: invalid ownership metadata", fix: "helm uninstall other -n others"},
		"by hand":         {code: OwnedByAnotherRelease, level: Error, message: "Service azureml/gateway exists and was made by no installation of this extension", fix: "kubectl annotate service gateway -n azureml --overwrite"},
		"leftovers":       {code: LeftoversAdopted, level: Information, message: "ClusterRole azureml-relayserver"},
		"JobSet":          {code: ComponentFound, level: Information, message: "Deployment others/jobset is a JobSet controller"},
		"JobSet unready":  {code: ComponentNotReady, level: Warning, message: "Deployment others/jobset is not ready", fix: "kubectl rollout restart -n others deployment/jobset"},
		"Kueue":           {code: KueueManagesAll, level: Warning, message: "Deployment others/kueue has manageJobsWithoutQueueName", fix: "kubectl edit configmap kueue-manager-config -n others"},
		"prometheus":      {code: PrometheusConflict, level: Warning, message: "Deployment others/prom is a Prometheus operator", fix: "installPromOp=False"},
		"device plugin":   {code: ComponentFound, level: Information, message: "DaemonSet others/nvidia registers nvidia.com/gpu"},
		"feature labels":  {code: ComponentFound, level: Information, message: "DaemonSet others/nfd is node feature discovery"},
	} {
		t.Run(name, func(t *testing.T) { expect(t, got, want) })
	}
	t.Run("an agent without rights", func(t *testing.T) {
		config := rest.CopyConfig(cluster.Config)
		config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:azure-arc:fairlead-agent", Groups: []string{"system:authenticated"}}
		got := look(kubernetes.NewForConfigOrDie(config))
		expect(t, got, clusterFaults["rights"])
		expect(t, got, clusterFaults["nodes unreadable"])
	})
	t.Run("a namespace that is going", func(t *testing.T) {
		if err := kube.CoreV1().Namespaces().Delete(t.Context(), "azureml", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		expect(t, Findings(Run(s, Gather(t.Context(), kube, s))), fault{code: NamespaceTerminating, level: Error, message: "namespace azureml because it is being terminated", fix: "kubectl patch <kind> <name> -n azureml"})
	})
	t.Run("the report keeps every phase", func(t *testing.T) {
		s.Namespace = "reports"
		for _, s.Phase = range []Phase{PreInstall, PreUpgrade, PreRollback, PreDelete} {
			if err := Write(t.Context(), kube, s, []Result{{Check: string(s.Phase)}}); err != nil {
				t.Fatal(err)
			}
		}
		cm, err := kube.CoreV1().ConfigMaps("reports").Get(t.Context(), ReportName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, phase := range []string{"pre-install", "pre-upgrade", "pre-rollback", "pre-delete"} {
			if !strings.Contains(cm.Data["reports-"+phase], "Status: Succeeded Name: "+phase) {
				t.Errorf("reports-%s: %q", phase, cm.Data["reports-"+phase])
			}
		}
	})
}

// expect looks for a fault among what was found.
func expect(t *testing.T, got []Finding, want fault) {
	t.Helper()
	for _, g := range got {
		if g.Code == want.code && g.Level == want.level && strings.Contains(g.Message, want.message) && strings.Contains(g.Fix, want.fix) && (want.fix == "") == (g.Fix == "") {
			return
		}
	}
	t.Errorf("found %v\nwant %s %s %q, fix %q", got, want.level, want.code, want.message, want.fix)
}
