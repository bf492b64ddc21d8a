package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/cli/snapshot"
	"fairlead.dev/fairlead/internal/cli/spec"
)

// deploymentBody is the API's form of what a file and flags say, and of nothing else; what is local is uploaded.
func (a *app) deploymentBody(ctx context.Context, p place, f deploymentFlags, o *spec.OnlineDeployment) (map[string]any, error) {
	_, ws, err := a.workspace(&f.target)
	if err != nil {
		return nil, err
	}
	props := deploymentProps(o)
	if o.Environment.Ref+o.Environment.Image != "" {
		if props["environmentId"], err = p.findEnvironment(ctx, ws, o.Environment); err != nil {
			return nil, err
		}
	}
	if o.Code != "" {
		code, err := a.findCode(ctx, p.session, ws, f.file, o.Code)
		if err != nil {
			return nil, err
		}
		props["codeConfiguration"] = map[string]any{"codeId": code, "scoringScript": o.ScoringScript}
	}
	if o.Model != (spec.Model{}) {
		if props["model"], err = a.findModel(ctx, p.session, ws, f.file, o.Model); err != nil {
			return nil, fmt.Errorf("model: %w", err)
		}
	}
	body := map[string]any{"properties": props}
	if o.Tags != nil {
		body["tags"] = o.Tags
	}
	if o.InstanceCount != nil {
		body["sku"] = map[string]any{"name": "Default", "capacity": *o.InstanceCount}
	}
	return body, nil
}

// deploymentProps are the properties that need no look-up.
func deploymentProps(o *spec.OnlineDeployment) map[string]any {
	props := map[string]any{}
	for k, v := range map[string]string{"description": o.Description, "modelMountPath": o.ModelMountPath, "instanceType": o.InstanceType} {
		if v != "" {
			props[k] = v
		}
	}
	for k, v := range map[string]map[string]string{"properties": o.Properties, "environmentVariables": o.EnvironmentVariables} {
		if v != nil {
			props[k] = toAny(v)
		}
	}
	if o.AppInsights != nil {
		props["appInsightsEnabled"] = *o.AppInsights
	}
	scale := numbers(map[string]*int64{"minInstances": o.Scale.Min, "maxInstances": o.Scale.Max, "targetUtilizationPercentage": o.Scale.Utilization})
	if o.Scale.PollingInterval != nil {
		scale["pollingInterval"] = isoSeconds(*o.Scale.PollingInterval)
	}
	if typ := map[string]string{"default": "Default", "target_utilization": "TargetUtilization"}[o.Scale.Type]; typ != "" {
		scale["scaleType"] = typ
	}
	requests := numbers(map[string]*int64{"maxConcurrentRequestsPerInstance": o.Requests.Concurrent})
	for k, ms := range map[string]*int64{"requestTimeout": o.Requests.TimeoutMS, "maxQueueWait": o.Requests.QueueWaitMS} {
		if ms != nil {
			requests[k] = isoMillis(*ms)
		}
	}
	resources := map[string]any{}
	for k, v := range map[string]map[string]string{"containerResourceRequests": o.ResourceRequests, "containerResourceLimits": o.ResourceLimits} {
		if v != nil {
			resources[k] = containerResources(v)
		}
	}
	for k, v := range map[string]map[string]any{"scaleSettings": scale, "requestSettings": requests, "containerResourceRequirements": resources,
		"livenessProbe": probeBody(o.Liveness), "readinessProbe": probeBody(o.Readiness), "startupProbe": probeBody(o.Startup)} {
		if len(v) > 0 {
			props[k] = v
		}
	}
	return props
}

// scaleOf are a deployment's scale settings when some are given, or a number of instances is; nil: those that it has, with what is given
// laid over them.
func scaleOf(old, given map[string]any, counted bool) (map[string]any, error) {
	scaled := text(old, "scaleType") == "TargetUtilization"
	switch {
	case text(given, "scaleType") != "": // another type has other fields
		return given, nil
	case len(given) > 0 && !scaled: // bounds, of what had a number
		return withField(given, "scaleType", "TargetUtilization"), nil
	case len(given) > 0 || !counted || !scaled:
		return nil, nil
	case old["minInstances"] == old["maxInstances"]: // it had a number all along
		return map[string]any{"scaleType": "Default"}, nil
	}
	return nil, usagef("instance_count has no effect: the deployment scales by itself from %v to %v instances. Give scale_settings.type=default with it, or other scale_settings.min_instances and .max_instances",
		old["minInstances"], old["maxInstances"])
}

func toAny(m map[string]string) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// numbers are those that were given.
func numbers(given map[string]*int64) map[string]any {
	out := map[string]any{}
	for k, v := range given {
		if v != nil {
			out[k] = *v
		}
	}
	return out
}

func containerResources(given map[string]string) map[string]any {
	out := map[string]any{}
	for from, to := range map[string]string{"cpu": "cpu", "memory": "memory", "nvidia.com/gpu": "gpu"} {
		if v := given[from]; v != "" {
			out[to] = v
		}
	}
	return out
}

func probeBody(p *spec.Probe) map[string]any {
	if p == nil {
		return nil
	}
	out := numbers(map[string]*int64{"successThreshold": p.SuccessThreshold, "failureThreshold": p.FailureThreshold})
	for k, v := range map[string]*int64{"initialDelay": p.InitialDelay, "period": p.Period, "timeout": p.Timeout} {
		if v != nil {
			out[k] = isoSeconds(*v)
		}
	}
	return out
}

// isoMillis is a number of milliseconds as an ISO 8601 duration.
func isoMillis(ms int64) string {
	return "PT" + strconv.FormatFloat(float64(ms)/1000, 'f', -1, 64) + "S"
}

// findModel gives the id of a model's version; a local one is registered, under its content's hash when it has no name.
func (a *app) findModel(ctx context.Context, s *session, ws arm.ID, file string, m spec.Model) (string, error) {
	if m.Ref != "" {
		ref, err := spec.ParseRef(m.Ref)
		if err != nil || ref.ID != "" {
			return ref.ID, err
		}
		version, err := s.resolveVersion(ctx, ws, modelKind.typ, ref)
		if err != nil {
			return "", err
		}
		return child(ws.Child(modelKind.typ, ref.Name), "versions", version)
	}
	if m.Name == "" {
		m.Name, m.Version = "CliV2AnonymousModel", "1"
		if m.IsLocal() {
			snap, err := snapshot.Take(localPath(file, m.Path))
			if err != nil {
				return "", err
			}
			m.Version = snap.Hash[:32]
		} else {
			m.Version = hashOf(m.Path)
		}
	}
	if m.Version == "" {
		var err error
		if m.Version, err = s.nextVersion(ctx, ws, modelKind.typ, m.Name); err != nil {
			return "", err
		}
	}
	path, err := child(ws.Child(modelKind.typ, m.Name), "versions", m.Version)
	if err != nil {
		return "", err
	}
	if _, err := s.get(ctx, path, apiML); !isNotFound(err) {
		return path, err
	}
	uri := m.Path
	if m.IsLocal() {
		if uri, err = a.uploadModel(ctx, s, path, localPath(file, m.Path)); err != nil {
			return "", fmt.Errorf("uploading: %w", err)
		}
	}
	got, err := s.put(ctx, path, apiML, map[string]any{"properties": map[string]any{"modelUri": uri, "modelType": m.Type, "isAnonymous": m.Name == "CliV2AnonymousModel"}}, true)
	return text(got, "id"), err
}

func deploymentShape(r map[string]any) map[string]any {
	out := lift(envelope(r), r, "endpointComputeType", "environmentId", "containerResourceRequirements", "codeConfiguration")
	p := sub(r, "properties")
	out["type"] = strings.ToLower(text(p, "endpointComputeType"))
	for from, to := range map[string]string{"environmentId": "environment", "model": "model"} {
		if id := text(p, from); id != "" {
			out[to] = assetRef(id)
		}
	}
	if c := sub(p, "codeConfiguration"); len(c) > 0 {
		out["code_configuration"] = map[string]any{"code": assetRef(text(c, "codeId")), "scoring_script": text(c, "scoringScript")}
	}
	if id, err := arm.ParseID(text(r, "id")); err == nil {
		if parent, ok := id.Parent(); ok {
			out["endpoint_name"] = parent.Name()
		}
	}
	if n := sub(r, "sku")["capacity"]; n != nil {
		out["instance_count"] = n
	}
	resources := map[string]any{}
	for from, to := range map[string]string{"containerResourceRequests": "requests", "containerResourceLimits": "limits"} {
		if v := sub(p, "containerResourceRequirements", from); len(v) > 0 {
			resources[to] = v
		}
	}
	if len(resources) > 0 {
		out["resources"] = resources
	}
	for _, key := range []string{"scale_settings", "request_settings", "liveness_probe", "readiness_probe", "startup_probe"} {
		if m, ok := out[key].(map[string]any); ok {
			inner := map[string]any{}
			for k, v := range m {
				inner[snake(k)] = v
			}
			out[key] = inner
		}
	}
	return out
}
