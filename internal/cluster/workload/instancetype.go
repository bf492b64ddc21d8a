// Package workload is what pods that run users' images have in common, whether they train or serve: instance types, tolerations, the
// Secrets that pull their images, and words for why they cannot start.
package workload

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

// InstanceType is the type that pods are of, by name, with what it means.
type InstanceType struct {
	Name string
	Spec v1alpha1.InstanceTypeSpec
	// Conflict says why no node can ever fit; empty as a rule.
	Conflict string
}

// Read finds an instance type, narrowed to nodes that have further labels; nil when there is none of that name.
func Read(ctx context.Context, from client.Reader, name string, selector map[string]string) (*InstanceType, error) {
	var it v1alpha1.InstanceType
	err := from.Get(ctx, types.NamespacedName{Name: name}, &it)
	switch {
	case err == nil:
		return (&InstanceType{Name: name, Spec: it.Spec}).On(selector), nil
	case apierrors.IsNotFound(err) && name == v1alpha1.DefaultInstanceType:
		return (&InstanceType{Name: name, Spec: v1alpha1.ImplicitDefault()}).On(selector), nil
	case apierrors.IsNotFound(err):
		return nil, nil
	}
	return nil, fmt.Errorf("reading instance type %q: %w", name, err)
}

// On narrows the type to nodes that have further labels.
func (it *InstanceType) On(selector map[string]string) *InstanceType {
	if len(selector) == 0 {
		return it
	}
	both := maps.Clone(selector)
	for _, key := range slices.Sorted(maps.Keys(it.Spec.NodeSelector)) {
		value := it.Spec.NodeSelector[key]
		if want, also := selector[key]; also && want != value {
			it.Conflict = fmt.Sprintf("instance type %s asks for nodes with %s=%s and the extension's setting nodeSelector.%s for %s=%s; no node has both. Change one of them, or choose another instance type",
				it.Name, key, value, key, key, want)
		}
		both[key] = value
	}
	it.Spec.NodeSelector = both
	return it
}

// GPUs is how many GPUs of any vendor one pod gets.
func (it InstanceType) GPUs() int64 {
	var n int64
	for name, q := range it.Spec.Resources.Limits {
		if strings.HasSuffix(string(name), "/gpu") {
			n += q.Value()
		}
	}
	return n
}

// Asks says what one pod asks for: all of it, or only the named resources.
func (it InstanceType) Asks(only ...string) string {
	asked := maps.Clone(it.Spec.Resources.Limits) // what has a limit and no request is asked for in full
	if asked == nil {
		asked = corev1.ResourceList{}
	}
	maps.Copy(asked, it.Spec.Resources.Requests)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		if len(only) == 0 || slices.Contains(only, string(name)) {
			q := asked[name]
			out = append(out, fmt.Sprintf("%s %s", name, q.String()))
		}
	}
	return strings.Join(out, ", ")
}
