package types

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"path"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
)

const batchDeploymentType = "workspaces/batchEndpoints/deployments"

const (
	maxMiniBatch = 1_000_000
	maxTries     = 100
	maxBatchTime = 7 * 24 * time.Hour // of one mini-batch
)

func batchDeployment(d Deps) *resource.Type {
	return &resource.Type{
		Namespace: nsML, Name: batchDeploymentType,
		APIVersions: mlVersions, NameRule: servingName, NameHelp: servingHelp,
		Admit:      d.admitBatchDeployment,
		Remove:     removeBatchDeployment,
		Selections: map[string]resource.Selection{"jobs": {Type: runstate.JobType, Keep: isBatchJobOfDeployment}},
	}
}

func (d Deps) admitBatchDeployment(ctx context.Context, p *resource.Put) error {
	id, _ := p.ID.Parent()
	endpoint, err := p.Tx.Get(ctx, id.Key())
	if err != nil {
		return fmt.Errorf("reading endpoint %s: %w", id.Name(), err)
	}
	if p.Old == nil {
		recs, err := p.Tx.List(ctx, store.Query{Type: mlType(batchDeploymentType), Parent: id.Key(), Limit: maxDeploymentsPerEndpoint})
		if err != nil {
			return fmt.Errorf("listing deployments of %s: %w", id.Name(), err)
		}
		if len(recs) >= maxDeploymentsPerEndpoint {
			return arm.Errorf(http.StatusBadRequest, "OutOfQuota", "Endpoint %s has %d deployments, the most there may be; delete one first.", id.Name(), len(recs))
		}
	}
	props, err := object(p.Body, "properties")
	if err != nil {
		return err
	}
	var b machinelearning.BatchDeploymentProperties
	if err := decode(props, &b); err != nil {
		return err
	}
	if err := checkBatchDeployment(&b); err != nil {
		return err
	}
	if err := d.resolveBatchDeployment(ctx, p.Tx, workspaceOf(p.ID), &b); err != nil {
		return err
	}
	if s, _ := p.Body["location"].(string); s == "" {
		p.Body["location"] = topString(endpoint, "location")
	}
	return overlay(props, b)
}

// checkBatchDeployment checks all of a deployment that needs no look-up, and sets defaults.
func checkBatchDeployment(b *machinelearning.BatchDeploymentProperties) error {
	if b.DeploymentConfiguration != nil {
		return arm.Invalid("properties.deploymentConfiguration", "properties.deploymentConfiguration is set, but deployments of pipelines are not available in this release; deploy a model.")
	}
	b.Properties, b.EnvironmentVariables = orEmpty(b.Properties), orEmpty(b.EnvironmentVariables)
	// What a job has in common is checked as a job's.
	j := machinelearning.CommandJob{Resources: b.Resources, Properties: b.Properties, EnvironmentVariables: b.EnvironmentVariables}
	for _, k := range keys(b.EnvironmentVariables) {
		if !envName.MatchString(k) {
			return arm.Invalid("properties.environmentVariables", "properties.environmentVariables has the name %q; names are letters, digits, '_', '.' and '-', not beginning with a digit.", k)
		}
	}
	if err := checkResources(&j); err != nil {
		return err
	}
	if _, err := restarts(&j); err != nil {
		return err
	}
	b.Resources = j.Resources
	if err := checkScript(b.CodeConfiguration); err != nil {
		return err
	}
	if m := b.Model; m != nil {
		const at = "properties.model.referenceType"
		if m.ReferenceType == "" {
			m.ReferenceType = "Id"
		}
		if !strings.EqualFold(m.ReferenceType, "Id") {
			return arm.Invalid(at, "%s is %q; register the model and give Id with its assetId.", at, m.ReferenceType)
		}
		m.ReferenceType = "Id"
	}
	if b.Model == nil && b.CodeConfiguration == nil {
		return arm.Invalid("properties.model", "properties.model and properties.codeConfiguration are both missing; give a model, code with a scoring script, or both.")
	}
	return checkBatchSettings(&b.BatchSettings)
}

// checkBatchSettings bounds how files are scored, and sets defaults.
func checkBatchSettings(s *machinelearning.BatchSettings) error {
	if s.RetrySettings == nil {
		s.RetrySettings = &machinelearning.BatchRetrySettings{}
	}
	for _, n := range []struct {
		name               string
		at                 **int
		unset, least, most int
	}{
		{"errorThreshold", &s.ErrorThreshold, -1, -1, math.MaxInt32}, {"miniBatchSize", &s.MiniBatchSize, 10, 1, maxMiniBatch},
		{"maxConcurrencyPerInstance", &s.MaxConcurrencyPerInstance, 1, 1, maxProcesses}, {"retrySettings.maxRetries", &s.RetrySettings.MaxRetries, 3, 0, maxTries},
	} {
		if err := count("properties."+n.name, n.at, n.unset, n.least, n.most); err != nil {
			return err
		}
	}
	if err := duration("properties.retrySettings.timeout", &s.RetrySettings.Timeout, "PT30S", time.Second, maxBatchTime); err != nil {
		return err
	}
	for _, w := range []struct {
		name  string
		at    *string
		words []string
	}{
		{"loggingLevel", &s.LoggingLevel, []string{"Info", "Warning", "Debug"}}, {"outputAction", &s.OutputAction, []string{machinelearning.OutputAppendRow, machinelearning.OutputSummaryOnly}},
	} {
		if *w.at == "" {
			*w.at = w.words[0]
		}
		var err error
		if *w.at, err = enum("properties."+w.name, *w.at, w.words...); err != nil {
			return err
		}
	}
	if s.OutputFileName == "" {
		s.OutputFileName = "predictions.csv"
	}
	if n := s.OutputFileName; path.Base(n) != n || n == "." || n == ".." || len(n) > 200 || strings.ContainsAny(n, "\\\x00") {
		return arm.Invalid("properties.outputFileName", "properties.outputFileName is %q; it must be the name of a file, without a folder.", n)
	}
	return nil
}

// resolveBatchDeployment finds what a deployment names, and names it by ids.
func (d Deps) resolveBatchDeployment(ctx context.Context, r store.Reader, ws arm.ID, b *machinelearning.BatchDeploymentProperties) error {
	if b.Compute == "" {
		return arm.Invalid("properties.compute", "properties.compute is missing; give the id or the name of an attached compute.")
	}
	rec, _, _, err := findCompute(ctx, r, ws, "properties.compute", b.Compute)
	if err != nil {
		return err
	}
	b.Compute = rec.ID
	if b.EnvironmentID == "" {
		return arm.Invalid("properties.environmentId", "properties.environmentId is missing; give an environment whose image has python3 and what the script or the model needs (mlflow for an mlflow_model). No image is built for a model in this release.")
	}
	if rec, err = d.findAsset(ctx, r, ws, "properties.environmentId", b.EnvironmentID, "environments"); err != nil {
		return err
	}
	b.EnvironmentID = rec.ID
	if c := b.CodeConfiguration; c != nil {
		if rec, err = d.findAsset(ctx, r, ws, "properties.codeConfiguration.codeId", c.CodeID, "codes"); err != nil {
			return err
		}
		c.CodeID = rec.ID
	}
	if b.Model == nil {
		return nil
	}
	if rec, err = d.findAsset(ctx, r, ws, "properties.model.assetId", b.Model.AssetID, "models"); err != nil {
		return err
	}
	typ := field(rec, "modelType")
	if err := servable(b.Model.AssetID, typ); err != nil {
		return err
	}
	if typ != "mlflow_model" && b.CodeConfiguration == nil {
		return arm.Invalid("properties.codeConfiguration", "properties.codeConfiguration is missing; model %q is of type %s, which is scored by a script with init() and run(mini_batch). Only an mlflow_model needs none.", b.Model.AssetID, typ)
	}
	b.Model.AssetID = rec.ID
	return nil
}

// removeBatchDeployment takes it out of its endpoint's defaults: invocations that name no deployment are then refused until another is there.
func removeBatchDeployment(ctx context.Context, r *resource.Removal) (bool, error) {
	id, _ := r.ID.Parent()
	rec, err := r.Tx.Get(ctx, id.Key())
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("reading endpoint %s: %w", id.Name(), err)
	}
	var e machinelearning.BatchEndpointProperties
	if err := unmarshalProperties(rec, &e); err != nil {
		return false, err
	}
	if e.Defaults == nil || !strings.EqualFold(e.Defaults.DeploymentName, r.Record.Name) {
		return false, nil
	}
	var whole map[string]any
	if err := unmarshalBody(rec, &whole); err != nil {
		return false, err
	}
	props, err := object(whole, "properties")
	if err != nil {
		return false, err
	}
	props["defaults"] = nil
	if rec.Body, err = json.Marshal(whole); err != nil {
		return false, fmt.Errorf("encoding endpoint %s: %w", id.Name(), err)
	}
	_, err = r.Tx.Put(ctx, rec)
	return false, err
}
