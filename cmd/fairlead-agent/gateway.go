package main

import (
	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/cluster/gateway"
)

func gatewayCommand() *cobra.Command {
	var f flags
	c := &cobra.Command{Use: "gateway", Short: "Bring desired jobs into the cluster", Args: cobra.NoArgs}
	f.bindLink(c, component.LinkDir)
	c.RunE = func(c *cobra.Command, _ []string) error {
		log := component.Logger("gateway")
		link, err := component.Link(f.linkDir, log)
		if err != nil {
			return err
		}
		kube, err := component.Kube()
		if err != nil {
			return err
		}
		return component.WithHealth(c.Context(), f.healthAddr, gateway.Main(kube, link, log))
	}
	return c
}
