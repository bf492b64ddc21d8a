package relayserver

import (
	"context"
	"fmt"
	"log/slog"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/internal/link"
)

// Main connects a Server to the link.
func Main(kube *rest.Config, l *link.Client, log *slog.Logger) func(ctx context.Context, ready func()) error {
	return func(ctx context.Context, ready func()) error {
		client, err := kubernetes.NewForConfig(kube)
		if err != nil {
			return fmt.Errorf("making a Kubernetes client: %w", err)
		}
		ready()
		return link.ServeRelay(ctx, l, New(client, log).Handle)
	}
}
