package training

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/mountbroker"
	"fairlead.dev/fairlead/internal/runtime/podenv"
)

func TestBlobMounts(t *testing.T) {
	for name, tt := range map[string]struct {
		spec string
		off  bool
		want bool
	}{
		"input":              {spec: `{"inputs":{"a":{"type":"literal"},"b":{"type":"uri_folder","mode":"ReadOnlyMount"}}}`, want: true},
		"file":               {spec: `{"inputs":{"b":{"type":"uri_file","mode":"ReadOnlyMount"}}}`, want: true},
		"output":             {spec: `{"outputs":{"b":{"type":"custom_model","mode":"ReadWriteMount"}}}`, want: true},
		"an input to change": {spec: `{"inputs":{"b":{"type":"uri_folder","mode":"ReadWriteMount","write":true}}}`, want: true},
		"no driver":          {spec: `{"outputs":{"b":{"type":"custom_model","mode":"ReadWriteMount"}}}`, off: true},
		"copies":             {spec: `{"inputs":{"b":{"type":"uri_folder","mode":"Download"},"c":{"type":"uri_folder","mode":"ReadWriteMount"}},"outputs":{"o":{"mode":"Upload"}}}`},
		"a file to write to": {spec: `{"outputs":{"b":{"type":"uri_file","mode":"ReadWriteMount"}}}`},
		"nothing":            {spec: `{}`},
		"not JSON":           {spec: `{`},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			cfg.BlobMounts = !tt.off
			job := aJob(func(j *v1alpha1.AmlJob) { j.Spec.Job.Options.CommonRuntimeJobSpec = []byte(tt.spec) })
			pod, err := renderPod(job, *defaultType(), surroundings{}, cfg)
			if err != nil {
				t.Fatal(err)
			}
			volume := slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.CSI != nil && v.CSI.Driver == mountbroker.Driver })
			main := pod.Spec.Containers[0]
			mount := slices.ContainsFunc(main.VolumeMounts, func(m corev1.VolumeMount) bool {
				return m.MountPath == commonruntime.MountDir && m.ReadOnly && *m.MountPropagation == corev1.MountPropagationHostToContainer
			})
			env := slices.ContainsFunc(main.Env, func(e corev1.EnvVar) bool { return e.Name == podenv.Mounts && e.Value == commonruntime.MountDir })
			if volume != tt.want || mount != tt.want || env != tt.want {
				t.Errorf("volume %v, mount %v, variable %v, want %v", volume, mount, env, tt.want)
			}
		})
	}
}
