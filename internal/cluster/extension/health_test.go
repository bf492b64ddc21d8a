package extension

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

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

// TestLostNode: a node that is not ready holds up nobody; what runs on the others counts.
func TestLostNode(t *testing.T) {
	set := appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "csi-blob-node", UID: "d"}}
	newest := appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{appsv1.ControllerRevisionHashLabelKey: "new"}, OwnerReferences: owner("DaemonSet", "d")}, Revision: 2}
	older := appsv1.ControllerRevision{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{appsv1.ControllerRevisionHashLabelKey: "old"}, OwnerReferences: owner("DaemonSet", "d")}, Revision: 1}
	on := func(node, hash string, ready corev1.ConditionStatus) corev1.Pod {
		return corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{appsv1.ControllerRevisionHashLabelKey: hash}, OwnerReferences: owner("DaemonSet", "d")},
			Spec:       corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}},
		}
	}
	const yes, no = corev1.ConditionTrue, corev1.ConditionFalse
	for name, c := range map[string]struct {
		desired, updated, ready, stray int32
		pods                           []corev1.Pod
		want                           string
	}{
		"its pod is not ready":          {3, 3, 2, 0, []corev1.Pod{on("n1", "new", yes), on("n2", "new", yes), on("lost", "new", no)}, ""},
		"its pod is of before":          {3, 2, 2, 0, []corev1.Pod{on("n1", "new", yes), on("n2", "new", yes), on("lost", "old", no)}, ""},
		"another is not ready either":   {3, 3, 1, 0, []corev1.Pod{on("n1", "new", yes), on("n2", "new", no), on("lost", "new", no)}, "DaemonSet csi-blob-node (1 of 2 ready)"},
		"another is of before":          {3, 2, 2, 0, []corev1.Pod{on("n1", "new", yes), on("n2", "old", yes), on("lost", "new", no)}, "DaemonSet csi-blob-node (1 of 2 ready)"},
		"another has none yet":          {3, 2, 1, 0, []corev1.Pod{on("n1", "new", yes), on("lost", "new", no)}, "DaemonSet csi-blob-node (1 of 2 ready)"},
		"it is not among the desired":   {2, 2, 1, 1, []corev1.Pod{on("n1", "new", yes), on("n2", "new", no), on("lost", "new", no)}, "DaemonSet csi-blob-node (1 of 2 ready)"},
		"none, and one is not ready":    {2, 2, 1, 0, []corev1.Pod{on("n1", "new", yes), on("n2", "new", no)}, "DaemonSet csi-blob-node (1 of 2 ready)"},
		"none, and the status says all": {2, 2, 2, 0, []corev1.Pod{on("n1", "new", yes), on("n2", "new", yes)}, ""},
		"not desired, another has none": {2, 1, 1, 1, []corev1.Pod{on("n1", "new", yes), on("lost", "new", no)}, "DaemonSet csi-blob-node (1 of 2 ready)"},
		"two pods of one lost node":     {3, 2, 1, 0, []corev1.Pod{on("n1", "new", yes), on("lost", "new", no), on("lost", "old", no)}, "DaemonSet csi-blob-node (1 of 2 ready)"},
		"all are of lost nodes":         {1, 1, 0, 0, []corev1.Pod{on("lost", "new", no)}, "DaemonSet csi-blob-node (0 of 1 ready)"},
	} {
		t.Run(name, func(t *testing.T) {
			d := set
			d.Status = appsv1.DaemonSetStatus{DesiredNumberScheduled: c.desired, UpdatedNumberScheduled: c.updated, NumberReady: c.ready, NumberMisscheduled: c.stray}
			w := workloads{daemonSets: []appsv1.DaemonSet{d}, pods: c.pods, revisions: []appsv1.ControllerRevision{newest, older}, lost: map[string]bool{"lost": true}}
			if got := strings.Join(w.unready(), ", "); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	p := pod()
	p.Spec.NodeName = "lost"
	w := workloads{pods: []corev1.Pod{p}, lost: map[string]bool{"lost": true}}
	if got := w.problems(); len(got) != 1 || got[0].String() != "pod azureml/gateway-1: NodeNotReady: node lost is not ready" {
		t.Errorf("problems of a pod that could be elsewhere: %v", got)
	}
	for name, c := range map[string]struct {
		pods []corev1.Pod
		want int
	}{"of a set that has others": {[]corev1.Pod{on("lost", "new", no), on("n1", "new", yes)}, 0}, "of a set that has none": {[]corev1.Pod{on("lost", "new", no)}, 1}} {
		w.pods = c.pods
		if got := w.problems(); len(got) != c.want {
			t.Errorf("problems %s: %v", name, got)
		}
	}
}

// TestDown: a node that is not ready for a moment is one to wait for.
func TestDown(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		status corev1.ConditionStatus
		since  time.Duration
		want   bool
	}{
		"ready": {corev1.ConditionTrue, time.Hour, false}, "never heard of": {"", 0, false},
		"not ready for a moment": {corev1.ConditionFalse, 30 * time.Second, false}, "not ready": {corev1.ConditionFalse, 2 * time.Minute, true},
		"silent for a moment": {corev1.ConditionUnknown, 30 * time.Second, false}, "silent": {corev1.ConditionUnknown, 2 * time.Minute, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := &corev1.Node{}
			if c.status != "" {
				n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: c.status, LastTransitionTime: metav1.NewTime(now.Add(-c.since))}}
			}
			if got := down(n, now); got != c.want {
				t.Errorf("down %v, want %v", got, c.want)
			}
		})
	}
}

func owner(kind string, uid types.UID) []metav1.OwnerReference {
	yes := true
	return []metav1.OwnerReference{{Kind: kind, UID: uid, Controller: &yes}}
}

func TestCurrent(t *testing.T) {
	set := appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{UID: "r", Annotations: map[string]string{revisionAnnotation: "2"}, OwnerReferences: owner("Deployment", "d")}}
	deployment := func(generation int64, revision string) workloads {
		return workloads{replicaSets: []appsv1.ReplicaSet{set}, deployments: []appsv1.Deployment{{
			ObjectMeta: metav1.ObjectMeta{UID: "d", Generation: generation, Annotations: map[string]string{revisionAnnotation: revision}}, Status: appsv1.DeploymentStatus{ObservedGeneration: 2}}}}
	}
	stateful := func(generation int64, hash string) workloads {
		return workloads{statefulSets: []appsv1.StatefulSet{{ObjectMeta: metav1.ObjectMeta{UID: "s", Generation: generation}, Status: appsv1.StatefulSetStatus{ObservedGeneration: 2, UpdateRevision: hash}}}}
	}
	of := func(kind string, uid types.UID) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{OwnerReferences: owner(kind, uid), Labels: map[string]string{appsv1.ControllerRevisionHashLabelKey: "f-2"}}}
	}
	for name, c := range map[string]struct {
		w    workloads
		pod  corev1.Pod
		want bool
	}{
		"nobody's":                                {workloads{}, corev1.Pod{}, true},
		"newest ReplicaSet":                       {deployment(2, "2"), of("ReplicaSet", "r"), true},
		"ReplicaSet of before":                    {deployment(2, "3"), of("ReplicaSet", "r"), false},
		"a template that is not seen yet":         {deployment(3, "2"), of("ReplicaSet", "r"), false},
		"a ReplicaSet that is gone":               {deployment(2, "2"), of("ReplicaSet", "other"), false},
		"newest revision of a StatefulSet":        {stateful(2, "f-2"), of("StatefulSet", "s"), true},
		"one of before":                           {stateful(2, "f-3"), of("StatefulSet", "s"), false},
		"a StatefulSet's that is not seen yet":    {stateful(3, "f-2"), of("StatefulSet", "s"), false},
		"a StatefulSet that is not the release's": {stateful(2, "f-2"), of("StatefulSet", "other"), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.w.current(c.pod); got != c.want {
				t.Errorf("current %v, want %v", got, c.want)
			}
		})
	}
}
