package controlplane

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/controlplane/types"
)

// Command is "fairlead server". What reaches managed clusters is given, since it needs Helm.
func Command(installer types.Installer) *cobra.Command {
	cfg := Config{Installer: installer}
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run the control plane",
		Long: `Run the control plane: resource manager, token issuer, blob front and the link to clusters on one address.

The first start makes a tenant, a subscription and an administrator, whose credentials are written to admin.json in the data
folder. Every flag can also be given in the environment: --data-dir is FAIRLEAD_DATA_DIR.`,
		Example: `  fairlead server
  fairlead server --listen :8443 --public-url https://fairlead.example.com:8443
  fairlead server --store postgres://fairlead@db/fairlead --blobs 's3://fairlead?region=eu-west-1'`,
		Args: cobra.NoArgs, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cfg.FromEnv(os.LookupEnv); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return Run(ctx, cfg)
		},
	}
	cfg.Bind(cmd.Flags())
	cmd.AddCommand(usersCommand(), principalsCommand(), keysCommand())
	return cmd
}
