package main

import (
	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/cluster/reporter"
)

func reporterCommand() *cobra.Command {
	var f flags
	c := &cobra.Command{Use: "reporter", Short: "Tell the control plane what runs (cluster-status-reporter)", Args: cobra.NoArgs}
	f.bindLink(c, component.LinkDir)
	c.RunE = func(c *cobra.Command, _ []string) error {
		log := component.Logger("cluster-status-reporter")
		link, err := component.Link(f.linkDir, log)
		if err != nil {
			return err
		}
		kube, err := component.Kube()
		if err != nil {
			return err
		}
		return component.WithHealth(c.Context(), f.healthAddr, reporter.Main(kube, link, log))
	}
	return c
}
