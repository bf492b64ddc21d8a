package training

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/workload"
)

var update = flag.Bool("update", false, "write golden files")

func testConfig(t *testing.T) Config {
	t.Helper()
	cfg, err := Config{RuntimeImage: "fairlead/runtime:1"}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// TestNamespaceUsers: on OpenShift no pod of a job asks for a user; the namespace's range decides.
func TestNamespaceUsers(t *testing.T) {
	for _, leave := range []bool{false, true} {
		cfg := testConfig(t)
		cfg.NamespaceUsers = leave
		template, err := renderPod(aJob(), *defaultType(), surroundings{}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		spec := template.Spec
		asks := spec.SecurityContext.RunAsUser != nil
		for _, c := range append(spec.InitContainers, spec.Containers...) {
			asks = asks || c.SecurityContext.RunAsUser != nil
		}
		if asks == leave {
			t.Errorf("namespace users %v: a user is asked for: %v", leave, asks)
		}
	}
}

func TestRenderGolden(t *testing.T) {
	tests := map[string]struct {
		job    *v1alpha1.AmlJob
		it     *workload.InstanceType
		around surroundings
	}{
		"single": {aJob(), defaultType(), surroundings{}},
		"gang": {aJob(gangOf(3), restarts(2), typed("gpu"), func(j *v1alpha1.AmlJob) {
			j.Spec.Job.ShmSize = "512Mi"
			j.Labels["ml.azure.com/resource-group"] = "rg1"
		}), func() *workload.InstanceType {
			it := gpuType()
			it.Spec.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}
			it.Spec.RuntimeClassName = "nvidia"
			return it
		}(), surroundings{mounts: []mount{{"data", "/mnt/data", false}, {"base", "/mnt/base", true}}, pullSecrets: []corev1.LocalObjectReference{{Name: "registry"}}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			objs, err := render(tt.job, *tt.it, tt.around, testConfig(t))
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			for _, o := range objs {
				b, err := yaml.Marshal(o)
				if err != nil {
					t.Fatal(err)
				}
				got.WriteString("---\n")
				got.Write(b)
			}
			golden(t, filepath.Join("testdata", name+".golden.yaml"), got.Bytes())
		})
	}
}

// TestParameterServers: the gang ends well with its workers; who asks for none has every pod counted.
func TestParameterServers(t *testing.T) {
	for name, tt := range map[string]struct {
		doc  string
		want string
	}{
		"two workers":   {`{"distribution":{"type":"TensorFlow","workerCount":2,"parameterServerCount":1}}`, "0-1"},
		"one worker":    {`{"distribution":{"type":"TensorFlow","workerCount":1,"parameterServerCount":2}}`, "0"},
		"no servers":    {`{"distribution":{"type":"TensorFlow","workerCount":3}}`, ""},
		"not a role":    {`{"distribution":{"type":"TensorFlow","parameterServerCount":3}}`, ""},
		"not JSON":      {`{`, ""},
		"nothing asked": {`{}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			job := aJob(gangOf(3), func(j *v1alpha1.AmlJob) { j.Spec.Job.Options.CommonRuntimeJobSpec = []byte(tt.doc) })
			js, err := renderJobSet(job, *defaultType(), surroundings{}, testConfig(t))
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if p := js.Spec.ReplicatedJobs[0].Template.Spec.SuccessPolicy; p != nil {
				got = *p.Rules[0].SucceededIndexes
			}
			if got != tt.want {
				t.Errorf("succeeds with indexes %q, want %q", got, tt.want)
			}
		})
	}
}

// TestLostPod: a batch job starts anew also when somebody ended a pod, which its runtime tells by the exit code; no other job does.
func TestLostPod(t *testing.T) {
	for doc, want := range map[string][]int32{`{}`: nil, `{"batch":{"data":"d"}}`: {143}} {
		job := aJob(func(j *v1alpha1.AmlJob) { j.Spec.Job.Options.CommonRuntimeJobSpec = []byte(doc) })
		js, err := renderJobSet(job, *defaultType(), surroundings{}, testConfig(t))
		if err != nil {
			t.Fatal(err)
		}
		var got []int32
		for _, r := range js.Spec.ReplicatedJobs[0].Template.Spec.PodFailurePolicy.Rules {
			if r.Action != batchv1.PodFailurePolicyActionFailJob {
				t.Errorf("%s: rule %+v", doc, r)
			}
			if r.OnExitCodes != nil {
				got = append(got, r.OnExitCodes.Values...)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: exit codes %v, want %v", doc, got, want)
		}
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got; -update writes it):\n%s", path, diff)
	}
}

func TestRenderRefuses(t *testing.T) {
	tests := map[string]struct {
		edit func(*v1alpha1.AmlJob)
		says string
	}{
		"no pods":      {func(j *v1alpha1.AmlJob) { j.Spec.Job.InstanceCount = 0 }, "instanceCount is 0"},
		"shm no size":  {func(j *v1alpha1.AmlJob) { j.Spec.Job.ShmSize = "lots" }, `"lots"`},
		"shm negative": {func(j *v1alpha1.AmlJob) { j.Spec.Job.ShmSize = "-1Gi" }, `"-1Gi"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := render(aJob(tt.edit), *defaultType(), surroundings{}, testConfig(t))
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %v lacks %q", err, tt.says)
			}
		})
	}
}

func TestConfigNeedsImage(t *testing.T) {
	if _, err := (Config{}).withDefaults(); err == nil {
		t.Error("a Config without RuntimeImage was accepted")
	}
}
