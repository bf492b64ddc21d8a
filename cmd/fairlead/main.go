// Command fairlead is the command line, the control plane and the local cluster in one program.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"fairlead.dev/fairlead/internal/cli"
	"fairlead.dev/fairlead/internal/controlplane"
	"fairlead.dev/fairlead/internal/local"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	deps := cli.SystemDeps()
	deps.Extra = append(cli.LocalCommands(), controlplane.Command(managed{}))
	local.OnReady, local.OnImages = logIn, followImages
	deps.InstallAgent, deps.UninstallAgent = install, uninstall
	code := cli.Main(ctx, deps, os.Args[1:])
	stop()
	os.Exit(code)
}

// logIn makes the control plane that "up" started the one that the next command uses.
func logIn(_ context.Context, p local.Profile) error {
	return cli.SaveLocalProfile(cli.LocalProfile{
		Endpoint: p.Endpoint, CAFile: p.CAFile, TenantID: p.TenantID, SubscriptionID: p.SubscriptionID, ClientID: p.ClientID, ClientSecret: p.ClientSecret,
	})
}
