package main

import (
	"os"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/cluster/training"
)

func operatorCommand() *cobra.Command {
	var f flags
	var image string
	c := &cobra.Command{Use: "aml-operator", Short: "Make a gang of pods of each AmlJob", Args: cobra.NoArgs}
	f.bind(c)
	c.Flags().StringVar(&image, "runtime-image", "fairlead/runtime:dev", "image that holds fairlead-runtime")
	c.RunE = func(c *cobra.Command, _ []string) error {
		component.Logger("aml-operator")
		kube, err := component.Kube()
		if err != nil {
			return err
		}
		mgr, err := component.Manager(kube, f.healthAddr, training.AddToScheme, training.CacheOptions())
		if err != nil {
			return err
		}
		if err := training.Add(mgr, training.Config{RuntimeImage: image, RelayNamespace: os.Getenv("POD_NAMESPACE"), Proxy: training.ProxyFromEnvironment()}); err != nil {
			return err
		}
		return mgr.Start(c.Context())
	}
	return c
}
