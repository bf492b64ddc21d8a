package extension

import (
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/google/go-cmp/cmp"
)

func pod(statuses ...corev1.ContainerStatus) corev1.Pod {
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "azureml", Name: "gateway-1"}, Status: corev1.PodStatus{ContainerStatuses: statuses}}
}

func TestProblems(t *testing.T) {
	unschedulable := pod()
	unschedulable.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/1 nodes are available: 1 Insufficient memory."}}
	waiting := func(reason, message string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: "gateway", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}}
	}
	crash := waiting("CrashLoopBackOff", "back-off 5m0s restarting failed container")
	crash.RestartCount = crashes
	crash.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error", Message: "no route\nto host\n"}
	killed := waiting("CrashLoopBackOff", "")
	killed.RestartCount = 1
	killed.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}
	running := corev1.ContainerStatus{Name: "gateway", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	cases := map[string]struct {
		pod   corev1.Pod
		want  string
		fatal bool
	}{
		"unschedulable":        {unschedulable, "pod azureml/gateway-1: Unschedulable: 0/1 nodes are available: 1 Insufficient memory.", false},
		"image pull":           {pod(waiting("ImagePullBackOff", `Back-off pulling image "x"`)), `pod azureml/gateway-1: container gateway: ImagePullBackOff: Back-off pulling image "x"`, false},
		"image name":           {pod(waiting("InvalidImageName", "bad")), "pod azureml/gateway-1: container gateway: InvalidImageName: bad", true},
		"crashes for good":     {pod(crash), "pod azureml/gateway-1: container gateway: crashes: ended 5 times, last with exit code 1: no route to host", true},
		"killed for memory":    {pod(killed), "pod azureml/gateway-1: container gateway: crashes: ended 2 times, last with exit code 137 (OOMKilled)", false},
		"running, not ready":   {pod(running), "pod azureml/gateway-1: container gateway: running and not ready", false},
		"being created":        {pod(waiting("ContainerCreating", "")), "", false},
		"config map is absent": {pod(waiting("CreateContainerConfigError", `configmap "x" not found`)), `pod azureml/gateway-1: container gateway: CreateContainerConfigError: configmap "x" not found`, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			got, fatal := "", false
			for _, p := range (workloads{pods: []corev1.Pod{c.pod}}).problems() {
				got, fatal = got+p.String(), fatal || p.fatal
			}
			if got != c.want || fatal != c.fatal {
				t.Errorf("got %q fatal %v\nwant %q fatal %v", got, fatal, c.want, c.fatal)
			}
		})
	}
}

func TestUnready(t *testing.T) {
	one := int32(1)
	deployment := func(status appsv1.DeploymentStatus) appsv1.Deployment {
		return appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "gateway", Generation: 2}, Spec: appsv1.DeploymentSpec{Replicas: &one}, Status: status}
	}
	done := appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1}
	stale, old, surge := done, done, done
	stale.ObservedGeneration = 1
	old.UpdatedReplicas = 0
	surge.Replicas = 2
	for name, c := range map[string]struct {
		w    workloads
		want string
	}{
		"ready":                  {workloads{deployments: []appsv1.Deployment{deployment(done)}}, ""},
		"not seen yet":           {workloads{deployments: []appsv1.Deployment{deployment(stale)}}, "Deployment gateway (1 of 1 ready)"},
		"old pods only":          {workloads{deployments: []appsv1.Deployment{deployment(old)}}, "Deployment gateway (0 of 1 ready)"},
		"old pods still running": {workloads{deployments: []appsv1.Deployment{deployment(surge)}}, "Deployment gateway (1 of 1 ready)"},
		"stateful set":           {workloads{statefulSets: []appsv1.StatefulSet{{ObjectMeta: metav1.ObjectMeta{Name: "f"}}}}, "StatefulSet f (0 of 1 ready)"},
		"daemon set of no node":  {workloads{daemonSets: []appsv1.DaemonSet{{ObjectMeta: metav1.ObjectMeta{Name: "d"}}}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, strings.Join(c.w.unready(), ", ")); diff != "" {
				t.Error(diff)
			}
		})
	}
}
