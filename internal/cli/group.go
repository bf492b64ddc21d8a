package cli

import "github.com/spf13/cobra"

var groupColumns = cols("Name=name", "Location=location", "Status=properties.provisioningState")

var groupKind = kind{
	api: apiResources, columns: groupColumns, shape: asIs, one: oneGroup, many: allGroups,
	show: help{"Show a resource group", "  fairlead group show -n G"},
	list: help{"List resource groups", "  fairlead group list -o table"},
}

func (a *app) group() *cobra.Command {
	return noun("group", "Manage resource groups", a.groupCreate(), a.shower(groupKind), a.lister(groupKind), a.deleter(groupKind, removal{
		help:     help{"Delete a resource group with all that is in it", "  fairlead group delete -n G --yes"},
		question: "Delete resource group {name} and everything in it?",
	}))
}

func oneGroup(a *app, c *cobra.Command) func() (place, error) {
	var t target
	a.groupFlag(c, &t)
	return func() (place, error) {
		if err := a.inGroup(&t); err != nil {
			return place{}, err
		}
		s, err := a.connect()
		if err != nil {
			return place{}, err
		}
		id, err := s.groupID(t)
		return place{session: s, path: id.String(), name: t.group}, err
	}
}

func allGroups(a *app, _ *cobra.Command) func() (place, error) {
	return func() (place, error) {
		s, err := a.connect()
		if err != nil {
			return place{}, err
		}
		id, err := s.groupID(target{})
		return place{session: s, path: id.String() + "/resourcegroups"}, err
	}
}

// groupFlag defines the group's own name flags.
func (a *app) groupFlag(c *cobra.Command, t *target) {
	a.addGroup(c, t)
	c.Flags().StringVarP(&t.group, "name", "n", "", "`name` of the resource group")
}

func (a *app) groupCreate() *cobra.Command {
	var t target
	var location string
	var tags []string
	c := a.leaf(&cobra.Command{
		Use: "create", Short: "Create a resource group", Example: "  fairlead group create --name G --location local",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := require(need{"--name/--resource-group/-n/-g", t.group}); err != nil {
				return err
			}
			s, err := a.connect()
			if err != nil {
				return err
			}
			id, err := s.groupID(t)
			if err != nil {
				return err
			}
			body := map[string]any{"location": a.defaultLocation(location), "tags": tagValues(tags)}
			got, err := s.put(cmd.Context(), id.String(), apiResources, body, false)
			if err != nil {
				return err
			}
			return a.print(got, groupColumns...)
		},
	})
	a.groupFlag(c, &t)
	c.Flags().StringVarP(&location, "location", "l", "", "`location` (default: local)")
	multiVar(c.Flags(), &tags, "tags", "space-separated `key=value` tags")
	return c
}

func addYes(c *cobra.Command, yes *bool) {
	c.Flags().BoolVarP(yes, "yes", "y", false, "do not ask")
}

func addNoWait(c *cobra.Command, noWait *bool) {
	c.Flags().BoolVar(noWait, "no-wait", false, "do not wait for the operation to end")
}
