package inference

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/workload"
)

var t0 = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) metav1.Time { return metav1.NewTime(t0.Add(time.Duration(seconds) * time.Second)) }

func testConfig(t *testing.T) Config {
	t.Helper()
	cfg, err := Config{RuntimeImage: "fairlead/runtime:1", ModelCache: true}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// aDeployment is the digits model behind a scoring script.
func aDeployment(edit ...func(*v1alpha1.OnlineDeployment)) *v1alpha1.OnlineDeployment {
	od := &v1alpha1.OnlineDeployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "amlarc.azureml.com/v1alpha1", Kind: "OnlineDeployment"},
		ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.DeploymentObjectName("digits", "blue"), Namespace: "ml", UID: "uid-1", Generation: 2, Labels: map[string]string{
			"ml.azure.com/workspace": "ws1", "ml.azure.com/compute": "k8s", v1alpha1.LabelRevision: "9"}},
		Spec: v1alpha1.OnlineDeploymentSpec{
			Endpoint: "digits", Name: "blue", Image: "registry.example/py:1",
			Model:                &v1alpha1.DeploymentModel{Name: "digits", Version: "3", Type: "custom_model", URL: "https://fl.example/blob/a/c/azureml/run/model/"},
			Code:                 &v1alpha1.DeploymentCode{URL: "https://fl.example/blob/a/code/1", ScoringScript: "score.py"},
			EnvironmentVariables: map[string]string{"COLOR": "blue"},
			Scale:                v1alpha1.DeploymentScale{Min: 2, Max: 2},
			Requests:             v1alpha1.RequestSettings{TimeoutMilliseconds: 5000, MaxConcurrentPerInstance: 1, MaxQueueWaitMilliseconds: 500},
			Routes:               v1alpha1.ContainerRoutes{Port: 5001, ScoringPath: "/score", LivenessPath: "/", ReadinessPath: "/"},
			BlobBase:             "https://fl.example/blob", CA: "CA\n", TokenSecret: "digits-blue" + v1alpha1.FetchSecretSuffix,
		},
	}
	for _, e := range edit {
		e(od)
	}
	return od
}

func scaled(lowest, highest int32) func(*v1alpha1.OnlineDeployment) {
	return func(od *v1alpha1.OnlineDeployment) {
		od.Spec.Scale = v1alpha1.DeploymentScale{Min: lowest, Max: highest}
	}
}

func was(state string, generation int64) func(*v1alpha1.OnlineDeployment) {
	return func(od *v1alpha1.OnlineDeployment) { od.Status.State, od.Status.ObservedGeneration = state, generation }
}

func asks(list func(*corev1.ResourceRequirements) *corev1.ResourceList, name corev1.ResourceName, q string) func(*v1alpha1.OnlineDeployment) {
	return func(od *v1alpha1.OnlineDeployment) {
		r := &corev1.ResourceRequirements{}
		*list(r) = corev1.ResourceList{name: resource.MustParse(q)}
		od.Spec.Resources = r
	}
}

func limits(r *corev1.ResourceRequirements) *corev1.ResourceList   { return &r.Limits }
func requests(r *corev1.ResourceRequirements) *corev1.ResourceList { return &r.Requests }

// custom is an image that answers its own routes.
func custom(od *v1alpha1.OnlineDeployment) {
	od.Spec.Code, od.Spec.TokenSecret = nil, ""
	od.Spec.Model.MountPath = "/models/digits"
	od.Spec.Routes = v1alpha1.ContainerRoutes{Port: 8501, ScoringPath: "/v1/models/digits:predict", LivenessPath: "/v1/models/digits"}
	od.Spec.LivenessProbe = &v1alpha1.Probe{InitialDelaySeconds: 7, PeriodSeconds: 6, TimeoutSeconds: 5, SuccessThreshold: 4, FailureThreshold: 3}
}

// speaks gives the pods a managed identity.
func speaks(od *v1alpha1.OnlineDeployment) {
	od.Spec.TokenSecret = "digits-blue" + v1alpha1.FetchSecretSuffix
	od.Spec.EnvironmentVariables["MSI_ENDPOINT"] = "http://elsewhere.example"
	od.Spec.Identity = &v1alpha1.ManagedIdentity{ClientID: "c1", PrincipalID: "p1", TokenURL: "https://fl.example/t/oauth2/v2.0/token"}
}

// ready is the Identity of od as amlarc-identity-controller leaves it.
func ready(od *v1alpha1.OnlineDeployment) *v1alpha1.Identity {
	return &v1alpha1.Identity{ObjectMeta: metav1.ObjectMeta{Name: od.Name, Namespace: od.Namespace}, Spec: *od.Spec.Identity, Status: v1alpha1.IdentityStatus{Ready: true}}
}

func defaultType() *workload.InstanceType {
	return &workload.InstanceType{Name: v1alpha1.DefaultInstanceType, Spec: v1alpha1.ImplicitDefault()}
}

// made is the Deployment of od, with so many pods wanted, updated and available.
func made(od *v1alpha1.OnlineDeployment, wanted, updated, available int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: od.Name, Namespace: od.Namespace, Labels: map[string]string{labelTemplate: template(od)}},
		Spec:       appsv1.DeploymentSpec{Replicas: &wanted},
		Status:     appsv1.DeploymentStatus{Replicas: updated, UpdatedReplicas: updated, AvailableReplicas: available},
	}
}

func aPod(od *v1alpha1.OnlineDeployment, name string, edit ...func(*corev1.Pod)) corev1.Pod {
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ml", CreationTimestamp: at(0), Labels: map[string]string{v1alpha1.LabelDeployment: od.Name, labelTemplate: template(od)}},
		Spec: corev1.PodSpec{NodeName: "node-1", InitContainers: []corev1.Container{{Name: v1alpha1.FetchContainer, Image: "fairlead/runtime:1"}},
			Containers: []corev1.Container{{Name: v1alpha1.ServingContainer, Image: od.Spec.Image}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, e := range edit {
		e(&p)
	}
	return p
}

func old(p *corev1.Pod) { p.Labels[labelTemplate] = "before" }

func serves(p *corev1.Pod) {
	p.Status.Phase = corev1.PodRunning
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
}

func unscheduled(text string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.NodeName = ""
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: text}}
	}
}

func waits(container, reason, text string) func(*corev1.Pod) {
	return inContainer(container, corev1.ContainerStatus{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: text}}})
}

// crashed is a container that waits to be started again after it ended so often.
func crashed(container, reason string, code, times int32, said string) func(*corev1.Pod) {
	return inContainer(container, corev1.ContainerStatus{RestartCount: times,
		State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: said}}})
}

func inContainer(container string, cs corev1.ContainerStatus) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		cs.Name = container
		if container == v1alpha1.FetchContainer {
			p.Status.InitContainerStatuses = []corev1.ContainerStatus{cs}
		} else {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{cs}
		}
	}
}

func result(code, message string) string {
	b, err := json.Marshal(commonruntime.Result{Phase: commonruntime.PhaseRunning, ExitCode: 3, Code: code, Message: message})
	if err != nil {
		panic(fmt.Sprint(err))
	}
	return string(b)
}
