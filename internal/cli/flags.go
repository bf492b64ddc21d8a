package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
)

// addGroup defines --resource-group/-g.
func (a *app) addGroup(c *cobra.Command, t *target) {
	c.Flags().StringVarP(&t.group, "resource-group", "g", "", "`name` of the resource group (default: configure --defaults group=…)")
	_ = c.RegisterFlagCompletionFunc("resource-group", a.complete(func(s *session, _ target) string {
		return "/subscriptions/" + s.sub + "/resourcegroups"
	}, t, apiResources))
}

// addWorkspace defines --resource-group/-g and --workspace-name/-w.
func (a *app) addWorkspace(c *cobra.Command, t *target) {
	a.addGroup(c, t)
	c.Flags().StringVarP(&t.workspace, "workspace-name", "w", "", "`name` of the workspace (default: configure --defaults workspace=…)")
	_ = c.RegisterFlagCompletionFunc("workspace-name", a.complete(func(s *session, t target) string {
		return groupPath(s, t) + "/providers/Microsoft.MachineLearningServices/workspaces"
	}, t, apiML))
}

func groupPath(s *session, t target) string {
	return "/subscriptions/" + s.sub + "/resourceGroups/" + t.group
}

// addName defines --name/-n and completes it with the names of a collection below the workspace (or group).
func (a *app) addName(c *cobra.Command, name *string, what string, t *target, collection func(s *session, t target) string, version string) {
	c.Flags().StringVarP(name, "name", "n", "", "`name` of the "+what)
	if collection != nil {
		_ = c.RegisterFlagCompletionFunc("name", a.complete(collection, t, version))
	}
}

// inWorkspace gives the path of a collection of the workspace, for completion.
func inWorkspace(typ string) func(*session, target) string {
	return func(s *session, t target) string {
		return groupPath(s, t) + "/providers/Microsoft.MachineLearningServices/workspaces/" + t.workspace + "/" + typ
	}
}

func (a *app) complete(path func(*session, target) string, t *target, version string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		s, err := a.connect()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		at := *t
		a.defaults(&at)
		ctx := cmd.Context()
		if ctx == nil {
			ctx = context.Background()
		}
		items, err := s.List(ctx, path(s, at), map[string][]string{"api-version": {version}}, 200)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []cobra.Completion
		for _, i := range items {
			if n, _ := i["name"].(string); strings.HasPrefix(n, prefix) {
				names = append(names, n)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// defaults fills in what the flags left open.
func (a *app) defaults(t *target) {
	store, err := a.store()
	if err != nil {
		return
	}
	d, err := store.Defaults()
	if err != nil {
		return
	}
	if t.group == "" {
		t.group = d["group"]
	}
	if t.workspace == "" {
		t.workspace = d["workspace"]
	}
}

func (a *app) defaultLocation(given string) string {
	if given != "" {
		return given
	}
	if store, err := a.store(); err == nil {
		if d, err := store.Defaults(); err == nil && d["location"] != "" {
			return d["location"]
		}
	}
	return "local"
}

// need is one argument that must not be empty.
type need struct{ flag, value string }

// require reports all arguments that are missing, as the reference words it.
func require(needs ...need) error {
	var missing []string
	for _, n := range needs {
		if n.value == "" {
			missing = append(missing, n.flag)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return usagef("the following arguments are required: %s", strings.Join(missing, ", "))
}

// inGroup fills in defaults and checks that a group is known, with further needs.
func (a *app) inGroup(t *target, needs ...need) error {
	a.defaults(t)
	return require(append(needs, need{"--resource-group/-g", t.group})...)
}

// inWS fills in defaults and checks that group and workspace are known, with further needs.
func (a *app) inWS(t *target, needs ...need) error {
	a.defaults(t)
	return require(append(needs, need{"--resource-group/-g", t.group}, need{"--workspace-name/-w", t.workspace})...)
}

// confirm asks before something is destroyed; without a terminal --yes is needed.
func (a *app) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	return a.ask(question)
}
