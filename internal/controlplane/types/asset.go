package types

import (
	"context"
	"fmt"
	"reflect"
	"regexp"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

var assetName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,254}$`)

const assetHelp = "1 to 255 letters, digits, '-', '_' and '.', beginning with a letter or digit"

// assetKind is what differs between codes, environments, models and data.
type assetKind struct {
	name string
	// fixed are the fields that no version may change once it exists.
	fixed []string
	// admit checks a version's properties and sets defaults.
	admit func(ctx context.Context, p *resource.Put, props map[string]any) error
	// upload adds startPendingUpload.
	upload bool
	// emptyWithoutName lists the versions of a name that is not there.
	emptyWithoutName bool
	// searchBy is a query parameter that looks for versions under all names.
	searchBy string
	filter   func(q map[string]string, rec store.Record) bool
}

// asset makes the two types of a kind: the container and its versions.
func asset(d Deps, k assetKind) []*resource.Type {
	container := &resource.Type{
		Namespace: nsML, Name: "workspaces/" + k.name,
		APIVersions: mlVersions, NameRule: assetName, NameHelp: assetHelp,
		Archivable: true, VersionContainer: true, NoProvisioningState: true,
		Admit: admitContainer,
		Show:  showContainer,
	}
	version := &resource.Type{
		Namespace: nsML, Name: "workspaces/" + k.name + "/versions",
		APIVersions: mlVersions, NameRule: assetName, NameHelp: assetHelp,
		Archivable: true, NoProvisioningState: true, NewestFirst: true, EmptyWithoutParent: k.emptyWithoutName, SearchBy: k.searchBy,
		Admit: func(ctx context.Context, p *resource.Put) error {
			return admitVersion(ctx, p, k)
		},
		Filter: k.filter,
	}
	if k.upload {
		version.Actions = map[string]resource.Action{
			"startpendingupload": {Permission: "write", WithoutRecord: true, Run: d.startPendingUpload},
			// The older name of the same.
			"createorgetstartpendingupload": {Permission: "write", WithoutRecord: true, Run: d.startPendingUpload},
		}
	}
	return []*resource.Type{container, version}
}

func admitContainer(_ context.Context, p *resource.Put) error {
	props, err := object(p.Body, "properties")
	if err != nil {
		return err
	}
	textLabels(props)
	delete(props, "latestVersion")
	delete(props, "nextVersion")
	var c machinelearning.AssetContainer
	if err := decode(props, &c); err != nil {
		return err
	}
	c.Tags, c.Properties = orEmpty(c.Tags), orEmpty(c.Properties)
	p.Record.Archived = c.IsArchived
	return overlay(props, c)
}

// showContainer completes a container that was made by its first version. The engine counts the versions.
func showContainer(ctx context.Context, r store.Reader, rec store.Record, body map[string]any) error {
	props, err := object(body, "properties")
	if err != nil || rec.Type != mlType("workspaces/data") || props["dataType"] != nil {
		return err
	}
	latest, err := latestVersion(ctx, r, rec)
	if err == nil && latest != nil {
		props["dataType"] = field(*latest, "dataType")
	}
	return err
}

// latestVersion is the version made last that is not archived; nil when there is none.
func latestVersion(ctx context.Context, r store.Reader, container store.Record) (*store.Record, error) {
	recs, err := r.List(ctx, store.Query{Type: container.Type + "/versions", Parent: container.Key, Descending: true, Limit: 1})
	if err != nil {
		return nil, fmt.Errorf("listing versions of %s: %w", container.Key, err)
	}
	if len(recs) == 0 {
		return nil, nil
	}
	return &recs[0], nil
}

// admitVersion makes a version, or changes description, tags and isArchived of one that exists.
func admitVersion(ctx context.Context, p *resource.Put, k assetKind) error {
	props, err := object(p.Body, "properties")
	if err != nil {
		return err
	}
	old, err := oldProperties(p.Old)
	if err != nil {
		return err
	}
	if old != nil {
		for _, f := range k.fixed { // a PUT that leaves a fixed field out keeps it
			if v, given := props[f]; !given || v == nil || v == "" {
				restore(props, old, f)
			}
		}
	}
	textLabels(props)
	if err := k.admit(ctx, p, props); err != nil {
		return err
	}
	for _, f := range k.fixed {
		if old != nil && !reflect.DeepEqual(props[f], old[f]) {
			return arm.Errorf(409, "Conflict", "Version %s of %s exists and its %s cannot be changed from %q to %q; give a new version.",
				p.ID.Name(), containerName(p.ID), f, fmt.Sprint(old[f]), fmt.Sprint(props[f]))
		}
	}
	p.Record.Archived, _ = props["isArchived"].(bool)
	return nil
}

// containerName is the name that a version is a version of.
func containerName(version arm.ID) string {
	parent, _ := version.Parent()
	return parent.Name()
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}
