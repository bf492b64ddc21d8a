package cli

import "github.com/spf13/cobra"

const identities = "/providers/Microsoft.ManagedIdentity/userAssignedIdentities"

var identityKind = kind{
	api: apiIdentity, shape: flat, one: oneIdentity, many: inGroups(identities),
	columns: cols("Name=name", "ResourceGroup=resourceGroup", "Location=location", "PrincipalId=principalId", "ClientId=clientId"),
	show:    help{"Show a managed identity", "  fairlead identity show -n train -g G --query principalId -o tsv"},
	list:    help{"List managed identities", "  fairlead identity list -g G -o table"},
}

func (a *app) identity() *cobra.Command {
	return noun("identity", "Manage user-assigned identities, as which jobs and model servers reach out",
		a.identityCreate(), a.shower(identityKind), a.lister(identityKind), a.deleter(identityKind, removal{
			help:     help{"Delete a managed identity; its tokens are refused from then on", "  fairlead identity delete -n train -g G --yes"},
			question: "Delete identity {name}? Jobs that use it lose their access.", atOnce: true,
		}))
}

func identitiesPath(s *session, t target) string { return groupPath(s, t) + identities }

func oneIdentity(a *app, c *cobra.Command) func() (place, error) {
	var t target
	var name string
	a.addGroup(c, &t)
	a.addName(c, &name, "identity", &t, identitiesPath, apiIdentity)
	return func() (place, error) {
		if err := a.inGroup(&t, need{"--name/-n", name}); err != nil {
			return place{}, err
		}
		s, err := a.connect()
		if err != nil {
			return place{}, err
		}
		g, err := s.groupID(t)
		if err != nil {
			return place{}, err
		}
		id, err := resourceID(g, "Microsoft.ManagedIdentity", "userAssignedIdentities", name)
		return place{session: s, path: id.String(), name: name}, err
	}
}

func (a *app) identityCreate() *cobra.Command {
	var location string
	var tags []string
	c := &cobra.Command{Use: "create", Short: "Create a managed identity", Example: "  fairlead identity create -n train -g G"}
	find := oneIdentity(a, c)
	c.Flags().StringVarP(&location, "location", "l", "", "`location` (default: local)")
	multiVar(c.Flags(), &tags, "tags", "space-separated `key=value` tags")
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := find()
		if err != nil {
			return err
		}
		got, err := p.put(cmd.Context(), p.path, apiIdentity, map[string]any{"location": a.defaultLocation(location), "tags": tagValues(tags)}, false)
		if err != nil {
			return err
		}
		return a.print(flat(got), identityKind.columns...)
	}
	return a.leaf(c)
}
