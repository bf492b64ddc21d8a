package training

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	jobset "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/workload"
)

const testID = "0123456789abcdef0123456789abcdef"

var t0 = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func at(seconds int) metav1.Time { return metav1.NewTime(t0.Add(time.Duration(seconds) * time.Second)) }

func aJob(edit ...func(*v1alpha1.AmlJob)) *v1alpha1.AmlJob {
	j := &v1alpha1.AmlJob{
		TypeMeta: metav1.TypeMeta{APIVersion: "amlarc.azureml.com/v1alpha1", Kind: "AmlJob"},
		ObjectMeta: metav1.ObjectMeta{Name: testID, Namespace: "ml", UID: "uid-1", Labels: map[string]string{
			"ml.azure.com/workspace": "ws1", "ml.azure.com/compute": "k8s", "ml.azure.com/run-id": "plum_tree_1", "kueue.x-k8s.io/queue-name": "team-a"}},
		Spec: v1alpha1.AmlJobSpec{Job: v1alpha1.JobSpec{JobID: testID, Name: "plum_tree_1", Image: "registry.example/py:1", InstanceCount: 1,
			Options: v1alpha1.JobOptions{CommonRuntimeJobSpec: []byte(`{"version":"2"}`)}}},
	}
	for _, e := range edit {
		e(j)
	}
	return j
}

func canceled(j *v1alpha1.AmlJob)             { j.Spec.Job.Cancel = true }
func created(j *v1alpha1.AmlJob)              { j.Status.JobSetCreated = true }
func inState(s string) func(*v1alpha1.AmlJob) { return func(j *v1alpha1.AmlJob) { j.Status.State = s } }
func gangOf(n int32) func(*v1alpha1.AmlJob) {
	return func(j *v1alpha1.AmlJob) { j.Spec.Job.InstanceCount = n }
}
func typed(name string) func(*v1alpha1.AmlJob) {
	return func(j *v1alpha1.AmlJob) { j.Spec.Job.InstanceType = name }
}
func restarts(n int32) func(*v1alpha1.AmlJob) {
	return func(j *v1alpha1.AmlJob) { j.Spec.Job.MaxRestarts = n }
}
func because(r string) func(*v1alpha1.AmlJob) {
	return func(j *v1alpha1.AmlJob) { j.Status.Reason = r }
}
func remembers(p, phase string) func(*v1alpha1.AmlJob) {
	return func(j *v1alpha1.AmlJob) { j.Status.Pods = []v1alpha1.AmlJobPod{{Name: p, Phase: phase}} }
}

func limited(seconds int64, started int) func(*v1alpha1.AmlJob) {
	return func(j *v1alpha1.AmlJob) {
		j.Spec.Job.TimeoutSeconds = seconds
		s := at(started)
		j.Status.RunningSince = &s
	}
}

func limits(seconds int64) func(*v1alpha1.AmlJob) {
	return func(j *v1alpha1.AmlJob) { j.Spec.Job.TimeoutSeconds = seconds }
}

func began(second int) func(*v1alpha1.AmlJob) {
	return func(j *v1alpha1.AmlJob) { s := at(second); j.Status.StartTime = &s }
}

func gpuType() *workload.InstanceType {
	q := resource.MustParse
	return &workload.InstanceType{Name: "gpu", Spec: v1alpha1.InstanceTypeSpec{
		NodeSelector: map[string]string{"pool": "gpu"},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{"cpu": q("4"), "memory": q("8Gi")},
			Limits:   corev1.ResourceList{"cpu": q("8"), "memory": q("16Gi"), "nvidia.com/gpu": q("2")},
		}}}
}

func defaultType() *workload.InstanceType {
	return &workload.InstanceType{Name: v1alpha1.DefaultInstanceType, Spec: v1alpha1.ImplicitDefault()}
}

func aJobSet(edit ...func(*jobset.JobSet)) *jobset.JobSet {
	js := &jobset.JobSet{ObjectMeta: metav1.ObjectMeta{Name: jobSetName(testID), Namespace: "ml"}}
	for _, e := range edit {
		e(js)
	}
	return js
}

func has(t jobset.JobSetConditionType) func(*jobset.JobSet) {
	return func(js *jobset.JobSet) {
		js.Status.Conditions = append(js.Status.Conditions, metav1.Condition{Type: string(t), Status: metav1.ConditionTrue, Message: "jobset says so"})
	}
}

func restarted(n int32) func(*jobset.JobSet) {
	return func(js *jobset.JobSet) { js.Status.Restarts = n }
}
func beingDeleted(js *jobset.JobSet) { now := at(50); js.DeletionTimestamp = &now }

func aPod(rank int, edit ...func(*corev1.Pod)) corev1.Pod {
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("pod-%d", rank), Namespace: "ml", Labels: map[string]string{
			LabelJobID: testID, LabelRank: strconv.Itoa(rank), labelAttempt: "0"}, CreationTimestamp: at(0)},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{Name: initContainer, Image: "fairlead/runtime:1"}},
			Containers: []corev1.Container{{Name: mainContainer, Image: "registry.example/py:1", Resources: corev1.ResourceRequirements{
				Limits: corev1.ResourceList{"memory": resource.MustParse("2Gi")}}}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, e := range edit {
		e(&p)
	}
	return p
}

func onNode(p *corev1.Pod)               { p.Spec.NodeName = "node-1" }
func attempt(n string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Labels[labelAttempt] = n } }
func podDeleted(p *corev1.Pod)           { now := at(40); p.DeletionTimestamp = &now }

func mainWaits(reason, msg string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		onNode(p)
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: mainContainer, Image: "sha256:x",
			State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: msg}}}}
	}
}

func running(ready bool, since int) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		onNode(p)
		p.Status.Phase = corev1.PodRunning
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: mainContainer, Ready: ready,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: at(since)}}}}
	}
}

// ended is a pod whose container ended with a code, the kubelet's reason and the runtime's result, if any.
func ended(code int32, reason string, finished int, r *commonruntime.Result) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		onNode(p)
		p.Status.Phase = corev1.PodFailed
		if code == 0 {
			p.Status.Phase = corev1.PodSucceeded
		}
		msg := ""
		if r != nil {
			b, _ := json.Marshal(r)
			msg = string(b)
		}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: mainContainer, State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason, Message: msg, StartedAt: at(5), FinishedAt: at(finished)}}}}
	}
}

func podCondition(t corev1.PodConditionType, s corev1.ConditionStatus, reason, msg string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: t, Status: s, Reason: reason, Message: msg})
	}
}

func disrupted(reason string) func(*corev1.Pod) {
	return podCondition(corev1.DisruptionTarget, corev1.ConditionTrue, reason, "the node said so")
}

func failedJob(reason, msg string) batchv1.Job {
	return batchv1.Job{Status: batchv1.JobStatus{Conditions: []batchv1.JobCondition{
		{Type: batchv1.JobFailed, Status: corev1.ConditionTrue, Reason: reason, Message: msg}}}}
}

func warning(second int, msg string) corev1.Event {
	return corev1.Event{Type: corev1.EventTypeWarning, Message: msg, LastTimestamp: at(second)}
}

func about(pod string, e corev1.Event) corev1.Event {
	e.InvolvedObject = corev1.ObjectReference{Kind: "Pod", Name: pod}
	return e
}

// podEvent is one that the kubelet tells of a container of pod-0.
func podEvent(reason, field string, second int) corev1.Event {
	return corev1.Event{Type: corev1.EventTypeNormal, Reason: reason, LastTimestamp: at(second),
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "pod-0", FieldPath: field}}
}
