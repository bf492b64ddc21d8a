package training

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func claim(name, path string, modes ...corev1.PersistentVolumeAccessMode) corev1.PersistentVolumeClaim {
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ml", Labels: map[string]string{labelClaim: "true"},
			Annotations: map[string]string{annotationMountPath: path}},
		Spec: corev1.PersistentVolumeClaimSpec{AccessModes: modes},
	}
}

func TestMounts(t *testing.T) {
	going := claim("going", "bad")
	going.DeletionTimestamp = new(at(1))
	got, invalid := mounts([]corev1.PersistentVolumeClaim{
		claim("shared", "/mnt/nfs", corev1.ReadWriteMany), going, claim("base", "/data", corev1.ReadOnlyMany),
		claim("both", "/both", corev1.ReadOnlyMany, corev1.ReadWriteOnce),
	})
	want := []mount{{"base", "/data", true}, {"both", "/both", false}, {"shared", "/mnt/nfs", false}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(mount{})); diff != "" || invalid != "" {
		t.Errorf("%s mounts (-want +got):\n%s", invalid, diff)
	}
	for path, says := range map[string]string{
		"": `is ""`, "mnt": "absolute", "/": "absolute", "/a/../b": "absolute", "/a/": "absolute", "/a:b": "absolute",
		"/fairlead": "of its own", "/dev/shm": "of its own", "/proc/x": "of its own", "/same": "that of a is",
	} {
		_, invalid := mounts([]corev1.PersistentVolumeClaim{claim("b", path), claim("a", "/same")})
		for _, part := range []string{"PersistentVolumeClaim b of namespace ml", says, annotationMountPath} {
			if !strings.Contains(invalid, part) {
				t.Errorf("mount path %q: %q lacks %q", path, invalid, part)
			}
		}
	}
}

func TestNodeSelectors(t *testing.T) {
	both := gpuType().On(map[string]string{"zone": "a", "pool": "gpu"})
	if diff := cmp.Diff(map[string]string{"zone": "a", "pool": "gpu"}, both.Spec.NodeSelector); diff != "" || both.Conflict != "" {
		t.Errorf("conflict %q; selector (-want +got):\n%s", both.Conflict, diff)
	}
	d := decide(world{job: aJob(), itype: gpuType().On(map[string]string{"pool": "cpu"})})
	if d.action != actNone || d.status.Reason != ReasonUnschedulable || !strings.Contains(d.status.Message, "pool=gpu") || !strings.Contains(d.status.Message, "pool=cpu") {
		t.Errorf("decision %+v", d)
	}
}

// The texts are containerd's own.
func TestPullAdvice(t *testing.T) {
	const anonymous = "failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://r.example/token: 401 Unauthorized"
	for name, tt := range map[string]struct {
		text    string
		secrets []corev1.LocalObjectReference
		says    []string
	}{
		"no credentials":    {anonymous, nil, []string{"kubernetes.io/dockerconfigjson in namespace ml", "service account default"}},
		"docker hub":        {"pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed", nil, []string{"asks for credentials"}},
		"basic":             {"unexpected status from HEAD request to http://127.0.0.1:5000/v2/a/manifests/1: 401 Unauthorized", nil, []string{"asks for credentials"}},
		"wrong credentials": {anonymous, []corev1.LocalObjectReference{{Name: "a"}, {Name: "b"}}, []string{"Secret a, b in namespace ml", "refuses"}},
		"no such tag":       {"r.example/x:9: not found", nil, []string{"name and tag"}},
		"no such host":      {"dial tcp: lookup r.example: no such host", nil, []string{"name and tag"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := aPod(0, mainWaits("ImagePullBackOff", tt.text))
			p.Spec.ImagePullSecrets = tt.secrets
			g, waits := world{job: aJob()}.containerWaits(p)
			for _, part := range append(tt.says, "registry.example/py:1", tt.text) {
				if !waits || g.reason != ReasonImagePull || !strings.Contains(g.message, part) {
					t.Errorf("%s: %q lacks %q", g.reason, g.message, part)
				}
			}
		})
	}
}
