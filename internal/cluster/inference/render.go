package inference

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

// template names what makes a new pod differ from an old one. What only the router or the autoscaler reads is left out, and so is what
// the operator itself adds: another version of the extension rolls no model.
func template(od *v1alpha1.OnlineDeployment) string {
	s := od.Spec
	s.Scale, s.Requests = v1alpha1.DeploymentScale{}, v1alpha1.RequestSettings{}
	return digest(s)
}

// digest is a hash that is a label's value.
func digest(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // values of the API
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// ownLabels select the pods of a deployment.
func ownLabels(od *v1alpha1.OnlineDeployment) map[string]string {
	return map[string]string{v1alpha1.LabelDeployment: od.Name}
}

// objectLabels are on every object of a deployment: its own, and those of the OnlineDeployment that tell whose it is.
func objectLabels(od *v1alpha1.OnlineDeployment) map[string]string {
	labels := ownLabels(od)
	for k, v := range od.Labels {
		if strings.HasPrefix(k, "ml.azure.com/") {
			labels[k] = v
		}
	}
	return labels
}

func objectMeta(od *v1alpha1.OnlineDeployment) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: od.Name, Namespace: od.Namespace, Labels: objectLabels(od),
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(od, v1alpha1.GroupVersion.WithKind("OnlineDeployment"))},
	}
}

// renderBeside are a deployment's objects besides its Deployment.
func renderBeside(od *v1alpha1.OnlineDeployment, cfg Config) []client.Object {
	objs := []client.Object{renderService(od), renderPolicy(od, cfg), renderBudget(od)}
	if od.Spec.Identity != nil {
		objs = append(objs, renderIdentity(od))
	}
	for _, o := range objs {
		o.SetAnnotations(map[string]string{annotationSpec: digest(o)})
	}
	return objs
}

// renderService is headless: the router goes to the pods, which its EndpointSlices name.
func renderService(od *v1alpha1.OnlineDeployment) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: objectMeta(od),
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone, Selector: ownLabels(od),
			Ports: []corev1.ServicePort{{Name: "http", Port: servingPort(od), TargetPort: intstr.FromInt32(servingPort(od)), Protocol: corev1.ProtocolTCP}},
		},
	}
}

// renderBudget lets nodes be emptied one pod at a time.
func renderBudget(od *v1alpha1.OnlineDeployment) *policyv1.PodDisruptionBudget {
	one, always := intstr.FromInt32(1), policyv1.AlwaysAllow
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: objectMeta(od),
		Spec: policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &one, UnhealthyPodEvictionPolicy: &always,
			Selector: &metav1.LabelSelector{MatchLabels: ownLabels(od)}},
	}
}

// renderPolicy lets in the routers. The kubelet, whose probes come from the pod's own node, is never kept out by a policy.
func renderPolicy(od *v1alpha1.OnlineDeployment, cfg Config) *networkingv1.NetworkPolicy {
	tcp, port := corev1.ProtocolTCP, intstr.FromInt32(servingPort(od))
	return &networkingv1.NetworkPolicy{
		ObjectMeta: objectMeta(od),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: ownLabels(od)},
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{
				From: []networkingv1.NetworkPolicyPeer{{
					NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: cfg.RouterNamespace}},
					PodSelector:       &metav1.LabelSelector{MatchLabels: cfg.RouterLabels},
				}},
				Ports: []networkingv1.NetworkPolicyPort{{Protocol: &tcp, Port: &port}},
			}},
		},
	}
}

// renderDeployment makes the pods. An update takes no pod away before another is ready, so one that fails leaves those of before.
func (w world) renderDeployment(replicas int32, cfg Config) (*appsv1.Deployment, error) {
	pod, err := w.renderPod(cfg)
	if err != nil {
		return nil, err
	}
	meta := objectMeta(w.od)
	meta.Labels = maps.Clone(meta.Labels)
	meta.Labels[labelTemplate] = template(w.od)
	none, surge, kept, deadline := intstr.FromInt32(0), intstr.FromString("25%"), int32(2), int32(startGrace.Seconds())
	return &appsv1.Deployment{
		ObjectMeta: meta,
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, RevisionHistoryLimit: &kept, ProgressDeadlineSeconds: &deadline,
			Selector: &metav1.LabelSelector{MatchLabels: ownLabels(w.od)},
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &none, MaxSurge: &surge}},
			Template: pod,
		},
	}, nil
}
