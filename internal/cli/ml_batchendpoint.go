package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/cli/spec"
	"fairlead.dev/fairlead/internal/client"
)

var batchEndpointKind = kind{
	api: apiML, shape: batchEndpointShape, one: childOf("batchEndpoints", "endpoint"), many: childrenOf("batchEndpoints"),
	columns: cols("Name=name", "Default=defaults.deployment_name", "ProvisioningState=provisioning_state", "ScoringUri=scoring_uri"),
	show:    help{"Show a batch endpoint", "  fairlead ml batch-endpoint show -n digits -g G -w W"},
	list:    help{"List batch endpoints", "  fairlead ml batch-endpoint list -g G -w W -o table"},
}

func (a *app) mlBatchEndpoint() *cobra.Command {
	return noun("batch-endpoint", "Score folders of files with models, as jobs on an attached cluster",
		a.batchEndpointPut("create", "Create a batch endpoint", "  fairlead ml batch-endpoint create -f endpoint.yml -g G -w W\n  fairlead ml batch-endpoint create -n digits -g G -w W"),
		a.shower(batchEndpointKind), a.lister(batchEndpointKind),
		a.batchEndpointPut("update", "Change a batch endpoint, such as which deployment is the default", "  fairlead ml batch-endpoint update -n digits --set defaults.deployment_name=blue -g G -w W"),
		a.deleter(batchEndpointKind, removal{
			question: "Delete batch endpoint {name} of workspace {parent} with its deployments?",
			help:     help{"Delete a batch endpoint with its deployments; its jobs stay", "  fairlead ml batch-endpoint delete -n digits -g G -w W --yes"},
		}),
		a.batchEndpointInvoke(), a.batchEndpointJobs())
}

// batchEndpointPut is create or update.
func (a *app) batchEndpointPut(verb, short, example string) *cobra.Command {
	var t target
	var file, name, deployment string
	var set []string
	var noWait bool
	c := a.leaf(&cobra.Command{Use: verb, Short: short, Example: example, RunE: func(cmd *cobra.Command, _ []string) error {
		doc, err := a.document(file, set, map[string]string{"name": name})
		if err != nil {
			return err
		}
		e, err := doc.BatchEndpoint(verb == "create")
		if err != nil {
			return specError(file, err)
		}
		if deployment != "" {
			e.DefaultDeployment = deployment
		}
		props := map[string]any{}
		if e.Description != "" {
			props["description"] = e.Description
		}
		if e.Properties != nil {
			props["properties"] = toAny(e.Properties)
		}
		if e.DefaultDeployment != "" {
			props["defaults"] = map[string]any{"deploymentName": e.DefaultDeployment}
		}
		body := map[string]any{"properties": props}
		if e.Tags != nil {
			body["tags"] = toAny(e.Tags)
		}
		return a.putBatchEndpoint(cmd.Context(), &t, e.Name, body, verb == "create")
	}})
	a.addChild(c, &t, &name, "batchEndpoints", "endpoint")
	addFile(c, &file, &set)
	if verb == "update" {
		c.Flags().StringVar(&deployment, "defaults", "", "`name` of the deployment that invocations get which name none")
	}
	addNoWait(c, &noWait)
	return c
}

func (a *app) putBatchEndpoint(ctx context.Context, t *target, name string, body map[string]any, create bool) error {
	s, ws, err := a.workspace(t, need{"--name/-n", name})
	if err != nil {
		return err
	}
	path, err := child(ws, "batchEndpoints", name)
	if err != nil {
		return err
	}
	if !create {
		old, err := s.get(ctx, path, apiML)
		if err != nil {
			return err
		}
		body = overlay(old, body)
	}
	res, err := s.put(ctx, path, apiML, body, false)
	if err != nil {
		return err
	}
	return a.print(batchEndpointShape(res), batchEndpointKind.columns...)
}

func batchEndpointShape(r map[string]any) map[string]any {
	out := lift(envelope(r), r, "authMode", "defaults")
	out["auth_mode"] = "aad_token"
	if name := text(r, "properties", "defaults", "deploymentName"); name != "" {
		out["defaults"] = map[string]any{"deployment_name": name}
	}
	return out
}

type batchInvokeFlags struct {
	file, deployment, experiment, input, inputType, job, output string
	set                                                         []string
	instances, miniBatch                                        int64
}

func (a *app) batchEndpointInvoke() *cobra.Command {
	var f batchInvokeFlags
	c := &cobra.Command{Use: "invoke", Short: "Score a folder or file: start a batch job",
		Long: `Start a job that scores the files of a folder. A local folder or file is uploaded first. The answer is the job: follow it with
'ml job stream', and fetch the predictions with 'ml job download --output-name score'. A file, or --set, may have inputs.<name>.path and .type, outputs.score.path
and settings of this job: error_threshold, mini_batch_size, max_concurrency_per_instance, retry_settings.max_retries and .timeout, logging_level,
output_action, output_file_name, compute.instance_count.`,
		Example: "  fairlead ml batch-endpoint invoke -n digits --input ./images -g G -w W\n  fairlead ml batch-endpoint invoke -n digits --input azureml:images:1 --deployment-name green --instance-count 4 --mini-batch-size 100 -g G -w W\n  fairlead ml batch-endpoint invoke -n digits --set inputs.images.path=azureml:images:1 outputs.score.path=azureml://datastores/workspaceblobstore/paths/out error_threshold=5 -g G -w W"}
	fs := c.Flags()
	fs.StringVar(&f.input, "input", "", "`folder` or file to score: a local path, azureml:<data>:<version>, azureml://datastores/… or https://…")
	fs.StringVar(&f.inputType, "input-type", "", "`type` of the input: uri_folder (default) or uri_file")
	fs.StringVarP(&f.deployment, "deployment-name", "d", "", "`name` of the deployment (default: the endpoint's default)")
	fs.StringVarP(&f.experiment, "experiment-name", "e", "", "`name` of the experiment (default: the endpoint's name)")
	fs.StringVar(&f.job, "job-name", "", "`name` of the job (default: generated)")
	fs.StringVar(&f.output, "output-path", "", "`folder` for the predictions: azureml://datastores/<datastore>/paths/<folder>")
	fs.Int64VarP(&f.instances, "instance-count", "c", 0, "`number` of pods (default: the deployment's)")
	fs.Int64VarP(&f.miniBatch, "mini-batch-size", "m", 0, "`number` of files in a mini-batch (default: the deployment's)")
	addFile(c, &f.file, &f.set)
	return a.about(batchEndpointKind.one, c, func(ctx context.Context, p place) error {
		body, err := a.batchInvocation(ctx, p, f)
		if err != nil {
			return err
		}
		header := http.Header{}
		if f.deployment != "" {
			header.Set("azureml-model-deployment", f.deployment)
		}
		res, err := p.Do(ctx, client.Request{Method: http.MethodPost, Path: p.path + "/jobs", Query: url.Values{"api-version": {apiML}}, Body: map[string]any{"properties": body}, Header: header})
		if err != nil {
			return fmt.Errorf("invoking batch endpoint %s: %w", p.name, err)
		}
		job := map[string]any{}
		if err := res.Decode(&job); err != nil {
			return err
		}
		return a.print(jobShape(job), jobColumns...)
	})
}

// batchInvocation is the properties object of an invocation: what a file says, with flags over it. What is local is uploaded.
func (a *app) batchInvocation(ctx context.Context, p place, f batchInvokeFlags) (map[string]any, error) {
	doc, err := a.document(f.file, f.set, nil)
	if err != nil {
		return nil, err
	}
	v, err := doc.BatchInvocation()
	if err != nil {
		return nil, specError(f.file, err)
	}
	if f.input != "" {
		if len(v.Inputs) > 0 {
			return nil, usagef("argument --input: the file or --set names inputs, too; give one of them")
		}
		v.Inputs = map[string]spec.Input{"data": {Type: cmp.Or(f.inputType, "uri_folder"), Path: f.input}}
	}
	if err := require(need{"--input", strings.Join(slices.Collect(maps.Keys(v.Inputs)), "")}); err != nil {
		return nil, err
	}
	body := batchSettings(&v.BatchSettings)
	if body["inputData"], err = a.batchInputs(ctx, p, f, v.Inputs); err != nil {
		return nil, err
	}
	outputs := map[string]any{}
	for name, out := range v.Outputs {
		outputs[name] = map[string]any{"jobOutputType": batchTypes[out.Type], "uri": strings.TrimSuffix(out.Path, "/")}
	}
	if f.output != "" {
		outputs = map[string]any{"score": map[string]any{"jobOutputType": "UriFolder", "uri": strings.TrimSuffix(f.output, "/")}}
	}
	if len(outputs) > 0 {
		body["outputData"] = outputs
	}
	if f.job != "" {
		body["name"] = f.job
	}
	if f.experiment != "" {
		body["properties"] = map[string]any{"experimentName": f.experiment}
	}
	if v.InstanceCount != nil {
		body["compute"] = map[string]any{"instanceCount": *v.InstanceCount}
	}
	if f.instances != 0 {
		body["compute"] = map[string]any{"instanceCount": f.instances}
	}
	if f.miniBatch != 0 {
		body["miniBatchSize"] = f.miniBatch
	}
	return body, nil
}

// batchTypes are the words of the API for types of data; it says itself which it takes.
var batchTypes = map[string]string{"uri_folder": "UriFolder", "uri_file": "UriFile", "mltable": "MLTable", "mlflow_model": "MLFlowModel", "custom_model": "CustomModel"}

// batchInputs are inputs as the API has them.
func (a *app) batchInputs(ctx context.Context, p place, f batchInvokeFlags, inputs map[string]spec.Input) (map[string]any, error) {
	endpoint, err := arm.ParseID(p.path)
	if err != nil {
		return nil, err
	}
	ws, _ := endpoint.Parent()
	out := map[string]any{}
	for name, in := range inputs {
		if in.Literal && isRemote(in.Value) { // an address needs no mapping around it
			in = spec.Input{Type: "uri_folder", Path: in.Value}
		}
		if in.Literal {
			out[name] = map[string]any{"jobInputType": "Literal", "value": in.Value}
			continue
		}
		if batchTypes[in.Type] == "" {
			return nil, usagef("argument --input-type: invalid choice: %q (choose from uri_folder, uri_file)", in.Type)
		}
		if !isRemote(in.Path) {
			local := in.Path
			if f.input == "" {
				local = localPath(f.file, local)
			}
			if err := checkKind(in.Type, local); err != nil {
				return nil, usagef("the input: %v", err)
			}
			if in.Path, err = a.uploadData(ctx, p.session, ws, "", local); err != nil {
				return nil, fmt.Errorf("uploading the input: %w", err)
			}
		}
		out[name] = map[string]any{"jobInputType": batchTypes[in.Type], "uri": in.Path}
	}
	return out, nil
}

func (a *app) batchEndpointJobs() *cobra.Command {
	c := &cobra.Command{Use: "list-jobs", Short: "List the jobs of a batch endpoint, newest first", Example: "  fairlead ml batch-endpoint list-jobs -n digits -g G -w W -o table"}
	return a.about(batchEndpointKind.one, c, func(ctx context.Context, p place) error {
		p.path += "/jobs"
		return a.listAt(ctx, p, url.Values{}, kind{api: apiML, shape: jobShape, columns: jobColumns})
	})
}
