package inference

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

const server, initializer = v1alpha1.ServingContainer, v1alpha1.FetchContainer

func TestDecide(t *testing.T) {
	const scheduler = "0/1 nodes are available: 1 Insufficient cpu."
	type want struct {
		state, reason string
		says          []string
	}
	od := aDeployment()
	updated := aDeployment(was("Succeeded", 1))
	up := aDeployment(was("Succeeded", 2))
	pods := func(p ...corev1.Pod) []corev1.Pod { return p }
	for name, tt := range map[string]struct {
		od         *v1alpha1.OnlineDeployment
		deployment *appsv1.Deployment
		pods       []corev1.Pod
		events     []corev1.Event
		after      time.Duration
		want       want
	}{
		"not made yet":        {od: od, want: want{"Creating", "", []string{"0 of 2"}}},
		"fetches":             {od, made(od, 2, 2, 0), pods(aPod(od, "a", inContainer(initializer, corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}))), nil, 0, want{"Creating", "", []string{"pod a is fetching model and code"}}},
		"starts":              {od, made(od, 2, 2, 0), pods(aPod(od, "a", inContainer(server, corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}))), nil, 0, want{"Creating", "", []string{"does not answer its probes yet"}}},
		"starts for too long": {od, made(od, 2, 2, 0), pods(aPod(od, "a", inContainer(server, corev1.ContainerStatus{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}))), nil, 21 * time.Minute, want{"Failed", ReasonNotReady, []string{"pod a has not been ready for 20m0s"}}},
		"one serves":          {od, made(od, 2, 2, 1), pods(aPod(od, "a", serves), aPod(od, "b")), nil, 0, want{"Creating", "", []string{"pod b is being started on node node-1"}}},
		"all serve":           {od, made(od, 2, 2, 2), pods(aPod(od, "a", serves), aPod(od, "b", serves)), nil, 0, want{"Succeeded", "", nil}},
		"a volume is missing": {od, made(od, 2, 2, 0), pods(aPod(od, "a")), []corev1.Event{{Type: "Warning", Reason: "FailedMount", Message: "secret not found", InvolvedObject: corev1.ObjectReference{Name: "a"}}}, 0,
			want{"Creating", "", []string{"FailedMount: secret not found"}}},
		"image is missing": {od, made(od, 2, 2, 0), pods(aPod(od, "a", waits(server, "ImagePullBackOff", "r/x:9: not found"))), nil, time.Minute,
			want{"Creating", ReasonImagePull, []string{"container inference-server", "registry.example/py:1", "not found", "name and tag"}}},
		"image stays missing": {od, made(od, 2, 2, 0), pods(aPod(od, "a", waits(server, "ImagePullBackOff", "not found"))), nil, 4 * time.Minute, want{"Failed", ReasonImagePull, nil}},
		"image has no name":   {od, made(od, 2, 2, 0), pods(aPod(od, "a", waits(server, "InvalidImageName", "bad"))), nil, 0, want{"Failed", ReasonImagePull, nil}},
		"no room":             {od, made(od, 2, 2, 0), pods(aPod(od, "a", unscheduled(scheduler))), nil, time.Minute, want{"Creating", ReasonUnschedulable, []string{"enough free cpu", "defaultinstancetype", "2 pod(s)"}}},
		"no room for long":    {od, made(od, 2, 2, 0), pods(aPod(od, "a", unscheduled(scheduler))), nil, 21 * time.Minute, want{"Failed", ReasonUnschedulable, nil}},
		"init fails once": {od, made(od, 2, 2, 0), pods(aPod(od, "a", crashed(server, "Error", 3, 1, result(commonruntime.CodeScriptInit, "Traceback …\nRuntimeError: no weights")))), nil, 0,
			want{"Creating", "UserScriptInitFailed", []string{"container inference-server of pod a", "RuntimeError: no weights"}}},
		"init fails":          {od, made(od, 2, 2, 0), pods(aPod(od, "a", crashed(server, "Error", 3, 2, result(commonruntime.CodeScriptInit, "no weights")))), nil, 0, want{"Failed", "UserScriptInitFailed", []string{"no weights"}}},
		"import fails":        {od, made(od, 2, 2, 0), pods(aPod(od, "a", crashed(server, "Error", 3, 2, result(commonruntime.CodeScriptImport, "No module named 'x'")))), nil, 0, want{"Failed", "UserScriptImportError", []string{"'x'"}}},
		"no run()":            {od, made(od, 2, 2, 0), pods(aPod(od, "a", crashed(server, "Error", 3, 2, result(commonruntime.CodeScriptFunction, "no run()")))), nil, 0, want{"Failed", "UserScriptFunctionNotFound", nil}},
		"model is not there":  {od, made(od, 2, 2, 0), pods(aPod(od, "a", crashed(initializer, "Error", 1, 2, result(commonruntime.CodeFetchFailed, "404")))), nil, 0, want{"Failed", ReasonCrash, []string{"container storage-initializer of pod a", "404"}}},
		"crashes":             {od, made(od, 2, 2, 0), pods(aPod(od, "a", crashed(server, "Error", 1, 2, "last log lines"))), nil, 0, want{"Creating", ReasonCrash, []string{"exit code 1 (2 time(s)): last log lines"}}},
		"goes on crashing":    {od, made(od, 2, 2, 0), pods(aPod(od, "a", crashed(server, "Error", 1, 3, "last log lines"))), nil, 0, want{"Failed", ReasonCrash, []string{"last log lines"}}},
		"too little memory":   {od, made(od, 2, 2, 0), pods(aPod(od, "a", crashed(server, "OOMKilled", 137, 2, ""))), nil, 0, want{"Failed", ReasonOutOfMemory, []string{"2Gi"}}},
		"no quota":            {od, refused(made(od, 2, 0, 0), "exceeded quota: q"), nil, nil, 2 * time.Minute, want{"Failed", ReasonQuota, []string{"namespace ml", "exceeded quota"}}},
		"pods are refused":    {od, refused(made(od, 2, 0, 0), "violates PodSecurity"), nil, nil, 0, want{"Failed", ReasonInvalid, []string{"PodSecurity"}}},
		"update goes on":      {updated, made(updated, 2, 1, 2), pods(aPod(updated, "a", serves, old), aPod(updated, "b")), nil, 0, want{"Updating", "", []string{"pod b", "The 1 pod(s) of the version before go on serving"}}},
		"update fails":        {updated, made(updated, 2, 1, 2), pods(aPod(updated, "a", serves, old), aPod(updated, "b", crashed(server, "Error", 1, 3, "boom"))), nil, 0, want{"Failed", ReasonCrash, []string{"boom", "The 1 pod(s) of the version before go on serving"}}},
		"old pods are left":   {updated, func() *appsv1.Deployment { d := made(updated, 2, 2, 2); d.Status.Replicas = 3; return d }(), pods(aPod(updated, "a", serves)), nil, 0, want{"Updating", "", []string{"1 of 2"}}},
		"a pod dies later":    {up, made(up, 2, 2, 1), pods(aPod(up, "a", serves), aPod(up, "b", crashed(server, "Error", 1, 9, "boom"))), nil, 0, want{"Succeeded", ReasonCrash, []string{"boom"}}},
		"unknown type":        {od: aDeployment(func(od *v1alpha1.OnlineDeployment) { od.Spec.InstanceType = "gpu" }), want: want{"Failed", ReasonInvalid, []string{`"gpu"`, "instance_type"}}},
		"too much":            {od: aDeployment(asks(limits, "memory", "9Gi")), want: want{"Failed", ReasonInvalid, []string{"resources.limits.memory", "9Gi", "2Gi"}}},
		"GPU that it has not": {od: aDeployment(asks(limits, "nvidia.com/gpu", "1")), want: want{"Failed", ReasonInvalid, []string{"nvidia.com/gpu"}}},
		"asks for too much":   {od: aDeployment(asks(requests, "cpu", "3")), want: want{"Failed", ReasonInvalid, []string{"resources.requests.cpu", "3"}}},
		"no memory":           {od: aDeployment(asks(requests, "memory", "10k")), want: want{"Failed", ReasonInvalid, []string{"resources.requests.memory", "1M"}}},
		"bounds":              {od: aDeployment(scaled(3, 2)), want: want{"Failed", ReasonInvalid, []string{"scale.min", "3", "2"}}},
		"script elsewhere":    {od: aDeployment(func(od *v1alpha1.OnlineDeployment) { od.Spec.Code.ScoringScript = "../score.py" }), want: want{"Failed", ReasonInvalid, []string{"../score.py"}}},
		"mount path":          {od: aDeployment(func(od *v1alpha1.OnlineDeployment) { od.Spec.Model.MountPath = "/proc/1" }), want: want{"Failed", ReasonInvalid, []string{"/proc/1"}}},
		"port":                {od: aDeployment(func(od *v1alpha1.OnlineDeployment) { od.Spec.Routes.Port = 70000 }), want: want{"Failed", ReasonInvalid, []string{"70000"}}},
		"variable":            {od: aDeployment(func(od *v1alpha1.OnlineDeployment) { od.Spec.EnvironmentVariables["a=b"] = "" }), want: want{"Failed", ReasonInvalid, []string{"a=b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := world{now: t0.Add(tt.after), od: tt.od, deployment: tt.deployment, pods: tt.pods, events: tt.events, itype: defaultType()}
			if tt.od.Spec.InstanceType != "" {
				w.itype = nil
			}
			w.beside = renderBeside(tt.od, testConfig(t))
			d := decide(w, testConfig(t))
			if d.status.State != tt.want.state || d.status.Reason != tt.want.reason || d.status.ObservedGeneration != 2 {
				t.Errorf("status %+v, want %+v", d.status, tt.want)
			}
			for _, part := range tt.want.says {
				if !strings.Contains(d.status.Message, part) {
					t.Errorf("message %q lacks %q", d.status.Message, part)
				}
			}
			if len(d.beside) > 0 {
				t.Errorf("%d objects are written again", len(d.beside))
			}
		})
	}
}

func refused(d *appsv1.Deployment, text string) *appsv1.Deployment {
	d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: text, LastTransitionTime: at(0)}}
	return d
}

func TestReplicas(t *testing.T) {
	auto := aDeployment(scaled(0, 4), was("Succeeded", 2))
	fresh := aDeployment(scaled(0, 4))
	three := int32(3)
	for name, tt := range map[string]struct {
		od         *v1alpha1.OnlineDeployment
		deployment *appsv1.Deployment
		wanted     *int32
		want       int32
	}{
		"fixed":                          {aDeployment(), nil, nil, 2},
		"fixed, whatever was scaled":     {aDeployment(), made(aDeployment(), 7, 0, 0), &three, 2},
		"new, from zero":                 {fresh, nil, nil, 1},
		"the autoscaler's word":          {auto, made(auto, 1, 1, 1), &three, 3},
		"kept over the operator's start": {auto, made(auto, 3, 3, 3), nil, 3},
		"at zero":                        {auto, made(auto, 0, 0, 0), nil, 0},
		"new bounds":                     {auto, made(auto, 9, 9, 9), nil, 4},
		"updated at zero":                {aDeployment(scaled(0, 4), was("Succeeded", 1)), made(auto, 0, 0, 0), nil, 1},
	} {
		t.Run(name, func(t *testing.T) {
			d := decide(world{now: t0, od: tt.od, deployment: tt.deployment, wanted: tt.wanted, itype: defaultType()}, testConfig(t))
			if d.status.Replicas != tt.want {
				t.Errorf("%d pods, want %d", d.status.Replicas, tt.want)
			}
			if tt.deployment != nil && (d.scale != nil) != (*tt.deployment.Spec.Replicas != tt.want) {
				t.Errorf("scaled: %v", d.scale)
			}
		})
	}
}

// TestTemplate: what only the router, the autoscaler or the operator's version touches rolls no pod.
func TestTemplate(t *testing.T) {
	same := []func(*v1alpha1.OnlineDeployment){scaled(1, 9), func(od *v1alpha1.OnlineDeployment) {
		od.Spec.Requests.MaxQueueWaitMilliseconds, od.Labels[v1alpha1.LabelRevision], od.Generation = 9, "10", 3
	}}
	other := []func(*v1alpha1.OnlineDeployment){
		func(od *v1alpha1.OnlineDeployment) { od.Spec.Image = "registry.example/py:2" },
		func(od *v1alpha1.OnlineDeployment) { od.Spec.Model.Version = "4" },
		func(od *v1alpha1.OnlineDeployment) { od.Spec.EnvironmentVariables["COLOR"] = "red" },
		asks(limits, "memory", "1Gi"),
	}
	for _, e := range same {
		if template(aDeployment(e)) != template(aDeployment()) {
			t.Error("pods roll that need not")
		}
	}
	for i, e := range other {
		od := aDeployment(e)
		d := decide(world{now: t0, od: od, deployment: made(aDeployment(), 2, 2, 2), itype: defaultType()}, testConfig(t))
		if d.deployment == nil || d.deployment.Spec.Template.Labels[labelTemplate] != template(od) {
			t.Errorf("change %d does not roll", i)
		}
	}
}
