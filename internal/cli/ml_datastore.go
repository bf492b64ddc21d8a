package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
)

const datastoreCols = "Name=name Type=type Container=container_name Account=account_name Default=is_default"

func (a *app) mlDatastore() *cobra.Command {
	return noun("datastore", "Manage datastores", a.mlDatastoreCreate(), a.mlDatastoreShow(),
		a.lister("list", "List datastores", "  fairlead ml datastore list -g G -w W -o table", "datastores", datastoreShape, strings.Fields(datastoreCols)...),
		a.mlDatastoreDelete())
}

func (a *app) datastoreName(c *cobra.Command, t *target, name *string) {
	a.addWorkspace(c, t)
	a.addName(c, name, "datastore", t, inWorkspace("datastores"), apiML)
}

type datastoreCreateFlags struct {
	target
	file, name string
	set        []string
}

func (a *app) mlDatastoreCreate() *cobra.Command {
	var f datastoreCreateFlags
	c := a.leaf(&cobra.Command{
		Use: "create", Short: "Create a datastore from a YAML file", Example: "  fairlead ml datastore create -f datastore.yml -g G -w W",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runDatastoreCreate(cmd.Context(), f) },
	})
	a.datastoreName(c, &f.target, &f.name)
	addFile(c, &f.file, &f.set)
	return c
}

func (a *app) runDatastoreCreate(ctx context.Context, f datastoreCreateFlags) error {
	if err := a.inWS(&f.target, need{"--file/-f", f.file}); err != nil {
		return err
	}
	doc, err := a.document(f.file, f.set, map[string]string{"name": f.name})
	if err != nil {
		return err
	}
	d, err := doc.Datastore()
	if err != nil {
		return err
	}
	s, ws, err := a.workspace(&f.target)
	if err != nil {
		return err
	}
	path, err := child(ws, "datastores", d.Name)
	if err != nil {
		return err
	}
	credentials := map[string]any{"credentialsType": "None"}
	switch {
	case d.AccountKey != "":
		credentials = map[string]any{"credentialsType": "AccountKey", "secrets": map[string]any{"secretsType": "AccountKey", "key": d.AccountKey}}
	case d.SAS != "":
		credentials = map[string]any{"credentialsType": "Sas", "secrets": map[string]any{"secretsType": "Sas", "sasToken": d.SAS}}
	}
	props := map[string]any{
		"datastoreType": "AzureBlob", "accountName": d.Account, "containerName": d.Container, "description": d.Description,
		"tags": orEmpty(d.Tags), "credentials": credentials,
	}
	if d.Endpoint != "" {
		props["endpoint"] = d.Endpoint
	}
	got, err := s.put(ctx, path, apiML, map[string]any{"properties": props}, false)
	if err != nil {
		return err
	}
	return a.print(datastoreShape(got), cols(strings.Fields(datastoreCols)...)...)
}

func (a *app) mlDatastoreShow() *cobra.Command {
	var t target
	var name string
	c := a.leaf(&cobra.Command{
		Use: "show", Short: "Show a datastore", Example: "  fairlead ml datastore show -n workspaceblobstore -g G -w W",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, ws, err := a.workspace(&t, need{"--name/-n", name})
			if err != nil {
				return err
			}
			path, err := child(ws, "datastores", name)
			if err != nil {
				return err
			}
			got, err := s.get(cmd.Context(), path, apiML)
			if err != nil {
				return err
			}
			return a.print(datastoreShape(got), cols(strings.Fields(datastoreCols)...)...)
		},
	})
	a.datastoreName(c, &t, &name)
	return c
}

func (a *app) mlDatastoreDelete() *cobra.Command {
	var t target
	var name string
	var yes bool
	c := a.leaf(&cobra.Command{
		Use: "delete", Short: "Delete a datastore; the data stays", Example: "  fairlead ml datastore delete -n NAME -g G -w W",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, ws, err := a.workspace(&t, need{"--name/-n", name})
			if err != nil {
				return err
			}
			path, err := child(ws, "datastores", name)
			if err != nil {
				return err
			}
			return s.remove(cmd.Context(), path, apiML, nil, false)
		},
	})
	a.datastoreName(c, &t, &name)
	addYes(c, &yes)
	return c
}
