package types

import (
	"context"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

func code(d Deps) []*resource.Type {
	return asset(d, assetKind{
		name: "codes", fixed: []string{"codeUri"}, upload: true, emptyWithoutName: true, searchBy: "hash",
		admit: func(ctx context.Context, p *resource.Put, props map[string]any) error {
			var v machinelearning.CodeVersionProperties
			if err := decode(props, &v); err != nil {
				return err
			}
			if v.CodeURI == "" {
				return arm.Invalid("properties.codeUri", "properties.codeUri is missing; upload the files with startPendingUpload and give its blobUri.")
			}
			u, err := d.resolveURI(ctx, p.Tx, workspaceOf(p.ID), "properties.codeUri", v.CodeURI)
			if err != nil {
				return err
			}
			if _, _, _, own := d.ownURL(u); !own {
				return arm.Invalid("properties.codeUri", "properties.codeUri is %q; code must be in the workspace's own storage. Upload the files with startPendingUpload and give its blobUri.", v.CodeURI)
			}
			v.Tags, v.Properties = orEmpty(v.Tags), orEmpty(v.Properties)
			return overlay(props, v)
		},
		filter: func(q map[string]string, rec store.Record) bool {
			want := q["hash"]
			if want == "" {
				return true
			}
			var v machinelearning.CodeVersionProperties
			if unmarshalProperties(rec, &v) != nil {
				return false
			}
			for _, k := range []string{"hash_sha256", "hash", "azureml.contentHash"} {
				if v.Properties[k] == want {
					return true
				}
			}
			return false
		},
	})
}
