package controlplane

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// keysCommand is "fairlead server keys": the keys that sign tokens.
func keysCommand() *cobra.Command {
	var b besides
	c := &cobra.Command{
		Use: "keys", Short: "See and change the keys that sign tokens",
		Long: "See and change the keys that sign tokens. Servers make and delete them by themselves (--signing-key-age); those that run heed changes within a minute.",
	}
	b.bind(c.PersistentFlags())
	with := func(cmd *cobra.Command, fn func(context.Context, issuer.KeyStore) error) error {
		return b.with(cmd.Context(), func(st store.Store, box *seal.Box) error {
			return fn(cmd.Context(), issuer.KeyStore{Store: st, Box: box})
		})
	}
	c.AddCommand(keysList(with), keysRotate(with), keysRemove(with))
	return c
}

// withKeys calls a function with the store's keys.
type withKeys func(*cobra.Command, func(context.Context, issuer.KeyStore) error) error

func keysList(with withKeys) *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List signing keys, oldest first", Args: cobra.NoArgs, SilenceUsage: true, Example: "  fairlead server keys list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd, func(ctx context.Context, s issuer.KeyStore) error {
				keys, signs, err := s.List(ctx, time.Now())
				if err != nil {
					return err
				}
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "Id\tMade\tSignsFrom\tState")
				for i, k := range keys {
					state := "verifies what it signed"
					switch {
					case i == signs:
						state = "signs"
					case i > signs:
						state = "published, does not sign yet"
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", k.ID, k.Made.UTC().Format(time.RFC3339), k.SignsFrom.UTC().Format(time.RFC3339), state)
				}
				return w.Flush()
			})
		},
	}
}

func keysRotate(with withKeys) *cobra.Command {
	settle := issuer.Settle
	c := &cobra.Command{
		Use: "rotate", Short: "Make a new signing key", Args: cobra.NoArgs, SilenceUsage: true,
		Long: `Make a new signing key. It is published at once and signs after --settle, so that whoever verifies tokens without asking knows it
by then: other servers read keys each minute, clusters' routers are told within ten, and the key set may be kept for an hour.

Where a key has become known to others, make one that signs at once and remove the old one a minute later.`,
		Example: `  fairlead server keys rotate
  fairlead server keys rotate --settle 0s`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if settle < 0 {
				return fmt.Errorf("--settle %s: want 0s or longer, such as 24h", settle)
			}
			return with(cmd, func(ctx context.Context, s issuer.KeyStore) error {
				k, err := s.Rotate(ctx, time.Now(), settle)
				if err != nil {
					return err
				}
				fmt.Fprintln(cmd.OutOrStdout(), k.ID)
				fmt.Fprintf(cmd.ErrOrStderr(), "It signs from %s on.\n", k.SignsFrom.UTC().Format(time.RFC3339))
				return nil
			})
		},
	}
	c.Flags().DurationVar(&settle, "settle", settle, "for how long it is published before it signs")
	return c
}

func keysRemove(with withKeys) *cobra.Command {
	yes := false
	c := &cobra.Command{
		Use: "remove ID", Short: "Delete a signing key: every token it signed ends", Args: cobra.ExactArgs(1), SilenceUsage: true,
		Long: `Delete a signing key before its time. Every token it signed is refused within a minute. People, programs and agents get new ones by
themselves; runs that go on and online deployments that started with such a token do not.`,
		Example: "  fairlead server keys remove 0123456789abcdef0123 --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !yes {
				return errors.New("this ends every token that the key signed, those of runs too; say --yes if that is meant")
			}
			return with(cmd, func(ctx context.Context, s issuer.KeyStore) error { return s.Remove(ctx, time.Now(), args[0]) })
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	return c
}
