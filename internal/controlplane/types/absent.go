package types

import (
	"context"
	"net/http"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
)

// absent are types that clients of the reference make around a workspace and that there are none of here. They are read, listed
// and deleted as what is not there; templates pass over them.
func absent() []*resource.Type {
	const observed = "metrics and logs are kept by the control plane"
	var out []*resource.Type
	for _, a := range []struct{ namespace, name, why string }{
		{"Microsoft.Storage", "storageAccounts", "every workspace has a storage account of its own, which comes and goes with it"},
		{"Microsoft.KeyVault", "vaults", "secrets are kept encrypted by the control plane"},
		{"Microsoft.Insights", "components", observed},
		{"Microsoft.OperationalInsights", "workspaces", observed},
		{"Microsoft.ContainerRegistry", "registries", "images are pulled from where environments say"},
	} {
		t := &resource.Type{Namespace: a.namespace, Name: a.name, Absent: a.why, APIVersions: []string{"2023-07-01"}}
		t.Admit = func(context.Context, *resource.Put) error {
			return arm.Errorf(http.StatusBadRequest, "ResourceTypeNotOffered", "There are no resources of type '%s/%s' here, and none are needed: %s.", t.Namespace, t.Name, t.Absent)
		}
		out = append(out, t)
	}
	return out
}
