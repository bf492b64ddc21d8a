package main

import (
	"context"

	"fairlead.dev/fairlead/internal/cli"
	"fairlead.dev/fairlead/internal/cluster/agentinstall"
)

func install(ctx context.Context, in cli.AgentInstall) error {
	proxy := &agentinstall.Proxy{HTTPS: in.HTTPSProxy, HTTP: in.HTTPProxy, SkipRange: in.NoProxy, Cert: in.ProxyCAPEM}
	if in.KeepProxy {
		proxy = nil
	}
	return agentinstall.Install(ctx, agentinstall.Options{
		Kubeconfig: in.Kubeconfig, Context: in.Context, Endpoint: in.Endpoint, CA: in.CAPEM, ClusterID: in.ClusterID, TenantID: in.TenantID,
		PrivateKeyPEM: in.PrivateKeyPEM, Proxy: proxy, AgentImage: in.AgentImage, RouterImage: in.RouterImage, RuntimeImage: in.RuntimeImage, PullSecret: in.PullSecret,
		Update: in.Update, Wait: in.Timeout, Progress: in.Progress,
	})
}

// followImages is what "up" does to an agent when it has brought other images to the cluster.
func followImages(ctx context.Context, kubeconfig string, progress func(string)) error {
	return agentinstall.FollowImages(ctx, agentinstall.Options{Kubeconfig: kubeconfig, Progress: progress})
}

func uninstall(ctx context.Context, in cli.AgentUninstall) error {
	return agentinstall.Uninstall(ctx, agentinstall.Options{
		Kubeconfig: in.Kubeconfig, Context: in.Context, ClusterID: in.ClusterID, Wait: in.Timeout, Progress: in.Progress,
	})
}
