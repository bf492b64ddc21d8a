package training

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

// instanceType is the type a job runs on, by name, with what it means.
type instanceType struct {
	name string
	spec v1alpha1.InstanceTypeSpec
	// conflict says why no node can ever fit; empty as a rule.
	conflict string
}

// on narrows the type to nodes that have further labels.
func (it *instanceType) on(selector map[string]string) *instanceType {
	if len(selector) == 0 {
		return it
	}
	both := maps.Clone(selector)
	for _, key := range slices.Sorted(maps.Keys(it.spec.NodeSelector)) {
		value := it.spec.NodeSelector[key]
		if want, also := selector[key]; also && want != value {
			it.conflict = fmt.Sprintf("instance type %s asks for nodes with %s=%s and the extension's setting nodeSelector.%s for %s=%s; no node has both. Change one of them, or choose another instance type",
				it.name, key, value, key, key, want)
		}
		both[key] = value
	}
	it.spec.NodeSelector = both
	return it
}

// instanceTypeName is the type that a job names, or the default.
func instanceTypeName(job *v1alpha1.AmlJob) string {
	if n := job.Spec.Job.InstanceType; n != "" {
		return n
	}
	return v1alpha1.DefaultInstanceType
}

// gpus is how many GPUs of any vendor one pod gets.
func (it instanceType) gpus() int64 {
	var n int64
	for name, q := range it.spec.Resources.Limits {
		if strings.HasSuffix(string(name), "/gpu") {
			n += q.Value()
		}
	}
	return n
}

// asks says what one pod asks for: all of it, or only the named resources.
func (it instanceType) asks(only ...string) string {
	asked := maps.Clone(it.spec.Resources.Limits) // what has a limit and no request is asked for in full
	if asked == nil {
		asked = corev1.ResourceList{}
	}
	maps.Copy(asked, it.spec.Resources.Requests)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		if len(only) == 0 || slices.Contains(only, string(name)) {
			q := asked[name]
			out = append(out, fmt.Sprintf("%s %s", name, q.String()))
		}
	}
	return strings.Join(out, ", ")
}
