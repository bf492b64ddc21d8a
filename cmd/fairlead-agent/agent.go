package main

import (
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/internal/cluster/agent"
	"fairlead.dev/fairlead/internal/cluster/component"
)

func agentCommand() *cobra.Command {
	var f flags
	var dir, key string
	c := &cobra.Command{Use: "agent", Short: "Link this cluster to its control plane and manage extensions", Args: cobra.NoArgs}
	f.bind(c)
	c.Flags().StringVar(&dir, "config-dir", "/etc/fairlead/config", "folder with endpoint, clusterId, tenantId and ca.crt")
	c.Flags().StringVar(&key, "private-key", "/etc/fairlead/key/privateKey", "file with the cluster's private key")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := agent.ReadConfig(dir, key)
		if err != nil {
			return err
		}
		cfg.Log = component.Logger("agent")
		if cfg.Kube, err = component.Kube(); err != nil {
			return err
		}
		group, ctx := errgroup.WithContext(c.Context())
		group.Go(func() error { return component.ServeHealth(ctx, f.healthAddr, nil) })
		group.Go(func() error { return agent.Run(ctx, cfg) })
		return group.Wait()
	}
	return c
}
