package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/cluster/training"
)

func operatorCommand() *cobra.Command {
	var f flags
	var image, pullSecret, customCA string
	var mounts, namespaceUsers bool
	var nodes map[string]string
	var nodeLostAfter time.Duration
	c := &cobra.Command{Use: "aml-operator", Short: "Make a gang of pods of each AmlJob", Args: cobra.NoArgs}
	f.bind(c)
	c.Flags().StringVar(&image, "runtime-image", "", "image that holds fairlead-runtime")
	c.Flags().StringVar(&pullSecret, "image-pull-secret", "", "Secret in jobs' namespaces for images of a private registry")
	c.Flags().StringVar(&customCA, "custom-ca", "", "PEM of CAs that jobs trust besides public ones and the control plane's")
	c.Flags().StringToStringVar(&nodes, "node-selector", nil, "label=value that nodes of jobs must have besides what instance types ask for")
	c.Flags().DurationVar(&nodeLostAfter, "node-lost-after", time.Minute, "how long a node may be away before the pods of its jobs are given up")
	c.Flags().BoolVar(&mounts, "blob-mounts", false, "nodes have csi-blob-node, so that jobs' inputs and outputs can be mounted")
	c.Flags().BoolVar(&namespaceUsers, "namespace-users", false, "users of pods are those that the cluster gives to namespaces (OpenShift)")
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
		config := training.Config{
			RuntimeImage: image, PullSecret: pullSecret, NodeSelector: nodes, CustomCA: customCA, RelayNamespace: os.Getenv("POD_NAMESPACE"), Proxy: training.ProxyFromEnvironment(),
			NodeLostAfter: nodeLostAfter, BlobMounts: mounts, NamespaceUsers: namespaceUsers,
		}
		if err := training.Add(mgr, config); err != nil {
			return err
		}
		return mgr.Start(c.Context())
	}
	return c
}
