package extension

import (
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// testRights asks the API server what each component's account may do in any namespace.
func testRights(t *testing.T, kube kubernetes.Interface) {
	for _, c := range []struct {
		account, verb, group, resource string
		want                           bool
	}{
		{"gateway", "patch", "amlarc.azureml.com", "amljobs", true},
		{"gateway", "delete", "amlarc.azureml.com", "amljobs", true},
		{"gateway", "patch", "", "secrets", true},
		{"gateway", "get", "", "secrets", false},
		{"gateway", "list", "", "secrets", false},
		{"gateway", "create", "", "pods", false},
		{"relayserver", "list", "", "pods", true},
		{"relayserver", "get", "", "secrets", false},
		{"relayserver", "create", "", "pods", false},
		{"cluster-status-reporter", "watch", "amlarc.azureml.com", "amljobs", true},
		{"cluster-status-reporter", "watch", "", "nodes", true},
		{"cluster-status-reporter", "patch", "amlarc.azureml.com", "amljobs", false},
		{"aml-operator", "create", "jobset.x-k8s.io", "jobsets", true},
		{"aml-operator", "create", "networking.k8s.io", "networkpolicies", true},
		{"aml-operator", "get", "", "secrets", false},
		{"aml-operator", "create", "", "pods", false},
		{"frameworkcontroller", "create", "batch", "jobs", true},
		{"frameworkcontroller", "list", "", "secrets", false},
		{"frameworkcontroller", "update", "admissionregistration.k8s.io", "validatingwebhookconfigurations", false},
	} {
		t.Run(c.account+" "+c.verb+" "+c.resource, func(t *testing.T) {
			review, err := kube.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
				Spec: authorizationv1.SubjectAccessReviewSpec{
					User:               "system:serviceaccount:azureml:" + c.account,
					Groups:             []string{"system:authenticated", "system:serviceaccounts"},
					ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: "team", Verb: c.verb, Group: c.group, Resource: c.resource},
				},
			}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if review.Status.Allowed != c.want {
				t.Errorf("allowed %v, want %v", review.Status.Allowed, c.want)
			}
		})
	}
}
