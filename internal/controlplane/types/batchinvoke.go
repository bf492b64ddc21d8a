package types

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/controlplane/types/uri"
)

const (
	// HeaderDeployment names the deployment that an invocation is for.
	HeaderDeployment = "azureml-model-deployment"
	batchOutput      = "score"
	// batchRestarts is how often a batch job starts again after a pod was lost, unless its deployment says.
	batchRestarts = "3"
)

// invokeBatch makes a job that scores what the body names, in one transaction with the look-up of the deployment.
func (d Deps) invokeBatch(ctx context.Context, a *resource.Call) (any, error) {
	var body struct {
		Properties map[string]any `json:"properties"`
	}
	if len(a.Body) > 0 {
		if err := json.Unmarshal(a.Body, &body); err != nil {
			return nil, arm.Invalid("properties", "The body is not of the form {\"properties\":{\"inputData\":{…}}}: %v.", err)
		}
	}
	textLabels(body.Properties)
	var v machinelearning.BatchInvocation
	if err := decode(body.Properties, &v); err != nil {
		return nil, err
	}
	if v.Name == "" {
		v.Name = "batchjob-" + d.newID()
	}
	if !jobName.MatchString(v.Name) {
		return nil, arm.Invalid("properties.name", "properties.name is %q; a job's name is %s.", v.Name, jobNameHelp)
	}
	var rec store.Record
	err := a.Store.Update(ctx, func(tx store.Tx) error {
		deployment, err := d.invoked(ctx, tx, a)
		if err != nil {
			return err
		}
		rec, err = d.makeBatchJob(ctx, tx, a, deployment, v)
		return err
	})
	if err != nil {
		return nil, err
	}
	var out map[string]any
	if err := unmarshalBody(rec, &out); err != nil {
		return nil, err
	}
	out["id"], out["name"], out["type"] = rec.ID, rec.Name, nsML+"/workspaces/jobs"
	a.Status = http.StatusCreated
	return out, nil
}

// invoked is the deployment that the request names, or else the endpoint's default.
func (d Deps) invoked(ctx context.Context, r store.Reader, a *resource.Call) (store.Record, error) {
	if name := a.Header.Get(HeaderDeployment); name != "" {
		return batchDeploymentOf(ctx, r, a.ID, name, "The header "+HeaderDeployment)
	}
	var e machinelearning.BatchEndpointProperties
	if err := unmarshalProperties(a.Record, &e); err != nil {
		return store.Record{}, err
	}
	if e.Defaults == nil {
		return store.Record{}, noDefault(ctx, r, a.ID)
	}
	return batchDeploymentOf(ctx, r, a.ID, e.Defaults.DeploymentName, "properties.defaults.deploymentName of the endpoint")
}

// noDefault says what to do about an endpoint without a default deployment.
func noDefault(ctx context.Context, r store.Reader, endpoint arm.ID) error {
	names, err := batchDeploymentNames(ctx, r, endpoint)
	if err != nil {
		return err
	}
	where := fmt.Sprintf("-g %s -w %s", endpoint.ResourceGroup, workspaceOf(endpoint).Name())
	remedy := fmt.Sprintf("It has no deployment at all; create one: 'ml batch-deployment create -f <file> -e %s --set-default %s'.", endpoint.Name(), where)
	if len(names) > 0 {
		remedy = fmt.Sprintf("Make one the default: 'ml batch-endpoint update -n %s --defaults %s %s', or name one by --deployment-name or the header %s; it has: %s.",
			endpoint.Name(), names[0], where, HeaderDeployment, oneOf(names))
	}
	return arm.Errorf(http.StatusBadRequest, "NoDefaultDeployment", "Batch endpoint %s has no default deployment. %s", endpoint.Name(), remedy)
}

// makeBatchJob writes the job of an invocation.
func (d Deps) makeBatchJob(ctx context.Context, tx store.Tx, a *resource.Call, deployment store.Record, v machinelearning.BatchInvocation) (store.Record, error) {
	ws := workspaceOf(a.ID)
	id := ws.Child("jobs", v.Name)
	if _, err := tx.Get(ctx, id.Key()); err == nil {
		return store.Record{}, arm.Errorf(http.StatusConflict, "Conflict", "A job with the name %s exists; give another name, or none.", v.Name)
	} else if !errors.Is(err, store.ErrNotFound) {
		return store.Record{}, fmt.Errorf("reading job %s: %w", v.Name, err)
	}
	var b machinelearning.BatchDeploymentProperties
	if err := unmarshalProperties(deployment, &b); err != nil {
		return store.Record{}, err
	}
	j, batch, err := batchJob(a.ID, deployment.Name, b, v)
	if err != nil {
		return store.Record{}, err
	}
	if err := d.completeBatchJob(ctx, tx, ws, b, v, j, batch); err != nil {
		return store.Record{}, err
	}
	now := d.Clock().UTC()
	rec := store.Record{Key: id.Key(), ID: id.String(), Type: runstate.JobType, Name: v.Name, Parent: ws.Key(), CreatedAt: now, UpdatedAt: now,
		CreatedBy: resource.Author(a.Principal), UpdatedBy: resource.Author(a.Principal)}
	props := map[string]any{}
	if err := overlay(props, j); err != nil {
		return rec, err
	}
	p := &resource.Put{Tx: tx, ID: id, Principal: a.Principal, Body: map[string]any{"properties": props}, Record: &rec}
	if err := d.createJob(ctx, p, batch); err != nil {
		return rec, err
	}
	if rec.Body, err = json.Marshal(p.Body); err != nil {
		return rec, fmt.Errorf("encoding job %s: %w", v.Name, err)
	}
	return tx.Put(ctx, rec)
}

// batchJob is the job of an invocation, and how its files are scored, but for what has to be looked up.
func batchJob(endpoint arm.ID, deployment string, b machinelearning.BatchDeploymentProperties, v machinelearning.BatchInvocation) (*machinelearning.CommandJob, *commonruntime.Batch, error) {
	s := merge(b.BatchSettings, v.BatchSettings)
	if err := checkBatchSettings(&s); err != nil {
		return nil, nil, err
	}
	timeout, err := parseExact(s.RetrySettings.Timeout)
	if err != nil {
		return nil, nil, err
	}
	batch := &commonruntime.Batch{Output: batchOutput, Processes: *s.MaxConcurrencyPerInstance, MiniBatchSize: *s.MiniBatchSize, MaxRetries: *s.RetrySettings.MaxRetries,
		TimeoutSeconds: int64((timeout + time.Second - 1) / time.Second), ErrorThreshold: *s.ErrorThreshold, LogLevel: s.LoggingLevel}
	if s.OutputAction == machinelearning.OutputAppendRow {
		batch.File = s.OutputFileName
	}
	res := *b.Resources
	if c := cmp.Or(v.Compute, v.ComputeConfiguration); c != nil {
		res.InstanceCount, res.InstanceType = cmp.Or(c.InstanceCount, res.InstanceCount), cmp.Or(c.InstanceType, res.InstanceType)
	}
	j := &machinelearning.CommandJob{JobType: "Command", Description: v.Description, DisplayName: v.Name, ExperimentName: cmp.Or(v.Properties["experimentName"], endpoint.Name()),
		Tags: v.Tags, ComputeID: b.Compute, EnvironmentID: b.EnvironmentID, EnvironmentVariables: b.EnvironmentVariables, Command: commonruntime.BatchCommand, Resources: &res,
		Inputs: map[string]*machinelearning.JobInput{}, Outputs: map[string]*machinelearning.JobOutput{}, Properties: map[string]string{machinelearning.PropMaxRestarts: batchRestarts}}
	maps.Copy(j.Properties, b.Properties)
	maps.Copy(j.Properties, v.Properties)
	maps.Copy(j.Properties, map[string]string{machinelearning.PropBatchRun: "true", machinelearning.PropBatchEndpoint: endpoint.Name(), machinelearning.PropBatchDeployment: deployment})
	if c := b.CodeConfiguration; c != nil {
		j.CodeID, batch.Script = c.CodeID, c.ScoringScript
	}
	return j, batch, batchOutputOf(j, batch, v)
}

// merge is a deployment's settings with those that an invocation has of its own.
func merge(s, own machinelearning.BatchSettings) machinelearning.BatchSettings {
	s.ErrorThreshold, s.MiniBatchSize = cmp.Or(own.ErrorThreshold, s.ErrorThreshold), cmp.Or(own.MiniBatchSize, s.MiniBatchSize)
	s.MaxConcurrencyPerInstance = cmp.Or(own.MaxConcurrencyPerInstance, s.MaxConcurrencyPerInstance)
	s.LoggingLevel, s.OutputAction = cmp.Or(own.LoggingLevel, s.LoggingLevel), cmp.Or(own.OutputAction, s.OutputAction)
	s.OutputFileName = cmp.Or(own.OutputFileName, s.OutputFileName)
	if r := own.RetrySettings; r != nil {
		s.RetrySettings = &machinelearning.BatchRetrySettings{MaxRetries: cmp.Or(r.MaxRetries, s.RetrySettings.MaxRetries), Timeout: cmp.Or(r.Timeout, s.RetrySettings.Timeout)}
	}
	return s
}

// batchOutputOf decides where the output goes: by default where outputs of jobs do.
func batchOutputOf(j *machinelearning.CommandJob, batch *commonruntime.Batch, v machinelearning.BatchInvocation) error {
	out := &machinelearning.JobOutput{JobOutputType: "uri_folder", Mode: "Upload"}
	if o := v.OutputDataset; o != nil && o.DatastoreID != "" {
		name := o.DatastoreID[strings.LastIndexByte(o.DatastoreID, '/')+1:]
		out.URI = "azureml://datastores/" + strings.TrimPrefix(name, "azureml:") + "/paths/" + strings.Trim(o.Path, "/")
	}
	if len(v.OutputData) > 1 {
		return arm.Invalid("properties.outputData", "properties.outputData has %d outputs, %s; a deployment of a model has 1 data output.", len(v.OutputData), oneOf(keys(v.OutputData)))
	}
	for name, o := range v.OutputData {
		if o == nil {
			continue
		}
		out.URI = o.URI
		switch strings.ToLower(strings.ReplaceAll(o.JobOutputType, "_", "")) {
		case "urifile": // a folder and the name of the file in it
			if o.URI != "" && batch.File != "" {
				batch.File = path.Base(o.URI)
				out.URI = strings.TrimSuffix(o.URI, "/"+batch.File)
			}
		case "urifolder", "":
		default:
			at := "properties.outputData." + name + ".jobOutputType"
			return arm.Invalid(at, "%s is %q; it must be one of: UriFolder, UriFile.", at, o.JobOutputType)
		}
	}
	out.URI = strings.TrimSuffix(out.URI, "/")
	j.Outputs[batchOutput] = out
	return nil
}

// completeBatchJob adds the model, and the input that the invocation names.
func (d Deps) completeBatchJob(ctx context.Context, r store.Reader, ws arm.ID, b machinelearning.BatchDeploymentProperties, v machinelearning.BatchInvocation, j *machinelearning.CommandJob, batch *commonruntime.Batch) error {
	name, in, err := d.batchInput(ctx, r, ws, v)
	if err != nil {
		return err
	}
	j.Inputs[name], batch.Data = in, name
	if b.Model == nil {
		return nil
	}
	rec, err := d.findAsset(ctx, r, ws, "properties.model.assetId", b.Model.AssetID, "models")
	if err != nil {
		return err
	}
	batch.Model = "model"
	if name == batch.Model {
		batch.Model = "deployed_model"
	}
	j.Inputs[batch.Model] = &machinelearning.JobInput{JobInputType: field(rec, "modelType"), URI: rec.ID, Mode: "ReadOnlyMount"}
	return nil
}

// batchInput is the one input of an invocation. Its name says nothing: one that a job's input cannot have is left.
func (d Deps) batchInput(ctx context.Context, r store.Reader, ws arm.ID, v machinelearning.BatchInvocation) (string, *machinelearning.JobInput, error) {
	const at = "properties.inputData"
	if len(v.InputData) == 0 && v.Dataset != "" {
		v.InputData = map[string]*machinelearning.JobInput{"dataset": {URI: v.Dataset}}
	}
	names := keys(v.InputData)
	if len(names) != 1 {
		return "", nil, arm.Invalid(at, "%s has %d inputs (%s); a deployment of a model always requires 1 data input: the folder or file to score, such as {\"data\":{\"jobInputType\":\"UriFolder\",\"uri\":\"azureml:<data>:<version>\"}}. What a script needs beside it, put into environment_variables of the deployment or into its code.",
			at, len(names), oneOf(names))
	}
	name := names[0]
	in, err := d.checkBatchInput(ctx, r, ws, at+"."+name, v.InputData[name])
	if !ioName.MatchString(name) || name == batchOutput {
		name = "data"
	}
	return name, in, err
}

// checkBatchInput is the folder or file that an invocation names.
func (d Deps) checkBatchInput(ctx context.Context, r store.Reader, ws arm.ID, at string, in *machinelearning.JobInput) (*machinelearning.JobInput, error) {
	if in == nil {
		in = &machinelearning.JobInput{}
	}
	kind := strings.ToLower(strings.ReplaceAll(in.JobInputType, "_", ""))
	typ, known := map[string]string{"": "", "urifolder": "uri_folder", "urifile": "uri_file", "mltable": "mltable"}[kind]
	switch {
	case kind == "literal":
		return nil, arm.Invalid(at+".jobInputType", "%s.jobInputType is %q; a deployment of a model takes no literal inputs, only 1 data input (UriFolder, UriFile). Put values that the script needs into environment_variables of the deployment.", at, in.JobInputType)
	case !known:
		return nil, arm.Invalid(at+".jobInputType", "%s.jobInputType is %q; it must be one of: UriFolder, UriFile.", at, in.JobInputType)
	case in.URI == "":
		return nil, arm.Invalid(at+".uri", "%s.uri is missing; give the address of a folder or file, or a data asset.", at)
	}
	address := strings.TrimSuffix(in.URI, "/")
	if ref, err := uri.Parse(address); err == nil && ref.Kind == uri.Asset { // an asset says itself what it is
		rec, err := d.findAsset(ctx, r, ws, at+".uri", address, "data")
		if err != nil {
			return nil, err
		}
		address, typ = rec.ID, field(rec, "dataType")
	}
	if typ == "mltable" {
		return nil, arm.Invalid(at+".uri", "%s.uri is %q, an mltable; batch endpoints score files, not tables. Give as UriFolder the folder with the files that its MLTable file names.", at, in.URI)
	}
	return &machinelearning.JobInput{JobInputType: cmp.Or(typ, "uri_folder"), URI: address, Mode: "ReadOnlyMount"}, nil
}
