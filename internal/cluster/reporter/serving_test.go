package reporter

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/link"
)

func TestServingGolden(t *testing.T) {
	service := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.96.0.9", Ports: []corev1.ServicePort{
		{Name: "http", Port: 80, NodePort: 30080}, {Name: "https", Port: 443, NodePort: 30443}, {Name: "load", Port: 9001}}}}
	service.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.0.0.9"}, {Hostname: "lb.example"}}
	inside, outside, away := node("a", corev1.ConditionTrue, false), node("b", corev1.ConditionTrue, false), node("c", corev1.ConditionFalse, false)
	inside.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "a"}, {Type: corev1.NodeInternalIP, Address: "10.1.0.1"}}
	outside.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.1.0.2"}, {Type: corev1.NodeExternalIP, Address: "192.0.2.2"}}
	away.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.1.0.3"}}
	golden(t, "router.json", routerStatus(service, []corev1.Node{outside, inside, away}))
	d := &v1alpha1.OnlineDeployment{ObjectMeta: metav1.ObjectMeta{Generation: 2, Labels: map[string]string{v1alpha1.LabelRevision: "r1"}}}
	d.Status = v1alpha1.OnlineDeploymentStatus{ObservedGeneration: 1, State: v1alpha1.DeploymentSucceeded, Replicas: 2, ReadyReplicas: 2, Reason: "old"}
	golden(t, "deployment-older.json", deploymentStatus(d))
	d.Status = v1alpha1.OnlineDeploymentStatus{ObservedGeneration: 2, State: v1alpha1.DeploymentFailed, Reason: "ImagePullLoopBackOff", Message: "no such image", Replicas: 1}
	golden(t, "deployment-failed.json", deploymentStatus(d))
}

// reportServing is the part of TestReporter that inference adds.
func reportServing(t *testing.T, c client.Client, values <-chan link.Value) {
	t.Helper()
	name := v1alpha1.DeploymentObjectName("digits", "blue")
	labels := map[string]string{v1alpha1.LabelRevision: "r1"}
	d := &v1alpha1.OnlineDeployment{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, Labels: labels}, Spec: v1alpha1.OnlineDeploymentSpec{
		Endpoint: "digits", Name: "blue", Image: "i", Scale: v1alpha1.DeploymentScale{Min: 1, Max: 1}}}
	port := corev1.ServicePort{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}
	create := func(objects ...client.Object) {
		t.Helper()
		for _, o := range objects {
			if err := c.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
	}
	create(d, &v1alpha1.OnlineEndpoint{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "digits", Labels: labels}, Spec: v1alpha1.OnlineEndpointSpec{Name: "digits", Auth: v1alpha1.EndpointAuth{Mode: "Key"}}})
	await(t, values, link.PrefixEndpoint+"digits", func(s link.ServingStatus) bool { return s.Revision == "r1" && s.State == link.ServingSucceeded })
	for _, namespace := range []string{"team", "default"} {
		create(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: v1alpha1.RouterService}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{port}}})
	}
	await(t, values, link.KeyRouter, func(s link.RouterStatus) bool {
		return s.Type == "ClusterIP" && s.ClusterIP != "" && len(s.Ports) == 1 && s.Ports[0].Port == 80
	})
	d.Status = v1alpha1.OnlineDeploymentStatus{ObservedGeneration: d.Generation, State: v1alpha1.DeploymentSucceeded, Replicas: 1, ReadyReplicas: 1}
	if err := c.Status().Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	await(t, values, link.PrefixDeployment+"digits/blue", func(s link.ServingStatus) bool {
		return s.Revision == "r1" && s.State == link.ServingSucceeded && s.ReadyReplicas == 1
	})
}
