package metrics

import (
	"cmp"
	"context"
	"log/slog"
	"os"

	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/internal/link"
)

// Main connects a Controller to the link and to the extension's Prometheus. It uses nothing else of the cluster.
func Main(_ *rest.Config, l *link.Client, log *slog.Logger) func(ctx context.Context, ready func()) error {
	namespace := cmp.Or(os.Getenv("POD_NAMESPACE"), "azureml")
	return New(Config{ControlPlane: l, Prometheus: "http://prometheus-operated." + namespace + ".svc:9090", Log: log}).Run
}
