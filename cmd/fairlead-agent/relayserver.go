package main

import (
	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/cluster/relayserver"
)

func relayserverCommand() *cobra.Command {
	var f flags
	c := &cobra.Command{Use: "relayserver", Short: "Serve live streams from jobs' pods", Args: cobra.NoArgs}
	f.bindLink(c, component.LinkDir)
	c.RunE = func(c *cobra.Command, _ []string) error {
		log := component.Logger("relayserver")
		link, err := component.Link(f.linkDir, log)
		if err != nil {
			return err
		}
		kube, err := component.Kube()
		if err != nil {
			return err
		}
		return component.WithHealth(c.Context(), f.healthAddr, relayserver.Main(kube, link, log))
	}
	return c
}
