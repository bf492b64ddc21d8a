package main

import (
	"os"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/cluster/logs"
)

func logsCommand() *cobra.Command {
	var f flags
	cfg := logs.Config{Node: os.Getenv("NODE_NAME"), Namespaces: []string{"azure-arc", os.Getenv("POD_NAMESPACE")}}
	c := &cobra.Command{Use: "log-collector", Short: "Bring the logs of a node's containers to the control plane (fluent-bit)", Args: cobra.NoArgs}
	f.bindLink(c, component.LinkDir)
	c.Flags().StringVar(&cfg.Dir, "dir", "/var/log/pods", "the kubelet's folder of logs")
	c.Flags().BoolVar(&cfg.Everything, "everything", false, "collect all lines, of workloads too, not only warnings and errors of Fairlead's components")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg.Log = component.Logger("fluent-bit")
		link, err := component.Link(f.linkDir, cfg.Log)
		if err != nil {
			return err
		}
		cfg.Post = link.PostLogs
		kube, err := component.Kube()
		if err != nil {
			return err
		}
		if cfg.Pods, err = logs.PodsOf(kube, cfg.Node); err != nil {
			return err
		}
		return component.WithHealth(c.Context(), f.healthAddr, logs.Main(cfg))
	}
	return c
}
