package cli

import (
	"context"

	"github.com/spf13/cobra"
)

var workspaceColumns = cols("Name=name", "ResourceGroup=resourceGroup", "Location=location", "ProvisioningState=provisioning_state")

var workspaceKind = kind{
	api: apiML, columns: workspaceColumns, shape: workspaceShape,
	one: oneWorkspace, many: inGroups("/providers/Microsoft.MachineLearningServices/workspaces"),
	show: help{"Show a workspace", "  fairlead ml workspace show -n W -g G"},
	list: help{"List workspaces of the group, or of the subscription", "  fairlead ml workspace list -o table"},
}

func (a *app) mlWorkspace() *cobra.Command {
	remove := a.deleter(workspaceKind, removal{
		help:     help{"Delete a workspace with its jobs, models and data", "  fairlead ml workspace delete -n W -g G --yes"},
		question: "Delete workspace {name} with its jobs, models and data?",
	})
	remove.Flags().Bool("all-resources", false, "accepted for compatibility: nothing else belongs to a workspace")
	return noun("workspace", "Manage workspaces", a.mlWorkspaceCreate(), a.shower(workspaceKind), a.lister(workspaceKind), remove)
}

func oneWorkspace(a *app, c *cobra.Command) func() (place, error) {
	var t target
	a.workspaceName(c, &t)
	return func() (place, error) {
		s, id, err := a.workspace(&t)
		return place{session: s, path: id.String(), name: t.workspace}, err
	}
}

// workspaceName defines --name/-n as the workspace's name.
func (a *app) workspaceName(c *cobra.Command, t *target) {
	a.addWorkspace(c, t)
	c.Flags().StringVarP(&t.workspace, "name", "n", "", "`name` of the workspace")
}

type workspaceCreateFlags struct {
	target
	file, location, displayName, description string
	set, tags                                []string
	noWait                                   bool
}

func (a *app) mlWorkspaceCreate() *cobra.Command {
	var f workspaceCreateFlags
	c := a.leaf(&cobra.Command{
		Use: "create", Short: "Create a workspace", Example: "  fairlead ml workspace create -n W -g G\n  fairlead ml workspace create -f workspace.yml -g G",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runWorkspaceCreate(cmd.Context(), f) },
	})
	a.workspaceName(c, &f.target)
	addFile(c, &f.file, &f.set)
	c.Flags().StringVarP(&f.location, "location", "l", "", "`location` (default: local)")
	c.Flags().StringVarP(&f.displayName, "display-name", "d", "", "display `name`")
	c.Flags().StringVar(&f.description, "description", "", "description")
	multiVar(c.Flags(), &f.tags, "tags", "space-separated `key=value` tags")
	addNoWait(c, &f.noWait)
	return c
}

// addFile defines --file/-f and --set.
func addFile(c *cobra.Command, file *string, set *[]string) {
	c.Flags().StringVarP(file, "file", "f", "", "YAML `file`")
	_ = c.MarkFlagFilename("file", "yml", "yaml")
	multiVar(c.Flags(), set, "set", "space-separated `path=value` changes to the file, such as resources.instance_count=2")
}

func (a *app) runWorkspaceCreate(ctx context.Context, f workspaceCreateFlags) error {
	doc, err := a.document(f.file, f.set, map[string]string{
		"name": f.workspace, "display_name": f.displayName, "description": f.description, "location": f.location,
	})
	if err != nil {
		return err
	}
	w, err := doc.Workspace()
	if err != nil {
		return specError(f.file, err)
	}
	if f.group == "" {
		f.group = w.ResourceGroup
	}
	f.workspace = w.Name
	s, id, err := a.workspace(&f.target)
	if err != nil {
		return err
	}
	if err := s.ensureGroup(ctx, f.group); err != nil {
		return err
	}
	tags := w.Tags
	if len(f.tags) > 0 {
		tags = tagValues(f.tags)
	}
	name := w.DisplayName
	if name == "" {
		name = w.Name
	}
	body := map[string]any{
		"location": a.defaultLocation(w.Location), "tags": tags, "identity": map[string]any{"type": "SystemAssigned"},
		"properties": map[string]any{"friendlyName": name, "description": w.Description},
	}
	got, err := s.put(ctx, id.String(), apiML, body, f.noWait)
	if err != nil {
		return err
	}
	return a.print(workspaceShape(got), workspaceColumns...)
}

// ensureGroup says what to do when the group is missing, before anything is made.
func (s *session) ensureGroup(ctx context.Context, group string) error {
	id, err := s.groupID(target{group: group})
	if err != nil {
		return err
	}
	_, err = s.get(ctx, id.String(), apiResources)
	if isNotFound(err) {
		return hint(err, "Create it with 'fairlead group create --name %s --location local'.", group)
	}
	return err
}
