// Command fairlead-agent is everything that Fairlead runs in a cluster beside the jobs, one subcommand a component.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{Use: "fairlead-agent", Short: "A component of Fairlead in a cluster", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(append(linked(), agentCommand(), operatorCommand(), inferenceOperatorCommand(), identityControllerCommand(), identityProxyCommand(), logsCommand(), csiNodeCommand(), claimsCommand(), mountCommand(), hostDeviceCommand(), selinuxCommand())...)
	if err := root.ExecuteContext(ctx); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "fairlead-agent:", err)
		os.Exit(1)
	}
}

// flags are common to all components.
type flags struct{ healthAddr, linkDir string }

func (f *flags) bind(c *cobra.Command) {
	c.Flags().StringVar(&f.healthAddr, "health-addr", ":8080", "address that answers probes")
}

func (f *flags) bindLink(c *cobra.Command, dir string) {
	f.bind(c)
	c.Flags().StringVar(&f.linkDir, "link-dir", dir, "folder with token, endpoint and ca.crt")
}
