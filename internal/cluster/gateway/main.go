package gateway

import (
	"context"
	"fmt"
	"log/slog"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/cluster/desired"
	"fairlead.dev/fairlead/internal/link"
)

// Main connects a Gateway to the link.
func Main(kube *rest.Config, l *link.Client, log *slog.Logger) func(ctx context.Context, ready func()) error {
	return func(ctx context.Context, ready func()) error {
		scheme := runtime.NewScheme()
		if err := v1alpha1.AddToScheme(scheme); err != nil {
			return fmt.Errorf("registering kinds: %w", err)
		}
		c, err := client.New(kube, client.Options{Scheme: scheme})
		if err != nil {
			return fmt.Errorf("making a Kubernetes client: %w", err)
		}
		observer := link.NewObserver(l)
		g := New(Config{Client: c, Log: log, Inference: component.Inference(), Observe: observer.Set, Forget: observer.Forget})
		group, ctx := errgroup.WithContext(ctx)
		group.Go(func() error { return observer.Run(ctx) })
		group.Go(func() error { return g.Run(ctx) })
		group.Go(func() error { return l.Follow(ctx, g.Prefix(), desired.NewFollower(g.Handler()).Apply) })
		ready()
		return group.Wait()
	}
}
