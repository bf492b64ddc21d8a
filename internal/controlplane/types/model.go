package types

import (
	"context"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
)

func model(d Deps) []*resource.Type {
	return asset(d, assetKind{
		name: "models", fixed: []string{"modelUri", "modelType"}, upload: true,
		admit: func(ctx context.Context, p *resource.Put, props map[string]any) error {
			var v machinelearning.ModelVersionProperties
			if err := decode(props, &v); err != nil {
				return err
			}
			if v.ModelType == "" {
				v.ModelType = "custom_model"
			}
			var err error
			if v.ModelType, err = enum("properties.modelType", v.ModelType, "custom_model", "mlflow_model", "triton_model"); err != nil {
				return err
			}
			if v.ModelURI == "" {
				return arm.Invalid("properties.modelUri", "properties.modelUri is missing; give azureml://jobs/<job>/outputs/<output>/paths/<path>, or upload the files with startPendingUpload and give its blobUri.")
			}
			if _, err := d.resolveURI(ctx, p.Tx, workspaceOf(p.ID), "properties.modelUri", v.ModelURI); err != nil {
				return err
			}
			v.Tags, v.Properties = orEmpty(v.Tags), orEmpty(v.Properties)
			if v.Flavors == nil {
				v.Flavors = map[string]any{}
			}
			return overlay(props, v)
		},
	})
}
