package main

import (
	"context"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/cluster/selinux"
)

func selinuxCommand() *cobra.Command {
	var f flags
	var cfg selinux.Config
	c := &cobra.Command{Use: "selinux-policy", Short: "Load Fairlead's SELinux module on a node (load-amlarc-selinux-policy)", Args: cobra.NoArgs}
	f.bind(c)
	c.Flags().StringVar(&cfg.HostRoot, "host-root", "/host", "where the node's root folder is seen")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg.Log = component.Logger("load-amlarc-selinux-policy")
		return component.WithHealth(c.Context(), f.healthAddr, func(ctx context.Context, ready func()) error {
			return selinux.Run(ctx, cfg, ready)
		})
	}
	return c
}
