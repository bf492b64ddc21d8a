package spec

import "math"

// BatchEndpoint is a batch endpoint.
type BatchEndpoint struct {
	Name, Description, DefaultDeployment string
	Tags, Properties                     map[string]string
}

// BatchDeployment is a deployment of a model to a batch endpoint. What is nil or empty is left to the control plane.
type BatchDeployment struct {
	Name, Endpoint, Description, Compute string
	Tags, Properties                     map[string]string
	Model                                Model
	Code, ScoringScript                  string
	Environment                          Environment
	EnvironmentVariables                 map[string]string
	InstanceType, ShmSize                string
	InstanceCount                        *int64
	BatchSettings
}

// BatchSettings are how files are scored, as deployments and invocations may say.
type BatchSettings struct {
	ErrorThreshold, MiniBatchSize, Concurrency, MaxRetries, Timeout *int64
	LoggingLevel, OutputAction, OutputFileName                      string
}

func (s *BatchSettings) fields() fields {
	return fields{
		"error_threshold": number(&s.ErrorThreshold, -1, math.MaxInt32), "mini_batch_size": number(&s.MiniBatchSize, 1, 1_000_000),
		"max_concurrency_per_instance": number(&s.Concurrency, 1, 1024), "logging_level": choice(&s.LoggingLevel, "info", "warning", "debug"),
		"output_action": choice(&s.OutputAction, "append_row", "summary_only"), "output_file_name": text(&s.OutputFileName),
		"retry_settings": object(func() fields {
			return fields{"max_retries": number(&s.MaxRetries, 0, 100), "timeout": number(&s.Timeout, 1, 604_800)}
		}),
	}
}

// BatchEndpoint gives a document the meaning of a batch endpoint; all says that what is required must be there.
func (doc *Document) BatchEndpoint(all bool) (*BatchEndpoint, error) {
	e, d := &BatchEndpoint{}, &decoder{file: doc.file}
	d.object(doc.root, "", fields{
		"$schema": text(new(string)), "name": text(&e.Name), "description": text(&e.Description), "tags": stringMap(&e.Tags), "properties": stringMap(&e.Properties),
		"auth_mode": choiceBut(new(string), map[string]string{"key": "batch endpoints have no keys; give aad_token", "aml_token": "give aad_token"}, "aad_token", "aadtoken"),
		"defaults":  object(func() fields { return fields{"deployment_name": text(&e.DefaultDeployment)} }),
	})
	if all {
		d.need(doc, "name", e.Name, "the endpoint's name (or --name)")
	}
	d.servingNamed(doc, "name", e.Name)
	return e, d.err()
}

// BatchDeployment gives a document the meaning of a batch deployment; all says that what is required must be there.
func (doc *Document) BatchDeployment(all bool) (*BatchDeployment, error) {
	b, d := &BatchDeployment{}, &decoder{file: doc.file}
	d.object(doc.root, "", b.all())
	if all {
		d.need(doc, "name", b.Name, "the deployment's name (or --name)")
		d.need(doc, "endpoint_name", b.Endpoint, "the endpoint's name (or --endpoint-name)")
		d.need(doc, "compute", b.Compute, "azureml:<compute name>")
		d.need(doc, "environment", b.Environment.given(), "azureml:<name>:<version> or image: <image>")
	}
	d.servingNamed(doc, "name", b.Name)
	d.servingNamed(doc, "endpoint_name", b.Endpoint)
	if (b.Code == "") != (b.ScoringScript == "") && !d.mentions("code_configuration") {
		d.fail(doc.node("code_configuration"), "code_configuration: needs both code, a folder, and scoring_script, a file in it")
	}
	return b, d.err()
}

// all are the keys of a deployment. The reference's older files have the settings beside the rest.
func (b *BatchDeployment) all() fields {
	settings := func() fields {
		f := b.BatchSettings.fields()
		f["instance_count"], f["environment_variables"] = number(&b.InstanceCount, 1, 100), stringMap(&b.EnvironmentVariables)
		return f
	}
	out := settings()
	for key, set := range (fields{
		"$schema": text(new(string)), "name": text(&b.Name), "endpoint_name": text(&b.Endpoint), "description": text(&b.Description), "compute": text(&b.Compute),
		"type": choiceBut(new(string), map[string]string{"pipeline": "deployments of pipelines are not available in this release; give model"}, "model"),
		"tags": stringMap(&b.Tags), "properties": stringMap(&b.Properties), "model": b.Model.reference,
		"code_configuration": object(func() fields { return fields{"code": text(&b.Code), "scoring_script": text(&b.ScoringScript)} }),
		"environment":        b.Environment.reference, "settings": object(settings),
		"resources": object(func() fields {
			return fields{"instance_count": number(&b.InstanceCount, 1, 100), "instance_type": text(&b.InstanceType), "shm_size": text(&b.ShmSize), "properties": unsupported("properties of resources")}
		}),
	}) {
		out[key] = set
	}
	return out
}

// BatchInvocation is what an invocation says: settings of its own, what is scored and where the rows go.
type BatchInvocation struct {
	BatchSettings
	InstanceCount *int64
	Inputs        map[string]Input
	Outputs       map[string]Output
}

// BatchInvocation gives a document the meaning of an invocation.
func (doc *Document) BatchInvocation() (*BatchInvocation, error) {
	v, data, d := &BatchInvocation{}, &CommandJob{}, &decoder{file: doc.file}
	f := v.fields()
	f["inputs"], f["outputs"] = data.inputs, data.outputs
	f["compute"] = object(func() fields { return fields{"instance_count": number(&v.InstanceCount, 1, maxInstances)} })
	d.object(doc.root, "", f)
	v.Inputs, v.Outputs = data.Inputs, data.Outputs
	return v, d.err()
}
