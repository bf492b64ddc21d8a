// Command fairlead is the command line, the control plane and the local cluster in one program.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/cli"
	"fairlead.dev/fairlead/internal/cluster/agentinstall"
	"fairlead.dev/fairlead/internal/controlplane"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	deps := cli.SystemDeps()
	deps.Extra = []*cobra.Command{controlplane.Command()}
	deps.InstallAgent, deps.UninstallAgent = install, uninstall
	code := cli.Main(ctx, deps, os.Args[1:])
	stop()
	os.Exit(code)
}

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
