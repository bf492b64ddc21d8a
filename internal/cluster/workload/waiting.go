package workload

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var insufficient = regexp.MustCompile(`(?:Insufficient ([A-Za-z0-9_./-]*[A-Za-z0-9])|(Too many pods))`)

// Unschedulable turns the scheduler's text into what is lacking, how much is asked for and by which instance type, whose name may be
// missing: then the receiver is nil.
func (it *InstanceType) Unschedulable(text string, pods int32) string {
	lacking := lackingResources(text)
	var why []string
	if len(lacking) > 0 {
		why = append(why, "no node has enough free "+strings.Join(lacking, " and "))
	}
	if strings.Contains(text, "node affinity/selector") && it != nil && len(it.Spec.NodeSelector) > 0 {
		why = append(why, fmt.Sprintf("nodes lack the labels %s", metav1.FormatLabelSelector(&metav1.LabelSelector{MatchLabels: it.Spec.NodeSelector})))
	}
	if strings.Contains(text, "untolerated taint") {
		why = append(why, "nodes have taints that the instance type does not tolerate")
	}
	if strings.HasPrefix(text, "no nodes available") {
		why = append(why, "the cluster has no nodes")
	}
	if len(why) == 0 {
		why = append(why, "no node can run the pod")
	}
	msg := strings.Join(why, "; ")
	if it != nil {
		msg += fmt.Sprintf(". Instance type %s asks for %s for each of %d pod(s)", it.Name, it.Asks(), pods)
	}
	return msg + ". Free or add nodes, or choose another instance type. Scheduler: " + text
}

func lackingResources(text string) []string {
	var out []string
	for _, m := range insufficient.FindAllStringSubmatch(text, -1) {
		if name := cmp.Or(m[1], "pod slots"); !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// PullReasons are the kubelet's words for an image that cannot be had.
var PullReasons = []string{"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
	"RegistryUnavailable", "SignatureValidationFailed"}

// noEntry is what container runtimes say when a registry wants to know who asks, or refuses who does.
var noEntry = regexp.MustCompile(`(?i)\b40[13]\b|unauthorized|authorization failed|access denied|no basic auth|forbidden`)

// PullAdvice says what to do about an image that cannot be had; again is what makes a pod that has other credentials.
func PullAdvice(p corev1.Pod, text, again string) string {
	if !noEntry.MatchString(text) {
		return "Check the image's name and tag, and that the cluster may read the registry; it is tried again"
	}
	if len(p.Spec.ImagePullSecrets) == 0 {
		return fmt.Sprintf("The registry asks for credentials and the pod has none: make a Secret of type kubernetes.io/dockerconfigjson in namespace %s, name it in imagePullSecrets of the namespace's service account default, and %s",
			p.Namespace, again)
	}
	names := make([]string, len(p.Spec.ImagePullSecrets))
	for i, s := range p.Spec.ImagePullSecrets {
		names[i] = s.Name
	}
	return fmt.Sprintf("The registry refuses the credentials of Secret %s in namespace %s, or there are none of that name: mend them and it is tried again, or check the image's name",
		strings.Join(names, ", "), p.Namespace)
}

// ImageOf is the image as the pod's spec names it; the kubelet's status may hold another form of it.
func ImageOf(p corev1.Pod, cs corev1.ContainerStatus) string {
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		if c.Name == cs.Name {
			return c.Image
		}
	}
	return cs.Image
}
