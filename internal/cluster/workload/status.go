package workload

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// WriteStatus patches what of an object's status changed since it was read, if anything did and nobody wrote meanwhile. An object that is
// gone needs none.
func WriteStatus(ctx context.Context, c client.Client, old, changed client.Object) error {
	if equality.Semantic.DeepEqual(old, changed) {
		return nil
	}
	err := c.Status().Patch(ctx, changed, client.MergeFromWithOptions(old, client.MergeFromWithOptimisticLock{}))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("writing status of %T %s/%s: %w", old, old.GetNamespace(), old.GetName(), err)
	}
	return nil
}
