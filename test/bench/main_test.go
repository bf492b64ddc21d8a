package bench

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/cli"
	"fairlead.dev/fairlead/internal/controlplane"
)

// TestMain turns the test binary into fairlead, when it is asked for a server: tests need no build beside their own.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "server" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		deps := cli.SystemDeps()
		deps.Extra = []*cobra.Command{controlplane.Command(nil)}
		code := cli.Main(ctx, deps, os.Args[1:])
		stop()
		os.Exit(code)
	}
	os.Exit(m.Run())
}
