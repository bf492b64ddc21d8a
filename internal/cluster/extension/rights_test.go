package extension

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

// testRights asks the API server what each component's account may do in any namespace.
func testRights(t *testing.T, kube kubernetes.Interface) {
	for _, c := range []right{
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
		{"aml-operator", "delete", "", "pods", true},
		{"aml-operator", "deletecollection", "", "pods", false},
		{"aml-operator", "patch", "", "nodes", false},
		{"frameworkcontroller", "create", "batch", "jobs", true},
		{"frameworkcontroller", "list", "", "secrets", false},
		{"frameworkcontroller", "update", "admissionregistration.k8s.io", "validatingwebhookconfigurations", false},
	} {
		mayDo(t, kube, c)
	}
}

// testInferenceRights is testRights of what inference adds.
func testInferenceRights(t *testing.T, kube kubernetes.Interface) {
	const operator = "inference-operator-controller-manager"
	for _, c := range []right{
		{operator, "create", "apps", "deployments", true},
		{operator, "patch", "apps", "deployments", true},
		{operator, "delete", "apps", "deployments", false},
		{operator, "patch", "amlarc.azureml.com", "onlinedeployments/status", true},
		{operator, "patch", "amlarc.azureml.com", "onlinedeployments", false},
		{operator, "watch", "", "pods", true},
		{operator, "create", "", "pods", false},
		{operator, "get", "", "secrets", false},
		{operator, "list", "discovery.k8s.io", "endpointslices", false}, // but in the extension's namespace
		{operator, "delete", "amlarc.azureml.com", "identities", true},
		{operator, "patch", "amlarc.azureml.com", "identities/status", false},
		{operator, "create", "", "serviceaccounts", false},
		{"amlarc-identity-controller", "create", "", "serviceaccounts", true},
		{"amlarc-identity-controller", "patch", "", "serviceaccounts", false},
		{"amlarc-identity-controller", "create", "", "serviceaccounts/token", false},
		{"amlarc-identity-controller", "patch", "amlarc.azureml.com", "identities/status", true},
		{"amlarc-identity-controller", "patch", "amlarc.azureml.com", "identities", false},
		{"amlarc-identity-controller", "get", "", "secrets", false},
		{"amlarc-identity-proxy", "watch", "amlarc.azureml.com", "identities", true},
		{"amlarc-identity-proxy", "create", "authentication.k8s.io", "tokenreviews", true},
		{"amlarc-identity-proxy", "get", "", "secrets", false},
		{"amlarc-identity-proxy", "create", "", "serviceaccounts/token", false},
	} {
		mayDo(t, kube, c)
	}
}

// right is what an account may do or not.
type right struct {
	account, verb, group, resource string
	want                           bool
}

func mayDo(t *testing.T, kube kubernetes.Interface, c right) {
	t.Helper()
	resource, subresource, _ := strings.Cut(c.resource, "/")
	t.Run(c.account+" "+c.verb+" "+c.resource, func(t *testing.T) {
		review, err := kube.AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
			Spec: authorizationv1.SubjectAccessReviewSpec{
				User:               "system:serviceaccount:azureml:" + c.account,
				Groups:             []string{"system:authenticated", "system:serviceaccounts"},
				ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: "team", Verb: c.verb, Group: c.group, Resource: resource, Subresource: subresource},
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

// testSecrets acts as the gateway's account: it may write the Secrets of jobs, and a patch shows it no other Secret.
func testSecrets(t *testing.T, admin kubernetes.Interface, config *rest.Config) {
	config = rest.CopyConfig(config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:azureml:gateway", Groups: []string{"system:authenticated", "system:serviceaccounts"}}
	gateway := kubernetes.NewForConfigOrDie(config)
	run := strings.Repeat("a1", 16) + v1alpha1.RunSecretSuffix
	if _, err := admin.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"team db", "team x" + run, "azureml " + run, "azure-arc " + run, "kube-system " + run} {
		namespace, name, _ := strings.Cut(at, " ")
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"password": "hidden"}}
		if _, err := admin.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		refused := func(verb string, got *corev1.Secret, err error) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), "azureml-gateway-secrets") || len(got.Data) > 0 {
				t.Errorf("%s of Secret %s: error %v, shown %v", verb, at, err, got.Data)
			}
		}
		awaitPolicy(t, "azureml-gateway-secrets", func() error {
			probe := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "probe"}}
			_, err := gateway.CoreV1().Secrets("team").Create(t.Context(), probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		})
		for _, patch := range []struct {
			kind types.PatchType
			body string
		}{
			{types.MergePatchType, "{}"}, {types.JSONPatchType, "[]"}, {types.StrategicMergePatchType, "{}"},
			{types.MergePatchType, `{"data":{"password":null}}`},
		} {
			got, err := gateway.CoreV1().Secrets(namespace).Patch(t.Context(), name, patch.kind, []byte(patch.body), metav1.PatchOptions{})
			refused(string(patch.kind)+" "+patch.body, got, err)
			got, err = gateway.CoreV1().Secrets(namespace).Patch(t.Context(), name, patch.kind, []byte(patch.body), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			refused("dry run of "+string(patch.kind), got, err)
		}
		got, err := gateway.CoreV1().Secrets(namespace).Apply(t.Context(), applycorev1.Secret(name, namespace), metav1.ApplyOptions{FieldManager: "x", Force: true})
		refused("apply", got, err)
		secret.Name += "2"
		got, err = gateway.CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{})
		refused("create", got, err)
	}
	for _, token := range []string{"one", "two"} {
		own := applycorev1.Secret(run, "team").WithData(map[string][]byte{"token": []byte(token)})
		if _, err := gateway.CoreV1().Secrets("team").Apply(t.Context(), own, metav1.ApplyOptions{FieldManager: "fairlead-gateway", Force: true}); err != nil {
			t.Errorf("its own Secret: %v", err)
		}
	}
}

// awaitPolicy waits until the API server has read a policy, which it does a moment after it was made: until a request is refused by it.
func awaitPolicy(t *testing.T, policy string, request func() error) {
	t.Helper()
	timeout, tick := time.After(time.Minute), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	for {
		err := request()
		if err != nil && strings.Contains(err.Error(), policy) {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatalf("the policy is not in force; last: %v", err)
		}
	}
}

// testPods acts as aml-operator's account, which may end pods: those of jobs, and no others.
func testPods(t *testing.T, admin kubernetes.Interface, config *rest.Config) {
	config = rest.CopyConfig(config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:azureml:aml-operator", Groups: []string{"system:authenticated", "system:serviceaccounts"}}
	operator := kubernetes.NewForConfigOrDie(config).CoreV1().Pods("team")
	pod := func(name string, labels map[string]string) {
		t.Helper()
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "i"}}}}
		if _, err := admin.CoreV1().Pods("team").Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	pod("database", map[string]string{"app": "database"})
	pod("bare", nil)
	pod("of-a-job", map[string]string{v1alpha1.LabelJobID: strings.Repeat("a1", 16)})
	fail := []byte(`{"status": {"phase": "Failed"}}`)
	awaitPolicy(t, "azureml-aml-operator-pods", func() error {
		return operator.Delete(t.Context(), "database", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
	})
	for _, name := range []string{"database", "bare"} {
		_, err := operator.Patch(t.Context(), name, types.MergePatchType, fail, metav1.PatchOptions{}, "status")
		for _, err := range []error{err, operator.Delete(t.Context(), name, metav1.DeleteOptions{})} {
			if err == nil || !strings.Contains(err.Error(), "azureml-aml-operator-pods") {
				t.Errorf("pod %s: %v", name, err)
			}
		}
	}
	if _, err := operator.Patch(t.Context(), "of-a-job", types.MergePatchType, fail, metav1.PatchOptions{}, "status"); err != nil {
		t.Error(err)
	}
	if err := operator.Delete(t.Context(), "of-a-job", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
}

// testDeployments acts as inference-operator's account, which may write Deployments: those of online deployments, and no others.
func testDeployments(t *testing.T, admin kubernetes.Interface, config *rest.Config) {
	config = rest.CopyConfig(config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:azureml:inference-operator-controller-manager", Groups: []string{"system:authenticated", "system:serviceaccounts"}}
	operator := kubernetes.NewForConfigOrDie(config).AppsV1()
	deployment := func(name string, labels map[string]string) *appsv1.Deployment {
		pods := map[string]string{"app": name}
		return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: pods},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pods}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "i"}}}}}}
	}
	const policy = "azureml-inference-operator"
	awaitPolicy(t, policy, func() error {
		_, err := operator.Deployments("team").Create(t.Context(), deployment("probe", nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	})
	if _, err := admin.AppsV1().Deployments("team").Create(t.Context(), deployment("database", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	own := map[string]string{v1alpha1.LabelDeployment: "digits-blue"}
	for _, patch := range []string{`{"spec":{"replicas":0}}`, `{"metadata":{"labels":{"` + v1alpha1.LabelDeployment + `":"x"}}}`} {
		if _, err := operator.Deployments("team").Patch(t.Context(), "database", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err == nil || !strings.Contains(err.Error(), policy) {
			t.Errorf("patch %s of somebody else's Deployment: %v", patch, err)
		}
	}
	for _, namespace := range []string{"azureml", "kube-system"} {
		if _, err := operator.Deployments(namespace).Create(t.Context(), deployment("digits-blue", own), metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), policy) {
			t.Errorf("create in %s: %v", namespace, err)
		}
	}
	if _, err := operator.Deployments("team").Create(t.Context(), deployment("digits-blue", own), metav1.CreateOptions{}); err != nil {
		t.Errorf("its own Deployment: %v", err)
	}
}

// testAccounts acts as amlarc-identity-controller's account, which may make service accounts: those of online deployments, without what
// gives them a cloud's rights, and no others.
func testAccounts(t *testing.T, config *rest.Config) {
	config = rest.CopyConfig(config)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:azureml:amlarc-identity-controller", Groups: []string{"system:authenticated", "system:serviceaccounts"}}
	controller := kubernetes.NewForConfigOrDie(config).CoreV1()
	own := map[string]string{v1alpha1.LabelDeployment: "digits-blue"}
	create := func(namespace string, labels, annotations map[string]string) error {
		_, err := controller.ServiceAccounts(namespace).Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "digits-blue", Labels: labels, Annotations: annotations}},
			metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	const policy = "azureml-identity-controller"
	awaitPolicy(t, policy, func() error { return create("team", nil, nil) })
	for name, err := range map[string]error{
		"in the extension's namespace": create("azureml", own, nil), "in the cluster's": create("kube-system", own, nil),
		"with a cloud's role": create("team", own, map[string]string{"eks.amazonaws.com/role-arn": "x"}),
	} {
		if err == nil || !strings.Contains(err.Error(), policy) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := create("team", own, nil); err != nil {
		t.Errorf("its own: %v", err)
	}
}
