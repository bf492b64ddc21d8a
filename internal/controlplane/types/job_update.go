package types

import (
	"context"
	"maps"
	"reflect"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/controlplane/types/trackedjob"
)

// updateJob takes a PUT of a job that exists: the same content again is fine, and displayName, description, tags and
// isArchived may change.
func (d Deps) updateJob(ctx context.Context, p *resource.Put) error {
	props, err := object(p.Body, "properties")
	if err != nil {
		return err
	}
	old, err := oldProperties(p.Old)
	if err != nil {
		return err
	}
	var was machinelearning.CommandJob
	if err := decode(old, &was); err != nil {
		return err
	}
	restore(props, old, "status", "parameters", "error", "services")
	now, err := readJob(props, p.Old.Name)
	if err != nil {
		return err
	}
	st, err := runstate.Decode(*p.Old)
	if err != nil {
		return err
	}
	defaultOutputs(now, st.RunFolder(p.Old.Name))
	changed, err := d.changedField(ctx, p, &was, now)
	if err != nil {
		return err
	}
	if changed != "" {
		return arm.Errorf(409, "Conflict", "A job with the name %s exists and its %s cannot be changed. To run something else give another name; displayName, description, tags and isArchived may be changed.", p.Old.Name, changed)
	}
	for k, v := range map[string]any{"displayName": now.DisplayName, "description": now.Description, "tags": now.Tags, "isArchived": now.IsArchived} {
		old[k] = v
	}
	p.Body["properties"] = old
	p.Record.Archived, p.Record.Internal = now.IsArchived, p.Old.Internal
	return trackedjob.Update(ctx, p.Tx, p.Old.Name, &was, now, st)
}

// changedField names the first field that differs and may not.
func (d Deps) changedField(ctx context.Context, p *resource.Put, was, now *machinelearning.CommandJob) (string, error) {
	ws := workspaceOf(p.ID)
	compute, err := computeID(ws, "properties.computeId", now.ComputeID)
	if err != nil {
		return "", err
	}
	if compute.Key() != strings.ToLower(was.ComputeID) {
		return "computeId", nil
	}
	for _, ref := range []struct{ field, was, now, typ string }{
		{"environmentId", was.EnvironmentID, now.EnvironmentID, "environments"}, {"codeId", was.CodeID, now.CodeID, "codes"},
	} {
		key := ""
		if ref.now != "" {
			if key, err = d.assetKey(ctx, p.Tx, ws, "properties."+ref.field, ref.now, ref.typ); err != nil {
				return "", err
			}
		}
		if key != strings.ToLower(ref.was) {
			return ref.field, nil
		}
	}
	for _, f := range []struct {
		field    string
		was, now any
	}{
		{"command", was.Command, now.Command}, {"experimentName", was.ExperimentName, now.ExperimentName},
		{"environmentVariables", was.EnvironmentVariables, now.EnvironmentVariables}, {"inputs", was.Inputs, now.Inputs},
		{"outputs", was.Outputs, now.Outputs}, {"resources", was.Resources, now.Resources},
		{"distribution", was.Distribution, now.Distribution}, {"limits", was.Limits, now.Limits},
		{"identity", was.Identity, now.Identity}, {"properties", usersOwn(was.Properties), usersOwn(now.Properties)},
	} {
		if !reflect.DeepEqual(f.was, f.now) {
			return f.field, nil
		}
	}
	return "", nil
}

// usersOwn are the properties that the user set.
func usersOwn(m map[string]string) map[string]string {
	out := maps.Clone(m)
	maps.DeleteFunc(out, func(k, _ string) bool {
		return strings.HasPrefix(k, "fairlead.") && k != machinelearning.PropMaxRestarts
	})
	return out
}
