package reporter

import (
	"cmp"
	"context"
	"log/slog"
	"os"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/link"
)

// Main connects a Reporter to the link.
func Main(kube *rest.Config, l *link.Client, log *slog.Logger) func(ctx context.Context, ready func()) error {
	return func(ctx context.Context, ready func()) error {
		observer := link.NewObserver(l)
		r, err := New(Config{Kube: kube, Observe: observer.Set, Inference: component.Inference(), Namespace: cmp.Or(os.Getenv("POD_NAMESPACE"), "azureml"), Log: log})
		if err != nil {
			return err
		}
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return observer.Run(ctx) })
		group.Go(func() error { return r.Run(ctx) })
		group.Go(func() error {
			if err := r.Synced(ctx); err != nil {
				return err
			}
			ready()
			return nil
		})
		return group.Wait()
	}
}
