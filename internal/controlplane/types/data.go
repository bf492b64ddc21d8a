package types

import (
	"context"
	"errors"
	"fmt"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

func data(d Deps) []*resource.Type {
	return asset(d, assetKind{
		name: "data", fixed: []string{"dataUri", "dataType"}, upload: true,
		admit: func(ctx context.Context, p *resource.Put, props map[string]any) error {
			return admitData(ctx, d, p, props)
		},
	})
}

func admitData(ctx context.Context, d Deps, p *resource.Put, props map[string]any) error {
	var v machinelearning.DataVersionProperties
	if err := decode(props, &v); err != nil {
		return err
	}
	if v.DataType == "" {
		v.DataType = "uri_folder"
	}
	var err error
	if v.DataType, err = enum("properties.dataType", v.DataType, "uri_file", "uri_folder", "mltable"); err != nil {
		return err
	}
	if err := sameDataType(ctx, p, v.DataType); err != nil {
		return err
	}
	if v.DataURI == "" {
		return arm.Invalid("properties.dataUri", "properties.dataUri is missing; give azureml://datastores/<datastore>/paths/<path> or https://….")
	}
	if _, err := d.resolveURI(ctx, p.Tx, workspaceOf(p.ID), "properties.dataUri", v.DataURI); err != nil {
		return err
	}
	v.Tags, v.Properties = orEmpty(v.Tags), orEmpty(v.Properties)
	return overlay(props, v)
}

// sameDataType: all versions of a data asset have one type.
func sameDataType(ctx context.Context, p *resource.Put, typ string) error {
	parent, _ := p.ID.Parent()
	rec, err := p.Tx.Get(ctx, parent.Key())
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading data asset %s: %w", parent.Name(), err)
	}
	have := field(rec, "dataType")
	if latest, err := latestVersion(ctx, p.Tx, rec); err != nil {
		return err
	} else if have == "" && latest != nil {
		have = field(*latest, "dataType")
	}
	if have != "" && have != typ {
		return arm.Errorf(409, "Conflict", "properties.dataType is %q, but data asset %s is of type %q; give that type, or another name.", typ, parent.Name(), have)
	}
	return nil
}
