package cli

import (
	"github.com/spf13/cobra"
)

func (a *app) configure() *cobra.Command {
	var defaults []string
	var list bool
	c := a.leaf(&cobra.Command{
		Use: "configure", Short: "Set defaults for group, workspace and location",
		Example: "  fairlead configure --defaults group=G workspace=W\n  fairlead configure --list-defaults -o table",
		RunE: func(*cobra.Command, []string) error {
			store, err := a.store()
			if err != nil {
				return err
			}
			set, err := keyValues("--defaults/-d", defaults)
			if err != nil {
				return err
			}
			for k := range set {
				if k != "group" && k != "workspace" && k != "location" {
					return usagef("argument --defaults/-d: %q is not one of group, workspace, location", k)
				}
			}
			if len(set) > 0 {
				if err := store.SetDefaults(set); err != nil {
					return err
				}
			}
			if !list && len(set) > 0 {
				return nil
			}
			d, err := store.Defaults()
			if err != nil {
				return err
			}
			rows := []map[string]any{}
			for _, k := range []string{"group", "location", "workspace"} {
				if d[k] != "" {
					rows = append(rows, map[string]any{"name": k, "value": d[k]})
				}
			}
			return a.print(rows, cols("Name=name", "Value=value")...)
		},
	})
	multiVar(c.Flags(), &defaults, "defaults", "space-separated `name=value` pairs; an empty value removes one")
	c.Flags().BoolVarP(&list, "list-defaults", "l", false, "list the defaults")
	return c
}

func (a *app) completion(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish|powershell", Short: "Print a script that completes commands, flags and names",
		Example:   "  source <(fairlead completion bash)",
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("name one shell: bash, zsh, fish or powershell")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			w := cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(w, true)
			case "zsh":
				return root.GenZshCompletion(w)
			case "fish":
				return root.GenFishCompletion(w, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(w)
			}
			return usagef("%q is not one of bash, zsh, fish, powershell", args[0])
		},
	}
}
