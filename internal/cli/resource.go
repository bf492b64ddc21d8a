package cli

import (
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
)

var resourceColumns = cols("Name=name", "ResourceGroup=resourceGroup", "Location=location", "Type=type")

type resourceFlags struct {
	target
	ids        []string
	name, typ  string
	apiVersion string
}

func (a *app) resource() *cobra.Command {
	return noun("resource", "Manage any resource by its id", a.resourceList(), a.resourceShow(), a.resourceDelete())
}

func (a *app) resourceList() *cobra.Command {
	var f resourceFlags
	c := a.leaf(&cobra.Command{
		Use: "list", Short: "List resources", Example: "  fairlead resource list -g G -o table",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.connect()
			if err != nil {
				return err
			}
			id, err := s.groupID(target{group: f.group})
			if err != nil {
				return err
			}
			q := url.Values{"api-version": {apiResources}}
			if f.typ != "" {
				q.Set("$filter", "resourceType eq '"+f.typ+"'")
			}
			items, err := s.List(cmd.Context(), id.String()+"/resources", q, 0)
			if err != nil {
				return err
			}
			return a.print(withGroups(keepType(items, f.typ)), resourceColumns...)
		},
	})
	a.addGroup(c, &f.target)
	c.Flags().StringVar(&f.typ, "resource-type", "", "only this `namespace/type`")
	return c
}

func keepType(items []map[string]any, typ string) []map[string]any {
	if typ == "" {
		return items
	}
	out := []map[string]any{}
	for _, i := range items {
		if strings.EqualFold(text(i, "type"), typ) {
			out = append(out, i)
		}
	}
	return out
}

// withGroups adds resourceGroup, which the reference's command line derives from the id.
func withGroups(items []map[string]any) []map[string]any {
	for _, i := range items {
		addResourceGroup(i)
	}
	return items
}

func addResourceGroup(m map[string]any) {
	if id, err := arm.ParseID(text(m, "id")); err == nil && id.ResourceGroup != "" {
		m["resourceGroup"] = id.ResourceGroup
	}
}

func (a *app) resourceFlags(c *cobra.Command, f *resourceFlags) {
	a.addGroup(c, &f.target)
	multiVar(c.Flags(), &f.ids, "ids", "one or more resource `ids`")
	c.Flags().StringVarP(&f.name, "name", "n", "", "`name` of the resource")
	c.Flags().StringVar(&f.typ, "resource-type", "", "`namespace/type`, with --name")
	c.Flags().StringVar(&f.apiVersion, "api-version", apiResources, "API `version`")
}

// paths gives the ids that the flags name.
func (f *resourceFlags) paths(a *app, s *session) ([]string, error) {
	if len(f.ids) == 0 {
		if err := a.inGroup(&f.target, need{"--ids or --name/-n", f.name}, need{"--resource-type", f.typ}); err != nil {
			return nil, err
		}
		g, err := s.groupID(f.target)
		if err != nil {
			return nil, err
		}
		ns, typ, ok := strings.Cut(f.typ, "/")
		if !ok || strings.Contains(typ, "/") {
			return nil, usagef("argument --resource-type: %q: want <namespace>/<type>; nested types by --ids", f.typ)
		}
		id, err := resourceID(g, ns, typ, f.name)
		return []string{id.String()}, err
	}
	var out []string
	for _, i := range f.ids {
		id, err := arm.ParseID(i)
		if err != nil {
			return nil, usagef("argument --ids: %v", err)
		}
		out = append(out, id.String())
	}
	return out, nil
}

func (a *app) resourceShow() *cobra.Command {
	var f resourceFlags
	c := a.leaf(&cobra.Command{
		Use: "show", Short: "Show resources as the API has them", Example: "  fairlead resource show --ids /subscriptions/…",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.connect()
			if err != nil {
				return err
			}
			paths, err := f.paths(a, s)
			if err != nil {
				return err
			}
			var all []any
			for _, p := range paths {
				got, err := s.get(cmd.Context(), p, f.apiVersion)
				if err != nil {
					return err
				}
				addResourceGroup(got)
				all = append(all, got)
			}
			if len(all) == 1 {
				return a.print(all[0], resourceColumns...)
			}
			return a.print(all, resourceColumns...)
		},
	})
	a.resourceFlags(c, &f)
	return c
}

func (a *app) resourceDelete() *cobra.Command {
	var f resourceFlags
	var noWait bool
	c := a.leaf(&cobra.Command{
		Use: "delete", Short: "Delete resources", Example: "  fairlead resource delete --ids /subscriptions/…",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.connect()
			if err != nil {
				return err
			}
			paths, err := f.paths(a, s)
			if err != nil {
				return err
			}
			for _, p := range paths {
				if err := s.remove(cmd.Context(), p, f.apiVersion, nil, noWait); err != nil {
					return err
				}
			}
			return nil
		},
	})
	a.resourceFlags(c, &f)
	addNoWait(c, &noWait)
	return c
}
