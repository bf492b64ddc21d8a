package cli

import (
	"context"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/cli/spec"
)

// assetKind is what differs between models, environments and data on the command line.
type assetKind struct {
	// noun is the command's word, typ the API's collection, uri the field of the address ("" for environments).
	noun, typ, uri, short string
}

var (
	modelKind       = assetKind{"model", "models", "modelUri", "Manage models"}
	environmentKind = assetKind{"environment", "environments", "", "Manage environments"}
	dataKind        = assetKind{"data", "data", "dataUri", "Manage data assets"}
)

var assetColumns = cols("Name=name", "Version=version", "Type=type", "Latest=latest_version", "Path=path", "Image=image")

type assetTarget struct {
	target
	name, version, label string
}

func (a *app) assetFlags(c *cobra.Command, t *assetTarget, k assetKind) {
	a.addWorkspace(c, &t.target)
	a.addName(c, &t.name, k.noun, &t.target, inWorkspace(k.typ), apiML)
	c.Flags().StringVarP(&t.version, "version", "v", "", "`version`")
	c.Flags().StringVarP(&t.label, "label", "l", "", "`label` instead of a version: latest")
}

// assetVersion resolves name, version and label to a version's path; without either the latest is meant.
func (a *app) assetVersion(ctx context.Context, t *assetTarget, k assetKind) (*session, arm.ID, string, error) {
	if t.version != "" && t.label != "" {
		return nil, arm.ID{}, "", usagef("--version and --label exclude each other")
	}
	s, ws, err := a.workspace(&t.target, need{"--name/-n", t.name})
	if err != nil {
		return nil, ws, "", err
	}
	ref := spec.Ref{Name: t.name, Version: t.version, Label: t.label}
	if ref.Version == "" && ref.Label == "" {
		ref.Label = "latest"
	}
	v, err := s.resolveVersion(ctx, ws, k.typ, ref)
	if err != nil {
		return nil, ws, "", err
	}
	path, err := child(ws.Child(k.typ, t.name), "versions", v)
	return s, ws, path, err
}

func (a *app) assetShow(k assetKind) *cobra.Command {
	var t assetTarget
	c := a.leaf(&cobra.Command{
		Use: "show", Short: "Show one version", Example: "  fairlead ml " + k.noun + " show -n NAME -v 1 -g G -w W",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, _, path, err := a.assetVersion(cmd.Context(), &t, k)
			if err != nil {
				return err
			}
			got, err := s.get(cmd.Context(), path, apiML)
			if err != nil {
				return err
			}
			return a.print(assetShape(k.uri)(got), assetColumns...)
		},
	})
	a.assetFlags(c, &t, k)
	return c
}

func (a *app) assetList(k assetKind) *cobra.Command {
	var t target
	var name string
	var max int
	var only, include bool
	c := a.leaf(&cobra.Command{
		Use: "list", Short: "List names, or the versions of one name", Example: "  fairlead ml " + k.noun + " list -g G -w W -o table",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, ws, err := a.workspace(&t)
			if err != nil {
				return err
			}
			path := ws.String() + "/" + k.typ
			if name != "" {
				if path, err = child(ws, k.typ, name); err != nil {
					return err
				}
				path += "/versions"
			}
			q := url.Values{}
			if err := listView(q, only, include); err != nil {
				return err
			}
			return a.listAt(cmd.Context(), place{session: s, path: path, max: max}, q, kind{api: apiML, shape: assetShape(k.uri), columns: assetColumns})
		},
	})
	a.addWorkspace(c, &t)
	a.addName(c, &name, k.noun, &t, inWorkspace(k.typ), apiML)
	c.Flags().IntVarP(&max, "max-results", "r", 0, "at most this `number`")
	archiveFlags(c, &only, &include)
	return c
}

func (a *app) assetArchive(k assetKind, verb string, archived bool) *cobra.Command {
	var t assetTarget
	c := a.leaf(&cobra.Command{
		Use: verb, Short: map[bool]string{true: "Hide a version, or a name with all its versions, from lists", false: "Undo archive"}[archived],
		Example: "  fairlead ml " + k.noun + " " + verb + " -n NAME -v 1 -g G -w W",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, ws, err := a.workspace(&t.target, need{"--name/-n", t.name})
			if err != nil {
				return err
			}
			path, err := child(ws, k.typ, t.name)
			if err != nil {
				return err
			}
			if t.version != "" || t.label != "" {
				if _, _, path, err = a.assetVersion(cmd.Context(), &t, k); err != nil {
					return err
				}
			}
			_, err = s.change(cmd.Context(), path, func(p map[string]any) { p["isArchived"] = archived })
			return err
		},
	})
	a.assetFlags(c, &t, k)
	return c
}

// nextVersion is the version that follows those there are; "1" for a new name.
func (s *session) nextVersion(ctx context.Context, ws arm.ID, typ, name string) (string, error) {
	path, err := child(ws, typ, name)
	if err != nil {
		return "", err
	}
	got, err := s.get(ctx, path, apiML)
	if isNotFound(err) {
		return "1", nil
	}
	if err != nil {
		return "", err
	}
	if v := text(got, "properties", "nextVersion"); v != "" {
		return v, nil
	}
	return "", usagef("the versions of %s are not numbers; give --version", name)
}

func (a *app) putAsset(ctx context.Context, s *session, path string, k assetKind, props map[string]any) error {
	got, err := s.send(ctx, http.MethodPut, path, apiML, map[string]any{"properties": props}, false, "Registering")
	if err != nil {
		return err
	}
	return a.print(assetShape(k.uri)(got), assetColumns...)
}
