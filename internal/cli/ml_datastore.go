package cli

import (
	"context"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/cli/spec"
)

var datastoreKind = kind{
	api: apiML, shape: datastoreShape, one: childOf("datastores", "datastore"), many: childrenOf("datastores"),
	columns: cols("Name=name", "Type=type", "Container=container_name||bucket_name", "Account=account_name||endpoint", "Default=is_default"),
	show:    help{"Show a datastore", "  fairlead ml datastore show -n workspaceblobstore -g G -w W"},
	list:    help{"List datastores", "  fairlead ml datastore list -g G -w W -o table"},
}

func (a *app) mlDatastore() *cobra.Command {
	return noun("datastore", "Manage datastores", a.mlDatastoreCreate(), a.shower(datastoreKind), a.lister(datastoreKind), a.deleter(datastoreKind, removal{
		help: help{"Delete a datastore; the data stays", "  fairlead ml datastore delete -n NAME -g G -w W"}, atOnce: true,
	}))
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
	a.addChild(c, &f.target, &f.name, "datastores", "datastore")
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
	props := blobProperties(d)
	if d.Type == "s3" {
		props = s3Properties(d)
	}
	got, err := s.put(ctx, path, apiML, map[string]any{"properties": props}, false)
	if err != nil {
		return err
	}
	return a.print(datastoreShape(got), datastoreKind.columns...)
}

func blobProperties(d *spec.Datastore) map[string]any {
	credentials := map[string]any{"credentialsType": "None"}
	switch {
	case d.AccountKey != "":
		credentials = withSecrets("AccountKey", map[string]any{"key": d.AccountKey})
	case d.SAS != "":
		credentials = withSecrets("Sas", map[string]any{"sasToken": d.SAS})
	}
	props := map[string]any{
		"datastoreType": "AzureBlob", "accountName": d.Account, "containerName": d.Container, "description": d.Description,
		"tags": orEmpty(d.Tags), "credentials": credentials,
	}
	if d.Endpoint != "" {
		props["endpoint"] = d.Endpoint
	}
	return props
}

func s3Properties(d *spec.Datastore) map[string]any {
	credentials := map[string]any{"credentialsType": "None"}
	if d.AccessKeyID != "" {
		credentials = withSecrets("AccessKey", map[string]any{"secretAccessKey": d.SecretAccessKey})
		credentials["accessKeyId"] = d.AccessKeyID
	}
	return map[string]any{
		"datastoreType": "S3", "bucketName": d.Bucket, "endpoint": d.Endpoint, "region": d.Region, "prefix": d.Prefix,
		"description": d.Description, "tags": orEmpty(d.Tags), "credentials": credentials,
	}
}

// withSecrets is a datastore's credentials of a type with their secret part.
func withSecrets(typ string, secrets map[string]any) map[string]any {
	secrets["secretsType"] = typ
	return map[string]any{"credentialsType": typ, "secrets": secrets}
}
