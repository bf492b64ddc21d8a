package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/cli/snapshot"
	"fairlead.dev/fairlead/internal/cli/spec"
)

type assetCreateFlags struct {
	target
	file, name, version, typ, path, description, image, datastore string
	set, tags                                                     []string
}

func (a *app) mlModel() *cobra.Command {
	return noun("model", modelKind.short, a.assetCreate(modelKind), a.assetShow(modelKind), a.assetList(modelKind), a.assetDownload(modelKind),
		a.assetArchive(modelKind, "archive", true), a.assetArchive(modelKind, "restore", false))
}

func (a *app) mlData() *cobra.Command {
	return noun("data", dataKind.short, a.assetCreate(dataKind), a.assetShow(dataKind), a.assetList(dataKind), a.assetDownload(dataKind),
		a.assetArchive(dataKind, "archive", true), a.assetArchive(dataKind, "restore", false))
}

func (a *app) mlEnvironment() *cobra.Command {
	return noun("environment", environmentKind.short, a.assetCreate(environmentKind), a.assetShow(environmentKind), a.assetList(environmentKind),
		a.assetArchive(environmentKind, "archive", true), a.assetArchive(environmentKind, "restore", false))
}

func (a *app) assetCreate(k assetKind) *cobra.Command {
	var f assetCreateFlags
	c := a.leaf(&cobra.Command{
		Use: "create", Short: "Register a version", Example: assetExample[k.noun],
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runAssetCreate(cmd.Context(), f, k) },
	})
	a.addWorkspace(c, &f.target)
	a.addName(c, &f.name, k.noun, &f.target, nil, "")
	addFile(c, &f.file, &f.set)
	fs := c.Flags()
	fs.StringVarP(&f.version, "version", "v", "", "`version` (default: the next number)")
	fs.StringVarP(&f.description, "description", "d", "", "description")
	multiVar(fs, &f.tags, "tags", "space-separated `key=value` tags")
	if k.uri == "" {
		fs.StringVarP(&f.image, "image", "i", "", "container `image`")
		return c
	}
	fs.StringVarP(&f.typ, "type", "t", "", "`type` of the "+k.noun)
	fs.StringVarP(&f.path, "path", "p", "", "local `path`, azureml://jobs/<job>/outputs/<output>/paths/<path>, azureml://datastores/… or https://…")
	fs.StringVar(&f.datastore, "datastore", "", "`name` of the datastore that receives local data")
	return c
}

var assetExample = map[string]string{
	"model":       "  fairlead ml model create -n digits --path azureml://jobs/NAME/outputs/model/paths/ -g G -w W\n  fairlead ml model create -n digits --path ./model -g G -w W",
	"data":        "  fairlead ml data create -n digits --type uri_folder --path ./data -g G -w W",
	"environment": "  fairlead ml environment create -n sklearn --image docker.io/library/python:3.12 -g G -w W",
}

func (a *app) runAssetCreate(ctx context.Context, f assetCreateFlags, k assetKind) error {
	doc, err := a.document(f.file, f.set, map[string]string{
		"name": f.name, "version": f.version, "type": f.typ, "path": f.path, "description": f.description, "image": f.image, "datastore": strings.TrimPrefix(f.datastore, "azureml:"),
	})
	if err != nil {
		return err
	}
	if k.uri == "" {
		return a.createEnvironment(ctx, f, doc)
	}
	read := doc.Model
	if k.noun == "data" {
		read = doc.Data
	}
	asset, err := read()
	if err != nil {
		return specError(f.file, err)
	}
	if len(f.tags) > 0 {
		asset.Tags = tagValues(f.tags)
	}
	local := asset.Path
	if !isRemote(local) {
		if f.path == "" {
			local = localPath(f.file, local)
		}
		if err := checkKind(asset.Type, local); err != nil {
			return usagef("path: %v", err)
		}
	}
	s, ws, err := a.workspace(&f.target)
	if err != nil {
		return err
	}
	if asset.Version == "" {
		if asset.Version, err = s.nextVersion(ctx, ws, k.typ, asset.Name); err != nil {
			return err
		}
	}
	return a.registerAsset(ctx, s, ws, k, asset, local)
}

func (a *app) registerAsset(ctx context.Context, s *session, ws arm.ID, k assetKind, asset *spec.Asset, local string) error {
	path, err := child(ws.Child(k.typ, asset.Name), "versions", asset.Version)
	if err != nil {
		return err
	}
	props := map[string]any{"description": asset.Description, "tags": orEmpty(asset.Tags), "properties": orEmpty(asset.Properties)}
	props[map[string]string{"model": "modelType", "data": "dataType"}[k.noun]] = asset.Type
	switch {
	case isRemote(local):
		props[k.uri] = local
	case k.noun == "data":
		props[k.uri], err = a.uploadData(ctx, s, ws, asset.Datastore, local)
	default:
		props[k.uri], err = a.uploadModel(ctx, s, path, local)
	}
	if err != nil {
		return fmt.Errorf("uploading %s: %w", k.noun, err)
	}
	return a.putAsset(ctx, s, path, k, props)
}

// uploadModel sends a model's files to the container of its version and returns the address of the file or folder.
func (a *app) uploadModel(ctx context.Context, s *session, version, local string) (string, error) {
	snap, err := snapshot.Take(local)
	if err != nil {
		return "", err
	}
	to, uri, err := s.pendingUpload(ctx, version)
	if err != nil {
		return "", err
	}
	prefix, tail := dataPrefix(snap)
	if err := a.upload(ctx, to, snap, prefix); err != nil {
		return "", err
	}
	return uri + "/" + prefix + strings.TrimSuffix(tail, "/"), nil
}

func (a *app) createEnvironment(ctx context.Context, f assetCreateFlags, doc *spec.Document) error {
	e, err := doc.Environment()
	if err != nil {
		return specError(f.file, err)
	}
	if len(f.tags) > 0 {
		e.Tags = tagValues(f.tags)
	}
	s, ws, err := a.workspace(&f.target)
	if err != nil {
		return err
	}
	if e.Name == "" {
		e.Name, e.Version = "CliV2AnonymousEnvironment", anonymousVersion(*e)
	}
	if e.Version == "" {
		if e.Version, err = s.nextVersion(ctx, ws, environmentKind.typ, e.Name); err != nil {
			return err
		}
	}
	path, err := child(ws.Child(environmentKind.typ, e.Name), "versions", e.Version)
	if err != nil {
		return err
	}
	props := environmentBody(*e)
	props["description"], props["tags"], props["properties"] = e.Description, orEmpty(e.Tags), map[string]string{}
	return a.putAsset(ctx, s, path, environmentKind, props)
}
