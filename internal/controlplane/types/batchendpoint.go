package types

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
)

// BatchPrefix is where data-plane requests to batch endpoints go, followed by the id of the endpoint and /jobs. The reference's clients
// build the same path from the address of the workspace's services.
const BatchPrefix = "/mferp/managementfrontend"

func batchEndpoint(d Deps) *resource.Type {
	return &resource.Type{
		Namespace: nsML, Name: "workspaces/batchEndpoints",
		APIVersions: mlVersions, NameRule: servingName, NameHelp: servingHelp,
		Admit:      d.admitBatchEndpoint,
		Show:       d.showBatchEndpoint,
		Actions:    map[string]resource.Action{"jobs": {Permission: "write", Run: d.invokeBatch}},
		Selections: map[string]resource.Selection{"jobs": {Type: runstate.JobType, Keep: isBatchJobOf}},
	}
}

func (d Deps) admitBatchEndpoint(ctx context.Context, p *resource.Put) error {
	ws, err := getWorkspace(ctx, p.Tx, p.ID)
	if err != nil {
		return err
	}
	props, err := object(p.Body, "properties")
	if err != nil {
		return err
	}
	if keys, given := props["keys"]; given && keys != nil {
		return arm.Invalid("properties.keys", "properties.keys is set, but batch endpoints have no keys: they take tokens of the control plane. Leave it out.")
	}
	delete(props, "keys")
	restore(props, nil, "scoringUri", "swaggerUri")
	var e machinelearning.BatchEndpointProperties
	if err := decode(props, &e); err != nil {
		return err
	}
	const at = "properties.authMode"
	if e.AuthMode == "" {
		e.AuthMode = machinelearning.AuthAADToken
	}
	if !strings.EqualFold(e.AuthMode, machinelearning.AuthAADToken) {
		return arm.Invalid(at, "%s is %q; batch endpoints take tokens of the control plane only. Give %s.", at, e.AuthMode, machinelearning.AuthAADToken)
	}
	e.AuthMode, e.Properties = machinelearning.AuthAADToken, orEmpty(e.Properties)
	if e.Defaults != nil && e.Defaults.DeploymentName == "" {
		e.Defaults = nil
	}
	if e.Defaults != nil {
		rec, err := batchDeploymentOf(ctx, p.Tx, p.ID, e.Defaults.DeploymentName, "properties.defaults.deploymentName")
		if err != nil {
			return err
		}
		e.Defaults.DeploymentName = rec.Name
	}
	if s, _ := p.Body["location"].(string); s == "" {
		p.Body["location"] = topString(ws, "location")
	}
	if err := overlay(props, e); err != nil {
		return err
	}
	delete(props, "scoringUri") // made when read
	return nil
}

// batchDeploymentOf finds a deployment by name; at names the field in errors.
func batchDeploymentOf(ctx context.Context, r store.Reader, endpoint arm.ID, name, at string) (store.Record, error) {
	rec, err := r.Get(ctx, endpoint.Child("deployments", name).Key())
	if !errors.Is(err, store.ErrNotFound) {
		return rec, err
	}
	names, err := batchDeploymentNames(ctx, r, endpoint)
	if err != nil {
		return rec, err
	}
	return rec, arm.Errorf(http.StatusBadRequest, "DeploymentNotFound", "%s names deployment %q, which batch endpoint %s does not have; it has: %s.", at, name, endpoint.Name(), oneOf(names))
}

func batchDeploymentNames(ctx context.Context, r store.Reader, endpoint arm.ID) ([]string, error) {
	recs, err := r.List(ctx, store.Query{Type: mlType(batchDeploymentType), Parent: endpoint.Key(), Limit: maxDeploymentsPerEndpoint})
	if err != nil {
		return nil, fmt.Errorf("listing deployments of %s: %w", endpoint.Name(), err)
	}
	names := make([]string, 0, len(recs))
	for _, rec := range recs {
		names = append(names, rec.Name)
	}
	return names, nil
}

func (d Deps) showBatchEndpoint(_ context.Context, _ store.Reader, rec store.Record, body map[string]any) error {
	props, err := object(body, "properties")
	if err != nil {
		return err
	}
	props["scoringUri"] = d.PublicURL + BatchPrefix + rec.ID + "/jobs"
	return nil
}

// isBatchJobOf tells the jobs of an endpoint.
func isBatchJobOf(endpoint arm.ID, rec store.Record) bool {
	name, _ := batchOrigin(rec)
	return strings.EqualFold(name, endpoint.Name())
}

// isBatchJobOfDeployment tells the jobs of a deployment.
func isBatchJobOfDeployment(deployment arm.ID, rec store.Record) bool {
	endpoint, _ := deployment.Parent()
	name, own := batchOrigin(rec)
	return strings.EqualFold(name, endpoint.Name()) && strings.EqualFold(own, deployment.Name())
}

// batchOrigin is the endpoint and the deployment that a job is of; of other jobs both are "".
func batchOrigin(rec store.Record) (endpoint, deployment string) {
	props, err := oldProperties(&rec)
	if err != nil {
		return "", ""
	}
	own, _ := props["properties"].(map[string]any)
	endpoint, _ = own[machinelearning.PropBatchEndpoint].(string)
	deployment, _ = own[machinelearning.PropBatchDeployment].(string)
	return endpoint, deployment
}
