package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/cluster/csi"
	"fairlead.dev/fairlead/internal/cluster/hostdevice"
)

func csiNodeCommand() *cobra.Command {
	var f flags
	var dir, namespace string
	c := &cobra.Command{Use: "csi-blob-node", Short: "Let pods of jobs mount folders of blobs, and mount claims (CSI drivers)", Args: cobra.NoArgs}
	f.bind(c)
	c.Flags().StringVar(&dir, "kubelet-dir", "/var/lib/kubelet", "the kubelet's folder, at the same path as on the node")
	c.Flags().StringVar(&namespace, "serving-namespace", "", "namespace whose pods may serve volumes of claims; none without")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg := csi.Config{KubeletDir: dir, Namespace: namespace, NodeName: os.Getenv("NODE_NAME"), Log: component.Logger("csi-blob-node")}
		group, ctx := errgroup.WithContext(c.Context())
		group.Go(func() error { return component.ServeHealth(ctx, f.healthAddr, nil) })
		group.Go(func() error { return csi.Run(ctx, cfg) })
		return group.Wait()
	}
	return c
}

func hostDeviceCommand() *cobra.Command {
	var f flags
	var dir string
	var cfg hostdevice.Config
	c := &cobra.Command{Use: "host-device-plugin", Short: "Hand out a device of the node (k8s-host-device-plugin)", Args: cobra.NoArgs}
	f.bind(c)
	c.Flags().StringVar(&dir, "kubelet-dir", "/var/lib/kubelet", "the kubelet's folder")
	c.Flags().StringVar(&cfg.Device, "device", "/dev/fuse", "path of the device")
	c.Flags().StringVar(&cfg.Resource, "resource", "fairlead.dev/fuse", "resource by which containers ask for it")
	c.Flags().StringVar(&cfg.HostRoot, "host-root", "", "where the node's /dev is seen, as <host-root>/dev")
	c.Flags().IntVar(&cfg.Count, "count", 1000, "how often it is offered")
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg.PluginDir, cfg.Log = filepath.Join(dir, "device-plugins"), component.Logger("host-device-plugin")
		group, ctx := errgroup.WithContext(c.Context())
		group.Go(func() error { return component.ServeHealth(ctx, f.healthAddr, nil) })
		group.Go(func() error { return hostdevice.Run(ctx, cfg) })
		return group.Wait()
	}
	return c
}
