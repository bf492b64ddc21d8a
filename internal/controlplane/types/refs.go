package types

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/dataaddress"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/controlplane/types/uri"
)

// resolveURI turns an address into the https address of its bytes. target names the field in errors.
func (d Deps) resolveURI(ctx context.Context, r store.Reader, ws arm.ID, target, s string) (string, error) {
	ref, err := uri.Parse(s)
	if err != nil {
		return "", arm.Invalid(target, "%s: %v.", target, err)
	}
	switch ref.Kind {
	case uri.Datastore:
		if ref.Workspace != "" && ref.Workspace != ws.Key() {
			return "", arm.Invalid(target, "%s is %q, which is in another workspace; give a datastore of workspace %s.", target, s, ws.Name())
		}
		return d.datastoreURL(ctx, r, ws, target, ref.Name, ref.Path)
	case uri.JobOutput:
		return d.jobOutputURL(ctx, r, ws, target, ref)
	case uri.HTTPS:
		address := d.byPath(ref.URL)
		account, own := d.ownAccount(address)
		if !own {
			return ref.URL, nil
		}
		if have, err := getAccount(ctx, r, ws); err != nil {
			return "", err
		} else if account != have {
			return "", arm.Invalid(target, "%s is %q, which is in the storage of another workspace; copy it to workspace %s.", target, s, ws.Name())
		}
		u, _, _ := strings.Cut(address, "?")
		return strings.TrimSuffix(u, "/"), nil
	}
	return "", arm.Invalid(target, "%s is %q, the name of an asset; an address of files belongs here: %s.", target, s, uri.Help)
}

func (d Deps) datastoreURL(ctx context.Context, r store.Reader, ws arm.ID, target, name, path string) (string, error) {
	rec, err := r.Get(ctx, ws.Child("datastores", name).Key())
	if errors.Is(err, store.ErrNotFound) {
		return "", arm.Invalid(target, "%s names datastore %q, which workspace %s does not have. List them with 'ml datastore list'.", target, name, ws.Name())
	}
	if err != nil {
		return "", fmt.Errorf("reading datastore %s: %w", name, err)
	}
	if field(rec, "datastoreType") == typeS3 {
		account, err := getAccount(ctx, r, ws)
		return dataaddress.Address{Account: account, Datastore: rec.Name, Path: path}.Under(d.PublicURL), err
	}
	var ds machinelearning.DatastoreProperties
	if err := unmarshalProperties(rec, &ds); err != nil {
		return "", err
	}
	return d.Blobs.URL(ds.AccountName, ds.ContainerName, path), nil
}

func (d Deps) jobOutputURL(ctx context.Context, r store.Reader, ws arm.ID, target string, ref uri.Ref) (string, error) {
	rec, err := r.Get(ctx, ws.Child("jobs", ref.Name).Key())
	if errors.Is(err, store.ErrNotFound) {
		return "", arm.Invalid(target, "%s names job %q, which workspace %s does not have.", target, ref.Name, ws.Name())
	}
	if err != nil {
		return "", fmt.Errorf("reading job %s: %w", ref.Name, err)
	}
	var j machinelearning.CommandJob
	if err := unmarshalProperties(rec, &j); err != nil {
		return "", err
	}
	if out, named := j.Outputs[ref.Output]; named && out != nil {
		base, err := d.resolveURI(ctx, r, ws, target, out.URI)
		return joinURL(base, ref.Path, err)
	}
	if !strings.EqualFold(ref.Output, "artifacts") && !strings.EqualFold(ref.Output, "default") {
		return "", arm.Invalid(target, "%s names output %q, which job %s does not have; it has %s.", target, ref.Output, ref.Name, oneOf(keys(j.Outputs), "artifacts"))
	}
	st, err := runstate.Decode(rec)
	if err != nil {
		return "", err
	}
	account, err := getAccount(ctx, r, ws)
	path := ArtifactsPath(st.RunFolder(rec.Name))
	if ref.Path != "" {
		path += "/" + ref.Path
	}
	return d.Blobs.URL(account, ArtifactContainer, path), err
}

// joinURL puts a path below the address of a folder.
func joinURL(base, path string, err error) (string, error) {
	if err != nil || path == "" {
		return base, err
	}
	return base + "/" + dataaddress.Escape(path), nil
}

// findAsset looks an asset's version up. types are the collections to look in when the reference does not say.
func (d Deps) findAsset(ctx context.Context, r store.Reader, ws arm.ID, target, s string, types ...string) (store.Record, error) {
	ref, err := uri.Parse(s)
	if err != nil {
		return store.Record{}, arm.Invalid(target, "%s: %v.", target, err)
	}
	if ref.Kind != uri.Asset {
		return store.Record{}, arm.Invalid(target, "%s is %q; it must name a version of %s in workspace %s: azureml:<name>:<version> or its resource id.", target, s, types[0], ws.Name())
	}
	if err := sameWorkspace(ctx, r, ws, target, s, ref); err != nil {
		return store.Record{}, err
	}
	if ref.Type != "" {
		if !contains(types, ref.Type) {
			return store.Record{}, arm.Invalid(target, "%s is %q, of type %s; it must be of type %s.", target, s, ref.Type, oneOf(types))
		}
		types = []string{ref.Type}
	}
	for _, typ := range types {
		rec, err := getVersion(ctx, r, ws.Child(typ, ref.Name), ref)
		if err == nil || !errors.Is(err, store.ErrNotFound) {
			return rec, err
		}
	}
	version := ref.Version
	if version == "" {
		version = "(any)"
	}
	return store.Record{}, arm.Invalid(target, "%s is %q, but workspace %s has no %s %q of version %s; create it first, or list what there is.",
		target, s, ws.Name(), oneOf(types), ref.Name, version)
}

func sameWorkspace(ctx context.Context, r store.Reader, ws arm.ID, target, s string, ref uri.Ref) error {
	other := ref.Workspace != "" && ref.Workspace != ws.Key()
	if ref.WorkspaceID != "" {
		rec, err := getWorkspace(ctx, r, ws)
		if err != nil {
			return err
		}
		other = !strings.EqualFold(field(rec, "workspaceId"), ref.WorkspaceID) && !strings.EqualFold(ws.Name(), ref.WorkspaceID)
	}
	if other {
		return arm.Invalid(target, "%s is %q, which is in another workspace; register it in workspace %s.", target, s, ws.Name())
	}
	return nil
}

func getVersion(ctx context.Context, r store.Reader, container arm.ID, ref uri.Ref) (store.Record, error) {
	if ref.Label == "" {
		return r.Get(ctx, container.Child("versions", ref.Version).Key())
	}
	rec, err := r.Get(ctx, container.Key())
	if err != nil {
		return rec, err
	}
	latest, err := latestVersion(ctx, r, rec)
	if err == nil && latest == nil {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Record{}, err
	}
	return *latest, nil
}
