package preflight

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/metadata"
)

// Existing looks for the objects of a chart that the cluster has already, and whose they are. It reads their metadata only.
func Existing(ctx context.Context, client metadata.Interface, objects []Object) ([]Object, error) {
	alive := map[string]bool{}
	var out []Object
	for _, o := range objects {
		gvk := schema.FromAPIVersionAndKind(o.APIVersion, o.Kind)
		plural, _ := meta.UnsafeGuessKindToResource(gvk)
		if strings.HasSuffix(o.Kind, "Constraints") { // a plural already
			plural.Resource = strings.ToLower(o.Kind)
		}
		got, err := at(client, plural, o.Namespace).Get(ctx, o.Name, metav1.GetOptions{})
		if absent(err) != nil {
			return out, fmt.Errorf("reading %s: %w", o, err)
		}
		if err != nil {
			continue
		}
		o.Release, o.ReleaseNamespace = got.Annotations[ReleaseAnnotation], got.Annotations[ReleaseNamespaceAnnotation]
		release := o.ReleaseNamespace + "/" + o.Release
		if _, known := alive[release]; !known {
			if alive[release], err = releaseAlive(ctx, client, o.ReleaseNamespace, o.Release); err != nil {
				return out, err
			}
		}
		o.Alive = alive[release]
		o.Ours = got.Labels["app.kubernetes.io/part-of"] == "azureml" && got.Labels["app.kubernetes.io/managed-by"] == "Helm"
		out = append(out, o)
	}
	return out, nil
}

func at(client metadata.Interface, r schema.GroupVersionResource, namespace string) metadata.ResourceInterface {
	if namespace == "" {
		return client.Resource(r)
	}
	return client.Resource(r).Namespace(namespace)
}

// releaseAlive reports whether Helm has a record of a release.
func releaseAlive(ctx context.Context, client metadata.Interface, namespace, name string) (bool, error) {
	if name == "" || namespace == "" {
		return false, nil
	}
	records, err := client.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(namespace).
		List(ctx, metav1.ListOptions{LabelSelector: "owner=helm,name=" + name})
	if err != nil {
		return false, fmt.Errorf("looking for Helm release %s/%s: %w", namespace, name, err)
	}
	return len(records.Items) > 0, nil
}
