package helm

import (
	"context"
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/yaml"
)

// FieldManager owns what this package applies itself.
const FieldManager = "fairlead-extension"

// establishTimeout bounds how long the API server may take to serve a new custom resource.
const establishTimeout = time.Minute

// applyCRDs creates and upgrades the chart's custom resource definitions, which Helm alone would only ever create. One that
// exists and was not applied by this package belongs to another installation and is left as it is.
func (c *Client) applyCRDs(ctx context.Context, chart *Chart) error {
	client, err := apiextensions.NewForConfig(c.config)
	if err != nil {
		return fmt.Errorf("making a client for custom resource definitions: %w", err)
	}
	crds := client.ApiextensionsV1().CustomResourceDefinitions()
	for _, doc := range chart.crds {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(doc, &crd); err != nil {
			return fmt.Errorf("reading a custom resource definition of chart %q: %w", chart.name, err)
		}
		old, err := crds.Get(ctx, crd.Name, metav1.GetOptions{})
		if err == nil && !appliedByUs(old) {
			c.log.Info("custom resource definition belongs to another installation; leaving it", "crd", crd.Name)
			continue
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("reading custom resource definition %s: %w", crd.Name, err)
		}
		body, err := yaml.YAMLToJSON(doc)
		if err != nil {
			return fmt.Errorf("reading custom resource definition %s: %w", crd.Name, err)
		}
		force := true
		if _, err := crds.Patch(ctx, crd.Name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: FieldManager, Force: &force}); err != nil {
			return fmt.Errorf("applying custom resource definition %s: %w", crd.Name, err)
		}
		err = wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, establishTimeout, true, func(ctx context.Context) (bool, error) {
			got, err := crds.Get(ctx, crd.Name, metav1.GetOptions{})
			return err == nil && established(got), err
		})
		if err != nil {
			return fmt.Errorf("waiting for custom resource definition %s to be served: %w", crd.Name, err)
		}
	}
	return nil
}

func appliedByUs(crd *apiextensionsv1.CustomResourceDefinition) bool {
	for _, f := range crd.ManagedFields {
		if f.Manager == FieldManager {
			return true
		}
	}
	return false
}

func established(crd *apiextensionsv1.CustomResourceDefinition) bool {
	for _, c := range crd.Status.Conditions {
		if c.Type == apiextensionsv1.Established {
			return c.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}
