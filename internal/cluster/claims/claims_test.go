package claims

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/link"
	"fairlead.dev/fairlead/internal/mountbroker"
)

var update = flag.Bool("update", false, "write golden files")

const theCompute = "/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w/computes/k8s"

func aClaim() *corev1.PersistentVolumeClaim {
	class := "datastore"
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "notes", Namespace: "train", UID: "0123", Annotations: map[string]string{provisionerAnnotation: mountbroker.ClaimDriver}},
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: &class, AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}},
	}
}

func aClass() *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "datastore"}, Provisioner: mountbroker.ClaimDriver,
		Parameters: map[string]string{"compute": theCompute, "datastore": "lake"}}
}

func aVolume(t *testing.T) *corev1.PersistentVolume {
	t.Helper()
	v, err := volumeOf(aClaim(), aClass())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func self() *corev1.Pod {
	yes := true
	probe := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/readyz"}}}
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "csi-blob-controller-0", Namespace: "azureml"}, Spec: corev1.PodSpec{
		ServiceAccountName: "csi-blob-controller", ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}}, SecurityContext: &corev1.PodSecurityContext{RunAsNonRoot: &yes},
		Containers: []corev1.Container{{Name: "csi-blob-controller", Image: "fairlead/agent:1", Args: []string{"csi-blob-controller"}, Env: []corev1.EnvVar{{Name: "HTTPS_PROXY", Value: "http://proxy"}}, ReadinessProbe: probe,
			SecurityContext: &corev1.SecurityContext{ReadOnlyRootFilesystem: &yes}, VolumeMounts: []corev1.VolumeMount{{Name: "link", MountPath: component.LinkDir, ReadOnly: true},
				{Name: "kube-api-access-x", MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"}}}},
		Volumes: []corev1.Volume{{Name: "link", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "fairlead-link"}}},
			{Name: "kube-api-access-x", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{}}}},
	}}
}

func anAttachment() *storagev1.VolumeAttachment {
	name := "pvc-0123"
	return &storagev1.VolumeAttachment{ObjectMeta: metav1.ObjectMeta{Name: "csi-abc", UID: "a1"}, Spec: storagev1.VolumeAttachmentSpec{
		Attacher: mountbroker.ClaimDriver, NodeName: "node-1", Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &name}}}
}

func TestGolden(t *testing.T) {
	v := aVolume(t)
	for name, object := range map[string]any{"volume": v, "mountpod": MountPod(anAttachment(), v, self())} {
		got, err := yaml.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", name+".golden.yaml")
		if *update {
			if err := os.WriteFile(path, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s (-want +got):\n%s", path, cmp.Diff(string(want), string(got)))
		}
	}
}

func TestQuestion(t *testing.T) {
	v := aVolume(t)
	if got, want := question(v), (link.FolderRequest{Compute: theCompute, Datastore: "lake", Namespace: "train", Write: true}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadOnlyMany}
	if question(v).Write {
		t.Error("a volume that is only read asks for the right to write")
	}
	if pod := MountPod(anAttachment(), v, self()); !strings.Contains(strings.Join(pod.Spec.Containers[0].Args, " "), "--read-only") {
		t.Errorf("args %v", pod.Spec.Containers[0].Args)
	}
}

func TestVolumeOf_Refused(t *testing.T) {
	block := corev1.PersistentVolumeBlock
	for want, change := range map[string]func(*corev1.PersistentVolumeClaim, *storagev1.StorageClass){
		"has no parameter compute":  func(_ *corev1.PersistentVolumeClaim, s *storagev1.StorageClass) { s.Parameters = nil },
		`has parameter "container"`: func(_ *corev1.PersistentVolumeClaim, s *storagev1.StorageClass) { s.Parameters["container"] = "x" },
		"has mountOptions":          func(_ *corev1.PersistentVolumeClaim, s *storagev1.StorageClass) { s.MountOptions = []string{"ro"} },
		"accessModes are [ReadWriteMany]": func(c *corev1.PersistentVolumeClaim, _ *storagev1.StorageClass) {
			c.Spec.AccessModes[0] = corev1.ReadWriteMany
		},
		"accessModes are []":  func(c *corev1.PersistentVolumeClaim, _ *storagev1.StorageClass) { c.Spec.AccessModes = nil },
		"volumeMode is Block": func(c *corev1.PersistentVolumeClaim, _ *storagev1.StorageClass) { c.Spec.VolumeMode = &block },
		"selector is set": func(c *corev1.PersistentVolumeClaim, _ *storagev1.StorageClass) {
			c.Spec.Selector = &metav1.LabelSelector{}
		},
		"dataSource is set": func(c *corev1.PersistentVolumeClaim, _ *storagev1.StorageClass) {
			c.Spec.DataSource = &corev1.TypedLocalObjectReference{}
		},
	} {
		claim, class := aClaim(), aClass()
		change(claim, class)
		if v, err := volumeOf(claim, class); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v", want, v, err)
		}
	}
	class := aClass()
	class.Provisioner = "other"
	if v, err := volumeOf(aClaim(), class); v != nil || err != nil {
		t.Errorf("of another provisioner: %v, %v", v, err)
	}
}

func TestWaits(t *testing.T) {
	now := metav1.Now()
	for name, c := range map[string]struct {
		want   bool
		change func(*corev1.PersistentVolumeClaim)
	}{
		"asked for": {true, func(*corev1.PersistentVolumeClaim) {}},
		"of old": {true, func(c *corev1.PersistentVolumeClaim) {
			c.Annotations = map[string]string{betaProvisionerAnnotation: mountbroker.ClaimDriver}
		}},
		"not asked for": {false, func(c *corev1.PersistentVolumeClaim) { c.Annotations = nil }},
		"of another":    {false, func(c *corev1.PersistentVolumeClaim) { c.Annotations[provisionerAnnotation] = "other" }},
		"bound":         {false, func(c *corev1.PersistentVolumeClaim) { c.Spec.VolumeName = "v" }},
		"being deleted": {false, func(c *corev1.PersistentVolumeClaim) { c.DeletionTimestamp = &now }},
		"without class": {false, func(c *corev1.PersistentVolumeClaim) { c.Spec.StorageClassName = nil }},
	} {
		claim := aClaim()
		c.change(claim)
		if waits(claim) != c.want {
			t.Errorf("%s: %v", name, !c.want)
		}
	}
}

// TestOver: what is not this provisioner's own, or is kept, is never deleted.
func TestOver(t *testing.T) {
	now := metav1.Now()
	for name, c := range map[string]struct {
		want   bool
		change func(*corev1.PersistentVolume)
	}{
		"released": {true, func(*corev1.PersistentVolume) {}},
		"bound":    {false, func(v *corev1.PersistentVolume) { v.Status.Phase = corev1.VolumeBound }},
		"kept": {false, func(v *corev1.PersistentVolume) {
			v.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
		}},
		"made by hand":   {false, func(v *corev1.PersistentVolume) { v.Annotations = nil }},
		"another folder": {false, func(v *corev1.PersistentVolume) { v.Spec.CSI.VolumeAttributes[attrFolder] = "LocalUpload" }},
		"another driver": {false, func(v *corev1.PersistentVolume) { v.Spec.CSI.Driver = "other" }},
		"without claim":  {false, func(v *corev1.PersistentVolume) { v.Spec.ClaimRef = nil }},
		"being deleted":  {false, func(v *corev1.PersistentVolume) { v.DeletionTimestamp = &now }},
	} {
		v := aVolume(t)
		v.Status.Phase = corev1.VolumeReleased
		c.change(v)
		if over(v) != c.want {
			t.Errorf("%s: %v", name, !c.want)
		}
	}
}

func TestDecide(t *testing.T) {
	now := metav1.Now()
	held := func(a *storagev1.VolumeAttachment) { a.Finalizers = []string{Finalizer} }
	pod := func(change ...func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodRunning}}
		for _, c := range change {
			c(p)
		}
		return p
	}
	isReady := func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	ends := func(p *corev1.Pod) { p.DeletionTimestamp = &now }
	crashed := func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: "one\nno role\n"}}}}
	}
	for name, c := range map[string]struct {
		change  []func(*storagev1.VolumeAttachment)
		pod     *corev1.Pod
		refused string
		want    action
	}{
		"new":                        {want: hold},
		"new, but no pod can serve":  {refused: "ReadWriteMany", want: failing},
		"held":                       {change: []func(*storagev1.VolumeAttachment){held}, want: create},
		"pod starts":                 {change: []func(*storagev1.VolumeAttachment){held}, pod: pod(), want: wait},
		"pod crashed":                {change: []func(*storagev1.VolumeAttachment){held}, pod: pod(crashed), want: failing},
		"pod serves":                 {change: []func(*storagev1.VolumeAttachment){held}, pod: pod(isReady), want: attached},
		"attached":                   {change: []func(*storagev1.VolumeAttachment){held, func(a *storagev1.VolumeAttachment) { a.Status.Attached = true }}, pod: pod(isReady), want: wait},
		"attached, pod crashed":      {change: []func(*storagev1.VolumeAttachment){held, func(a *storagev1.VolumeAttachment) { a.Status.Attached = true }}, pod: pod(crashed), want: wait},
		"attached, pod gone":         {change: []func(*storagev1.VolumeAttachment){held, func(a *storagev1.VolumeAttachment) { a.Status.Attached = true }}, want: create},
		"pod ends":                   {change: []func(*storagev1.VolumeAttachment){held}, pod: pod(ends, isReady), want: wait},
		"pod evicted":                {change: []func(*storagev1.VolumeAttachment){held}, pod: pod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), want: remove},
		"detach":                     {change: []func(*storagev1.VolumeAttachment){held, func(a *storagev1.VolumeAttachment) { a.DeletionTimestamp = &now }}, pod: pod(isReady), want: remove},
		"detach, it stores the rest": {change: []func(*storagev1.VolumeAttachment){held, func(a *storagev1.VolumeAttachment) { a.DeletionTimestamp = &now }}, pod: pod(ends), want: wait},
		"detach, all is stored":      {change: []func(*storagev1.VolumeAttachment){held, func(a *storagev1.VolumeAttachment) { a.DeletionTimestamp = &now }}, want: release},
		"detach, volume gone":        {change: []func(*storagev1.VolumeAttachment){held, func(a *storagev1.VolumeAttachment) { a.DeletionTimestamp = &now }}, refused: "gone", want: release},
		"detach, never held":         {change: []func(*storagev1.VolumeAttachment){func(a *storagev1.VolumeAttachment) { a.DeletionTimestamp = &now }}, want: wait},
	} {
		a := anAttachment()
		for _, change := range c.change {
			change(a)
		}
		if got := decide(a, c.pod, c.refused); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if got := trouble(pod(crashed)); got != "no role" {
		t.Errorf("trouble %q", got)
	}
}

func TestRefusal(t *testing.T) {
	for want, change := range map[string]func(*corev1.PersistentVolume){
		"":                                func(*corev1.PersistentVolume) {},
		"no attribute compute":            func(v *corev1.PersistentVolume) { delete(v.Spec.CSI.VolumeAttributes, paramCompute) },
		`attribute folder is ""`:          func(v *corev1.PersistentVolume) { delete(v.Spec.CSI.VolumeAttributes, attrFolder) },
		`attribute folder is "a/../../b"`: func(v *corev1.PersistentVolume) { v.Spec.CSI.VolumeAttributes[attrFolder] = "a/../../b" },
		"has no claim":                    func(v *corev1.PersistentVolume) { v.Spec.ClaimRef = nil },
		"accessModes are [ReadWriteMany]": func(v *corev1.PersistentVolume) {
			v.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
		},
	} {
		v := aVolume(t)
		change(v)
		if got := refusal(v); !strings.Contains(got, want) || (want == "") != (got == "") {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
