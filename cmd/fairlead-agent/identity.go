package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/component"
	"fairlead.dev/fairlead/internal/cluster/identity"
)

func identityControllerCommand() *cobra.Command {
	var f flags
	c := &cobra.Command{Use: "identity-controller", Short: "Give each Identity an account that its pods run in (amlarc-identity-controller)", Args: cobra.NoArgs}
	f.bind(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		component.Logger("amlarc-identity-controller")
		kube, err := component.Kube()
		if err != nil {
			return err
		}
		mgr, err := component.Manager(kube, f.healthAddr, v1alpha1.AddToScheme, identity.CacheOptions())
		if err != nil {
			return err
		}
		if err := identity.Add(mgr); err != nil {
			return err
		}
		return mgr.Start(c.Context())
	}
	return c
}

func identityProxyCommand() *cobra.Command {
	var f flags
	var addr string
	c := &cobra.Command{Use: "identity-proxy", Short: "Lead pods of managed identities to the control plane (amlarc-identity-proxy)", Args: cobra.NoArgs}
	f.bindLink(c, component.LinkDir)
	c.Flags().StringVar(&addr, "addr", fmt.Sprintf(":%d", v1alpha1.IdentityProxyPort), "address that answers pods")
	c.RunE = func(c *cobra.Command, _ []string) error {
		log := component.Logger(v1alpha1.IdentityProxy)
		kube, err := component.Kube()
		if err != nil {
			return err
		}
		mgr, err := component.Manager(kube, f.healthAddr, v1alpha1.AddToScheme, cache.Options{})
		if err != nil {
			return err
		}
		if err := identity.AddProxy(mgr, addr, f.linkDir, log); err != nil {
			return err
		}
		return mgr.Start(c.Context())
	}
	return c
}
