package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/internal/cluster/claims"
	"fairlead.dev/fairlead/internal/cluster/component"
)

func claimsCommand() *cobra.Command {
	var f flags
	c := &cobra.Command{Use: "csi-blob-controller", Short: "Make volumes of claims, and the pods that serve them (csi-blob-controller)", Args: cobra.NoArgs}
	f.bindLink(c, component.LinkDir)
	c.RunE = func(c *cobra.Command, _ []string) error {
		log := component.Logger("csi-blob-controller")
		link, err := component.Link(f.linkDir, log)
		if err != nil {
			return err
		}
		http, err := component.HTTP(f.linkDir)
		if err != nil {
			return err
		}
		kube, err := component.Kube()
		if err != nil {
			return err
		}
		self := &corev1.Pod{}
		namespace := os.Getenv("POD_NAMESPACE")
		mgr, err := component.Manager(kube, f.healthAddr, func(*runtime.Scheme) error { return nil }, claims.CacheOptions(namespace))
		if err != nil {
			return err
		}
		name, err := os.Hostname()
		if err == nil {
			err = mgr.GetAPIReader().Get(c.Context(), client.ObjectKey{Namespace: namespace, Name: name}, self)
		}
		if err != nil {
			return fmt.Errorf("reading the controller's own pod: %w", err)
		}
		if err := claims.Add(mgr, claims.Config{Self: self, Folder: link.Folder, Empty: claims.Empty(http, log), Log: log}); err != nil {
			return err
		}
		return mgr.Start(c.Context())
	}
	return c
}

func mountCommand() *cobra.Command {
	var f flags
	var m claims.Mount
	var readOnly bool
	c := &cobra.Command{Use: claims.Command, Short: "Serve a volume on a node (made by csi-blob-controller)", Args: cobra.NoArgs}
	f.bindLink(c, component.LinkDir)
	c.Flags().StringVar(&m.Question.Compute, "compute", "", "resource id of the compute as which the volume's claim acts")
	c.Flags().StringVar(&m.Question.Datastore, "datastore", "", "datastore of the compute's workspace; the default one without")
	c.Flags().StringVar(&m.Question.Namespace, "namespace", "", "the claim's namespace")
	c.Flags().StringVar(&m.Folder, "folder", "", "the volume's folder in the datastore")
	c.Flags().BoolVar(&readOnly, "read-only", false, "let nobody write")
	c.Flags().StringVar(&m.VolumeDir, "volume-dir", claims.VolumeDir, "volume of csi-blob-node")
	c.Flags().StringVar(&m.CacheDir, "cache-dir", claims.CacheDir, "folder for what was read and what is being written")
	c.RunE = func(c *cobra.Command, _ []string) error {
		m.Log, m.Question.Write = component.Logger(claims.Command), !readOnly
		link, err := component.Link(f.linkDir, m.Log)
		if err != nil {
			return err
		}
		if m.HTTP, err = component.HTTP(f.linkDir); err != nil {
			return err
		}
		m.Ask = link.Folder
		// The end of the probes must not end what is being stored.
		ctx, done := context.WithCancel(context.WithoutCancel(c.Context()))
		defer done()
		return component.WithHealth(ctx, f.healthAddr, func(_ context.Context, ready func()) error {
			err := m.Run(c.Context(), ready)
			if err == nil {
				done()
			}
			return err
		})
	}
	return c
}
