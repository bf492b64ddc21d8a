package main

import (
	"context"
	"log/slog"

	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/cluster/gateway"
	"fairlead.dev/fairlead/internal/cluster/metrics"
	"fairlead.dev/fairlead/internal/cluster/relayserver"
	"fairlead.dev/fairlead/internal/cluster/reporter"
	"fairlead.dev/fairlead/internal/link"
)

// linked are the components that need nothing but the cluster's API and the link to the control plane.
func linked() []*cobra.Command {
	return []*cobra.Command{
		linkedCommand("gateway", "gateway", "Bring desired jobs into the cluster", gateway.Main),
		linkedCommand("relayserver", "relayserver", "Serve live streams from jobs' pods", relayserver.Main),
		linkedCommand("metrics", "metrics-controller-manager", "Bring jobs' CPU, memory and GPU series to the control plane (metrics-controller-manager)", metrics.Main),
		linkedCommand("reporter", "cluster-status-reporter", "Tell the control plane what runs (cluster-status-reporter)", reporter.Main),
	}
}

func linkedCommand(use, name, short string, run func(*rest.Config, *link.Client, *slog.Logger) func(context.Context, func()) error) *cobra.Command {
	var f flags
	c := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs}
	f.bindLink(c, component.LinkDir)
	c.RunE = func(c *cobra.Command, _ []string) error {
		log := component.Logger(name)
		link, err := component.Link(f.linkDir, log)
		if err != nil {
			return err
		}
		kube, err := component.Kube()
		if err != nil {
			return err
		}
		return component.WithHealth(c.Context(), f.healthAddr, run(kube, link, log))
	}
	return c
}
