package cli

import (
	"net/url"

	"github.com/spf13/cobra"
)

var groupColumns = cols("Name=name", "Location=location", "Status=properties.provisioningState")

func (a *app) group() *cobra.Command {
	return noun("group", "Manage resource groups", a.groupCreate(), a.groupShow(), a.groupList(), a.groupDelete())
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

func (a *app) groupShow() *cobra.Command {
	var t target
	c := a.leaf(&cobra.Command{
		Use: "show", Short: "Show a resource group", Example: "  fairlead group show -n G",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, id, err := a.groupTarget(&t)
			if err != nil {
				return err
			}
			got, err := s.get(cmd.Context(), id, apiResources)
			if err != nil {
				return err
			}
			return a.print(got, groupColumns...)
		},
	})
	a.groupFlag(c, &t)
	return c
}

func (a *app) groupTarget(t *target) (*session, string, error) {
	if err := a.inGroup(t); err != nil {
		return nil, "", err
	}
	s, err := a.connect()
	if err != nil {
		return nil, "", err
	}
	id, err := s.groupID(*t)
	return s, id.String(), err
}

func (a *app) groupList() *cobra.Command {
	return a.leaf(&cobra.Command{
		Use: "list", Short: "List resource groups", Example: "  fairlead group list -o table",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.connect()
			if err != nil {
				return err
			}
			id, err := s.groupID(target{})
			if err != nil {
				return err
			}
			items, err := s.List(cmd.Context(), id.String()+"/resourcegroups", url.Values{"api-version": {apiResources}}, 0)
			if err != nil {
				return err
			}
			return a.print(items, groupColumns...)
		},
	})
}

func (a *app) groupDelete() *cobra.Command {
	var t target
	var yes, noWait bool
	c := a.leaf(&cobra.Command{
		Use: "delete", Short: "Delete a resource group with all that is in it", Example: "  fairlead group delete -n G --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, id, err := a.groupTarget(&t)
			if err != nil {
				return err
			}
			if err := a.confirm(yes, "Delete resource group "+t.group+" and everything in it?"); err != nil {
				return err
			}
			return s.remove(cmd.Context(), id, apiResources, nil, noWait)
		},
	})
	a.groupFlag(c, &t)
	addYes(c, &yes)
	addNoWait(c, &noWait)
	return c
}

func addYes(c *cobra.Command, yes *bool) {
	c.Flags().BoolVarP(yes, "yes", "y", false, "do not ask")
}

func addNoWait(c *cobra.Command, noWait *bool) {
	c.Flags().BoolVar(noWait, "no-wait", false, "do not wait for the operation to end")
}
