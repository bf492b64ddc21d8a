package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/cluster/inference"
	"fairlead.dev/fairlead/internal/cluster/training"
)

// podFlags say how an operator makes pods of users' images.
type podFlags struct {
	image, pullSecret, customCA string
	nodes                       map[string]string
	mounts, namespaceUsers      bool
}

func (p *podFlags) bind(c *cobra.Command) {
	c.Flags().StringVar(&p.image, "runtime-image", "", "image that holds fairlead-runtime")
	c.Flags().StringVar(&p.pullSecret, "image-pull-secret", "", "Secret in computes' namespaces for images of a private registry")
	c.Flags().StringVar(&p.customCA, "custom-ca", "", "PEM of CAs that pods trust besides public ones and the control plane's")
	c.Flags().StringToStringVar(&p.nodes, "node-selector", nil, "label=value that nodes of pods must have besides what instance types ask for")
	c.Flags().BoolVar(&p.mounts, "blob-mounts", false, "nodes have csi-blob-node, which mounts jobs' inputs and outputs and keeps models")
	c.Flags().BoolVar(&p.namespaceUsers, "namespace-users", false, "leave the users of pods to the cluster, which has ranges for each namespace (OpenShift)")
}

func operatorCommand() *cobra.Command {
	var f flags
	var p podFlags
	var nodeLostAfter time.Duration
	c := &cobra.Command{Use: "aml-operator", Short: "Make a gang of pods of each AmlJob", Args: cobra.NoArgs}
	f.bind(c)
	p.bind(c)
	c.Flags().DurationVar(&nodeLostAfter, "node-lost-after", time.Minute, "how long a node may be away before the pods of its jobs are given up")
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
			RuntimeImage: p.image, PullSecret: p.pullSecret, NodeSelector: p.nodes, CustomCA: p.customCA, RelayNamespace: os.Getenv("POD_NAMESPACE"),
			Proxy: component.ProxyFromEnvironment(), NodeLostAfter: nodeLostAfter, BlobMounts: p.mounts, NamespaceUsers: p.namespaceUsers,
		}
		if err := training.Add(mgr, config); err != nil {
			return err
		}
		return mgr.Start(c.Context())
	}
	return c
}

func inferenceOperatorCommand() *cobra.Command {
	var f flags
	var p podFlags
	c := &cobra.Command{Use: "inference-operator", Short: "Make pods of each OnlineDeployment, and scale them", Args: cobra.NoArgs}
	f.bind(c)
	p.bind(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		component.Logger("inference-operator")
		kube, err := component.Kube()
		if err != nil {
			return err
		}
		routers := os.Getenv("POD_NAMESPACE")
		mgr, err := component.Manager(kube, f.healthAddr, v1alpha1.AddToScheme, inference.CacheOptions(routers))
		if err != nil {
			return err
		}
		config := inference.Config{
			RuntimeImage: p.image, PullSecret: p.pullSecret, NodeSelector: p.nodes, CustomCA: p.customCA, RouterNamespace: routers,
			Proxy: component.ProxyFromEnvironment(), ModelCache: p.mounts, NamespaceUsers: p.namespaceUsers,
		}
		if err := inference.Add(mgr, config); err != nil {
			return err
		}
		return mgr.Start(c.Context())
	}
	return c
}
