package training

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/internal/cluster/workload"
)

// The label and annotation of claims that every pod of a job in their namespace gets.
const (
	labelClaim          = "ml.azure.com/pvc"
	annotationMountPath = "ml.azure.com/mountpath"
)

// surroundings are what a job's pods get of their namespace.
type surroundings struct {
	mounts []mount
	// invalid says which claim cannot be mounted, and why; empty when all can.
	invalid     string
	pullSecrets []corev1.LocalObjectReference
}

// mount is one claim where the command sees it.
type mount struct {
	claim, path string
	readOnly    bool
}

func (r *reconciler) surroundings(ctx context.Context, namespace string) (surroundings, error) {
	var s surroundings
	var claims corev1.PersistentVolumeClaimList // not of the cache: a job that follows its claim at once must find it
	if err := r.live.List(ctx, &claims, client.InNamespace(namespace), client.MatchingLabels{labelClaim: "true"}); err != nil {
		return s, fmt.Errorf("listing claims of namespace %s: %w", namespace, err)
	}
	s.mounts, s.invalid = mounts(claims.Items)
	var err error
	s.pullSecrets, err = workload.PullSecrets(ctx, r.live, namespace, r.cfg.PullSecret)
	return s, err
}

// reserved folders are the runtime's and the kernel's.
var reserved = []string{"/fairlead", "/dev", "/proc", "/sys"}

// mounts are the claims in the order of their names; those that go away are left out.
func mounts(claims []corev1.PersistentVolumeClaim) (out []mount, invalid string) {
	slices.SortFunc(claims, func(a, b corev1.PersistentVolumeClaim) int { return strings.Compare(a.Name, b.Name) })
	at := map[string]string{}
	for _, c := range claims {
		if c.DeletionTimestamp != nil {
			continue
		}
		m := mount{claim: c.Name, path: c.Annotations[annotationMountPath], readOnly: onlyRead(c)}
		say := func(why string) string {
			return fmt.Sprintf("PersistentVolumeClaim %s of namespace %s has the label %s, but its annotation %s is %q, %s; mend the annotation or take the label away",
				c.Name, c.Namespace, labelClaim, annotationMountPath, m.path, why)
		}
		switch other := at[m.path]; {
		case !path.IsAbs(m.path) || path.Clean(m.path) != m.path || m.path == "/" || strings.Contains(m.path, ":"):
			return nil, say("which is no absolute path of a folder such as /mnt/data")
		case slices.ContainsFunc(reserved, func(r string) bool { return m.path == r || strings.HasPrefix(m.path, r+"/") }):
			return nil, say("where the container has files of its own")
		case other != "":
			return nil, say("as that of " + other + " is")
		}
		at[m.path] = c.Name
		out = append(out, m)
	}
	return out, ""
}

// onlyRead says whether a claim asks for nothing but to be read.
func onlyRead(c corev1.PersistentVolumeClaim) bool {
	return len(c.Spec.AccessModes) > 0 && !slices.ContainsFunc(c.Spec.AccessModes, func(m corev1.PersistentVolumeAccessMode) bool {
		return m != corev1.ReadOnlyMany
	})
}

func claimVolume(i int) string { return fmt.Sprintf("pvc-%d", i) }

func (s surroundings) volumes() []corev1.Volume {
	var out []corev1.Volume
	for i, m := range s.mounts {
		out = append(out, corev1.Volume{Name: claimVolume(i), VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: m.claim, ReadOnly: m.readOnly}}})
	}
	return out
}

func (s surroundings) volumeMounts() []corev1.VolumeMount {
	var out []corev1.VolumeMount
	for i, m := range s.mounts {
		out = append(out, corev1.VolumeMount{Name: claimVolume(i), MountPath: m.path, ReadOnly: m.readOnly})
	}
	return out
}
