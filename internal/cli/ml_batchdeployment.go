package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/cli/spec"
)

var batchDeploymentKind = kind{
	api: apiML, shape: batchDeploymentShape, one: childOfEndpoint("batchEndpoints"), many: childrenOfEndpoint("batchEndpoints"),
	columns: cols("Name=name", "Endpoint=endpoint_name", "Model=model", "Compute=compute", "ProvisioningState=provisioning_state"),
	show:    help{"Show a batch deployment", "  fairlead ml batch-deployment show -n blue -e digits -g G -w W"},
	list:    help{"List a batch endpoint's deployments", "  fairlead ml batch-deployment list -e digits -g G -w W -o table"},
}

func (a *app) mlBatchDeployment() *cobra.Command {
	return noun("batch-deployment", "Put models behind a batch endpoint",
		a.batchDeploymentPut("create", "Create a batch deployment", "  fairlead ml batch-deployment create -f blue.yml --set-default -g G -w W"),
		a.shower(batchDeploymentKind), a.lister(batchDeploymentKind),
		a.batchDeploymentPut("update", "Change a batch deployment; jobs that run go on as they are", "  fairlead ml batch-deployment update -n blue -e digits --set settings.mini_batch_size=100 -g G -w W"),
		a.deleter(batchDeploymentKind, removal{
			question: "Delete deployment {name} of batch endpoint {parent}?",
			help:     help{"Delete a batch deployment", "  fairlead ml batch-deployment delete -n blue -e digits -g G -w W --yes"},
		}))
}

type batchDeploymentFlags struct {
	target
	file, endpoint, name    string
	set                     []string
	setDefault, noWait, any bool
}

// batchDeploymentPut is create or update.
func (a *app) batchDeploymentPut(verb, short, example string) *cobra.Command {
	var f batchDeploymentFlags
	create := verb == "create"
	c := a.leaf(&cobra.Command{Use: verb, Short: short, Example: example, RunE: func(cmd *cobra.Command, _ []string) error {
		if !create && f.file == "" && len(f.set) == 0 {
			return usagef("nothing to change: give --file/-f or --set")
		}
		return a.putBatchDeployment(cmd.Context(), f, create)
	}})
	if create {
		c.Long = "Create a deployment of a batch endpoint from a YAML file. A local model and local code are uploaded first."
		c.Flags().BoolVar(&f.setDefault, "set-default", false, "have invocations of the endpoint that name no deployment go to this one")
	}
	a.addDeployment(c, &f.target, "batchEndpoints", &f.endpoint, &f.name)
	addFile(c, &f.file, &f.set)
	c.Flags().BoolVar(&f.any, "skip-script-validation", false, "accepted for compatibility: the script is tried when a job runs")
	addNoWait(c, &f.noWait)
	return c
}

func (a *app) putBatchDeployment(ctx context.Context, f batchDeploymentFlags, create bool) error {
	doc, err := a.document(f.file, f.set, map[string]string{"name": f.name, "endpoint_name": f.endpoint})
	if err != nil {
		return err
	}
	b, err := doc.BatchDeployment(create)
	if err != nil {
		return specError(f.file, err)
	}
	p, err := a.deploymentAt(&f.target, "batchEndpoints", b.Endpoint, b.Name)
	if err != nil {
		return err
	}
	var old map[string]any
	if !create {
		if old, err = p.get(ctx, p.path, apiML); err != nil {
			return err
		}
	}
	body, err := a.batchDeploymentBody(ctx, p, f, b)
	if err != nil {
		return err
	}
	next := overlay(old, body)
	if vars := sub(body, "properties", "environmentVariables"); vars != nil && f.file != "" { // a file has them all, --set adds one
		next["properties"].(map[string]any)["environmentVariables"] = vars
	}
	res, err := p.put(ctx, p.path, apiML, next, f.noWait)
	if err != nil {
		return err
	}
	if f.setDefault {
		if err := a.setDefault(ctx, p); err != nil {
			return fmt.Errorf("deployment %s is there, but is not the default: %w", p.name, err)
		}
	}
	return a.print(batchDeploymentShape(res), batchDeploymentKind.columns...)
}

// setDefault has the endpoint's invocations go to a deployment.
func (a *app) setDefault(ctx context.Context, p place) error {
	id, err := arm.ParseID(p.path)
	if err != nil {
		return err
	}
	endpoint, _ := id.Parent()
	old, err := p.get(ctx, endpoint.String(), apiML)
	if err != nil {
		return err
	}
	_, err = p.put(ctx, endpoint.String(), apiML, overlay(old, map[string]any{"properties": map[string]any{"defaults": map[string]any{"deploymentName": p.name}}}), false)
	return err
}

// batchDeploymentBody is the API's form of what a file and flags say, and of nothing else; what is local is uploaded.
func (a *app) batchDeploymentBody(ctx context.Context, p place, f batchDeploymentFlags, b *spec.BatchDeployment) (map[string]any, error) {
	_, ws, err := a.workspace(&f.target)
	if err != nil {
		return nil, err
	}
	props := batchSettings(&b.BatchSettings)
	if b.Description != "" {
		props["description"] = b.Description
	}
	for k, v := range map[string]map[string]string{"properties": b.Properties, "environmentVariables": b.EnvironmentVariables} {
		if v != nil {
			props[k] = toAny(v)
		}
	}
	resources := numbers(map[string]*int64{"instanceCount": b.InstanceCount})
	for k, v := range map[string]string{"instanceType": b.InstanceType, "shmSize": b.ShmSize} {
		if v != "" {
			resources[k] = v
		}
	}
	if len(resources) > 0 {
		props["resources"] = resources
	}
	if b.Compute != "" {
		if props["compute"], err = p.findCompute(ctx, ws, b.Compute); err != nil {
			return nil, err
		}
	}
	if b.Environment.Ref+b.Environment.Image != "" {
		if props["environmentId"], err = p.findEnvironment(ctx, ws, b.Environment); err != nil {
			return nil, err
		}
	}
	if b.Code != "" {
		code, err := a.findCode(ctx, p.session, ws, f.file, b.Code)
		if err != nil {
			return nil, err
		}
		props["codeConfiguration"] = map[string]any{"codeId": code, "scoringScript": b.ScoringScript}
	}
	if b.Model != (spec.Model{}) {
		model, err := a.findModel(ctx, p.session, ws, f.file, b.Model)
		if err != nil {
			return nil, fmt.Errorf("model: %w", err)
		}
		props["model"] = map[string]any{"referenceType": "Id", "assetId": model}
	}
	body := map[string]any{"properties": props}
	if b.Tags != nil {
		body["tags"] = toAny(b.Tags)
	}
	return body, nil
}

// batchSettings are those that were given.
func batchSettings(s *spec.BatchSettings) map[string]any {
	out := numbers(map[string]*int64{"errorThreshold": s.ErrorThreshold, "miniBatchSize": s.MiniBatchSize, "maxConcurrencyPerInstance": s.Concurrency})
	retry := numbers(map[string]*int64{"maxRetries": s.MaxRetries})
	if s.Timeout != nil {
		retry["timeout"] = isoSeconds(*s.Timeout)
	}
	if len(retry) > 0 {
		out["retrySettings"] = retry
	}
	for k, v := range map[string]string{"outputFileName": s.OutputFileName,
		"loggingLevel": map[string]string{"info": "Info", "warning": "Warning", "debug": "Debug"}[s.LoggingLevel],
		"outputAction": map[string]string{"append_row": "AppendRow", "summary_only": "SummaryOnly"}[s.OutputAction]} {
		if v != "" {
			out[k] = v
		}
	}
	return out
}

// batchDeploymentShape is a deployment in the words of its file.
func batchDeploymentShape(r map[string]any) map[string]any {
	names := []string{"errorThreshold", "retrySettings", "miniBatchSize", "loggingLevel", "outputAction", "outputFileName", "maxConcurrencyPerInstance"}
	out := lift(envelope(r), r, append(names, "environmentId", "environmentVariables", "codeConfiguration", "resources", "model")...)
	p := sub(r, "properties")
	settings := map[string]any{"environment_variables": p["environmentVariables"]}
	for _, name := range names {
		settings[snake(name)] = p[name]
	}
	for key, words := range map[string]map[string]string{"output_action": {"AppendRow": "append_row", "SummaryOnly": "summary_only"},
		"logging_level": {"Info": "info", "Warning": "warning", "Debug": "debug"}} {
		s, _ := settings[key].(string)
		settings[key] = words[s]
	}
	retry := map[string]any{"max_retries": sub(p, "retrySettings")["maxRetries"]}
	if secs, ok := parseISODuration(text(p, "retrySettings", "timeout")); ok {
		retry["timeout"] = secs
	}
	settings["retry_settings"] = retry
	out["type"], out["settings"] = "model", settings
	resources := map[string]any{}
	for k, v := range sub(p, "resources") {
		if v != nil {
			resources[snake(k)] = v
		}
	}
	out["resources"] = resources
	for key, id := range map[string]string{"environment": text(p, "environmentId"), "model": text(p, "model", "assetId"), "compute": text(p, "compute")} {
		if id != "" {
			out[key] = assetRef(id)
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
	return out
}
