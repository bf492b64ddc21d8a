package cli

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"fairlead.dev/fairlead/api/arm"
)

// The shapes in which the reference's command line prints resources of a workspace: snake case, properties lifted up.

var upperRun = regexp.MustCompile(`([a-z0-9])([A-Z])`)

// snake turns camelCase into snake_case.
func snake(s string) string {
	return strings.ToLower(upperRun.ReplaceAllString(s, "${1}_${2}"))
}

// envelope begins an entity: id, name, resource group and who made it.
func envelope(r map[string]any) map[string]any {
	out := map[string]any{"id": r["id"], "name": r["name"]}
	if sd := sub(r, "systemData"); len(sd) > 0 {
		ctx := map[string]any{}
		for from, to := range map[string]string{
			"createdAt": "created_at", "createdBy": "created_by", "createdByType": "created_by_type",
			"lastModifiedAt": "last_modified_at", "lastModifiedBy": "last_modified_by", "lastModifiedByType": "last_modified_by_type",
		} {
			if v, ok := sd[from]; ok {
				ctx[to] = v
			}
		}
		out["creation_context"] = ctx
	}
	for _, k := range []string{"location", "tags"} {
		if v, ok := r[k]; ok && v != nil {
			out[k] = v
		}
	}
	addResourceGroup(out)
	return out
}

// lift copies properties of r under snake-case names, without those in skip.
func lift(out, r map[string]any, skip ...string) map[string]any {
	for k, v := range sub(r, "properties") {
		if v != nil && !oneOf(k, skip...) {
			out[snake(k)] = v
		}
	}
	return out
}

func workspaceShape(r map[string]any) map[string]any {
	out := lift(envelope(r), r, "friendlyName")
	if v := text(r, "properties", "friendlyName"); v != "" {
		out["display_name"] = v
	}
	return out
}

func computeShape(r map[string]any) map[string]any {
	out := envelope(r)
	p := sub(r, "properties")
	out["type"] = strings.ToLower(text(p, "computeType"))
	for from, to := range map[string]string{
		"provisioningState": "provisioning_state", "resourceId": "resource_id", "createdOn": "created_on", "description": "description",
		"computeLocation": "location", "provisioningErrors": "provisioning_errors",
	} {
		if v := p[from]; v != nil {
			out[to] = v
		}
	}
	inner := map[string]any{}
	for k, v := range sub(p, "properties") {
		inner[snake(k)] = v
	}
	out["properties"], out["namespace"] = inner, inner["namespace"]
	if id := sub(r, "identity"); len(id) > 0 {
		out["identity"] = identityShape(id)
	}
	return out
}

func identityShape(id map[string]any) map[string]any {
	out := map[string]any{"type": snake(text(id, "type"))}
	for from, to := range map[string]string{"principalId": "principal_id", "tenantId": "tenant_id", "clientId": "client_id"} {
		if v := text(id, from); v != "" {
			out[to] = v
		}
	}
	var users []any
	all := sub(id, "userAssignedIdentities")
	for _, rid := range slices.Sorted(maps.Keys(all)) {
		u := map[string]any{"resource_id": rid}
		if m, ok := all[rid].(map[string]any); ok {
			u["principal_id"], u["client_id"] = m["principalId"], m["clientId"]
		}
		users = append(users, u)
	}
	if len(users) > 0 {
		out["user_assigned_identities"] = users
	}
	return out
}

// assetShape is a model, an environment or data; version is the last name of its id.
func assetShape(uriField string) func(map[string]any) map[string]any {
	return func(r map[string]any) map[string]any {
		out := envelope(r)
		lift(out, r, uriField, "isArchived", "isAnonymous")
		for from, to := range map[string]string{uriField: "path", "modelType": "type", "dataType": "type"} {
			if v := text(r, "properties", from); v != "" {
				out[to] = v
			}
		}
		delete(out, "model_type")
		delete(out, "data_type")
		if id, err := arm.ParseID(text(r, "id")); err == nil && len(id.Segments) > 0 {
			s := id.Segments[len(id.Segments)-1]
			if n := len(s.Names); n >= 2 && s.Types[n-1] == "versions" {
				out["name"], out["version"] = s.Names[n-2], s.Names[n-1]
			}
		}
		return out
	}
}

func datastoreShape(r map[string]any) map[string]any {
	out := lift(envelope(r), r, "datastoreType")
	out["type"] = snake(text(r, "properties", "datastoreType"))
	return out
}

// assetRef is the short form of an asset's id: azureml:<name>:<version>.
func assetRef(id string) string {
	p, err := arm.ParseID(id)
	if err != nil || len(p.Segments) == 0 {
		return id
	}
	s := p.Segments[len(p.Segments)-1]
	if n := len(s.Names); n >= 3 && strings.EqualFold(s.Types[n-1], "versions") {
		return "azureml:" + s.Names[n-2] + ":" + s.Names[n-1]
	}
	return "azureml:" + p.Name()
}

func oneOf(s string, allowed ...string) bool {
	for _, a := range allowed {
		if strings.EqualFold(a, s) {
			return true
		}
	}
	return false
}
