package cli

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"fairlead.dev/fairlead/internal/cli/output"
	"fairlead.dev/fairlead/internal/nearest"
)

// app is what the commands of one run share.
type app struct {
	deps Deps
	// Values of the global flags.
	output, query, subscription    string
	debug, verbose, onlyShowErrors bool
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "fairlead",
		Short: "Train and serve models on any Kubernetes cluster",
		Long: `Fairlead turns any Kubernetes cluster into a compute target for machine learning, run from one control plane.
Its commands are shaped like the reference's: with "alias az=fairlead" they run as printed there.`,
		Example: `  fairlead up                                         # a control plane and a local cluster on this machine
  fairlead login --endpoint https://host:8443         # as a person, in a browser
  fairlead login --endpoint https://host:8443 --service-principal -u ID -p SECRET --tenant TENANT
  fairlead connectedk8s connect --name C --resource-group G
  fairlead ml job create -f job.yml --stream`,
		SilenceUsage: true, SilenceErrors: true, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.checkGlobals() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	pf := root.PersistentFlags()
	pf.StringVarP(&a.output, "output", "o", "json", "output `format`: "+strings.Join(output.Formats, ", "))
	pf.StringVar(&a.query, "query", "", "JMESPath `expression` applied to the result")
	pf.StringVar(&a.subscription, "subscription", "", "`id` of the subscription (default: the profile's)")
	pf.BoolVar(&a.debug, "debug", false, "show every request")
	pf.BoolVar(&a.verbose, "verbose", false, "show more of what is done")
	pf.BoolVar(&a.onlyShowErrors, "only-show-errors", false, "show errors only, no warnings or progress")
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(output.Formats, cobra.ShellCompDirectiveNoFileComp))
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		a.login(), a.logout(), a.account(), a.configure(), a.version(), a.completion(root), a.group(), a.rest(), a.resource(),
		a.connectedk8s(), a.aks(), a.k8sExtension(), a.ml(), a.monitor(), a.identity(), a.role(),
	)
	return root
}

func (a *app) checkGlobals() error {
	if err := (output.Options{Format: a.output, Query: a.query}).Check(); err != nil {
		return usagef("%v", err)
	}
	return nil
}

func (a *app) version() *cobra.Command {
	return a.leaf(&cobra.Command{
		Use: "version", Short: "Show the version of this program", Example: "  fairlead version --query fairlead -o tsv",
		RunE: func(*cobra.Command, []string) error {
			return a.print(map[string]any{"fairlead": a.deps.Version})
		},
	})
}

func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "0.0.0-dev"
	}
	return info.Main.Version
}

// noun makes a command that only groups others: alone it shows help, with an unknown word it says which is near.
func noun(use, short string, children ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs}
	c.AddCommand(children...)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return unknownCommand(cmd, args[0])
	}
	return c
}

func unknownCommand(cmd *cobra.Command, word string) error {
	var names []string
	for _, s := range cmd.Commands() {
		if s.IsAvailableCommand() {
			names = append(names, s.Name())
		}
	}
	if near := nearest.Word(word, names); near != "" {
		return usagef("%q is not in %q; did you mean %q?", word, cmd.CommandPath(), near)
	}
	return usagef("%q is not in %q; there are: %s", word, cmd.CommandPath(), strings.Join(names, ", "))
}

// leaf makes a command take flags only and refuse what is left over.
func (a *app) leaf(c *cobra.Command) *cobra.Command {
	c.Args = func(_ *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usagef("unrecognized arguments: %s", strings.Join(args, " "))
		}
		return nil
	}
	c.DisableFlagsInUseLine = true
	return c
}

func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "unknown flag: --"); ok {
		var names []string
		visit := func(f *pflag.Flag) { names = append(names, f.Name) }
		cmd.Flags().VisitAll(visit)
		cmd.InheritedFlags().VisitAll(visit)
		slices.Sort(names)
		if near := nearest.Word(name, names); near != "" {
			return usagef("unrecognized argument: --%s; did you mean --%s?", name, near)
		}
		return usagef("unrecognized argument: --%s; see %s --help", name, cmd.CommandPath())
	}
	if rest, ok := strings.CutPrefix(text, "flag needs an argument: "); ok {
		return usagef("argument %s: expected one argument", strings.TrimSpace(rest))
	}
	return usagef("%s", fmt.Sprint(text))
}
