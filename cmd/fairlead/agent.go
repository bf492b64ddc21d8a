package main

import (
	"context"

	"fairlead.dev/fairlead/internal/cli"
	"fairlead.dev/fairlead/internal/cluster/agentinstall"
)

func install(ctx context.Context, in cli.AgentInstall) error {
	return agentinstall.Install(ctx, agentinstall.Options{
		Kubeconfig: in.Kubeconfig, Context: in.Context, Endpoint: in.Endpoint, CA: in.CAPEM, ClusterID: in.ClusterID, TenantID: in.TenantID,
		PrivateKeyPEM: in.PrivateKeyPEM, ProxyHTTPS: in.HTTPSProxy, ProxyHTTP: in.HTTPProxy, ProxySkipRange: in.NoProxy, ProxyCert: in.ProxyCAPEM,
		Wait: in.Timeout, Progress: in.Progress,
	})
}

func uninstall(ctx context.Context, in cli.AgentUninstall) error {
	return agentinstall.Uninstall(ctx, agentinstall.Options{
		Kubeconfig: in.Kubeconfig, Context: in.Context, Wait: in.Timeout, Progress: in.Progress,
	})
}
