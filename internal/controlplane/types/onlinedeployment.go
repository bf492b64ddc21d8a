package types

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/scan"
	"fairlead.dev/fairlead/internal/controlplane/types/serving"
	"fairlead.dev/fairlead/internal/link"
)

func onlineDeployment(d Deps) *resource.Type {
	return &resource.Type{
		Namespace: nsML, Name: "workspaces/onlineEndpoints/deployments",
		APIVersions: mlVersions, NameRule: servingName, NameHelp: servingHelp, Async: true,
		Admit:   d.admitDeployment,
		Remove:  d.removeDeployment,
		Samples: ownSamples, LiveLogs: d.liveLogs,
		Actions: map[string]resource.Action{
			"getlogs": {Permission: "read", Run: d.deploymentLogs},
			"skus":    {Permission: "read", Run: deploymentSKUs},
		},
	}
}

func (d Deps) admitDeployment(ctx context.Context, p *resource.Put) error {
	if err := busy(p.Old); err != nil {
		return err
	}
	endpoint, err := d.endpointOf(ctx, p)
	if err != nil {
		return err
	}
	props, err := object(p.Body, "properties")
	if err != nil {
		return err
	}
	var o machinelearning.OnlineDeploymentProperties
	if err := decode(props, &o); err != nil {
		return err
	}
	sku, err := readSKU(p.Body)
	if err != nil {
		return err
	}
	if err := checkDeployment(&o, sku); err != nil {
		return err
	}
	st, err := d.resolveDeployment(ctx, p, endpoint, &o, sku)
	if err != nil {
		return err
	}
	if p.Old == nil {
		if err := deploymentQuota(ctx, p.Tx, p.ID, st.Cluster); err != nil {
			return err
		}
	}
	if st.Order, err = managedIdentities(ctx, d, p); err != nil {
		return err
	}
	if s, _ := p.Body["location"].(string); s == "" {
		p.Body["location"] = topString(endpoint, "location")
	}
	p.Body["sku"] = sku
	if err := d.giveIdentity(ctx, p, endpoint, &st); err != nil {
		return err
	}
	if p.Record.Internal, err = serving.Encode(st); err != nil {
		return err
	}
	return overlay(props, o)
}

// endpointOf reads the endpoint that a deployment belongs to, which must be ready.
func (d Deps) endpointOf(ctx context.Context, p *resource.Put) (store.Record, error) {
	id, _ := p.ID.Parent()
	if n := len(id.Name()) + len(p.ID.Name()); n > 62 {
		return store.Record{}, arm.Invalid("name", "The names of endpoint %s and deployment %s have %d characters together; at most 62 are allowed.", id.Name(), p.ID.Name(), n)
	}
	rec, err := p.Tx.Get(ctx, id.Key())
	if err != nil {
		return rec, fmt.Errorf("reading endpoint %s: %w", id.Name(), err)
	}
	if p.Old == nil {
		if err := busy(&rec); err != nil {
			return rec, err
		}
		if s := field(rec, "provisioningState"); s != arm.StateSucceeded {
			return rec, arm.Errorf(http.StatusConflict, "ResourceNotReady", "Endpoint %s is %s; a deployment is made in an endpoint that is Succeeded. Create the endpoint again when what kept it is mended.", rec.Name, s)
		}
	}
	return rec, nil
}

// deploymentQuota counts what the endpoint and the cluster have.
func deploymentQuota(ctx context.Context, r store.Reader, id arm.ID, cluster string) error {
	endpoint, _ := id.Parent()
	inEndpoint, inCluster := 0, 0
	err := scan.Each(ctx, r, store.Query{Type: serving.DeploymentType, AnyParent: true}, func(rec store.Record) (bool, error) {
		if rec.Parent == endpoint.Key() {
			inEndpoint++
		}
		st, err := serving.DecodeDeployment(rec)
		if st.Cluster == cluster {
			inCluster++
		}
		return true, err
	})
	switch {
	case err != nil:
		return err
	case inEndpoint >= maxDeploymentsPerEndpoint:
		return arm.Errorf(http.StatusBadRequest, "OutOfQuota", "Endpoint %s has %d deployments, the most there may be; delete one first.", endpoint.Name(), inEndpoint)
	case inCluster >= maxDeployments:
		return arm.Errorf(http.StatusBadRequest, "OutOfQuota", "The cluster of endpoint %s has %d online deployments, the most there may be; delete one first, or use another cluster.", endpoint.Name(), inCluster)
	}
	return nil
}

// resolveDeployment looks up everything a deployment names.
func (d Deps) resolveDeployment(ctx context.Context, p *resource.Put, endpoint store.Record, o *machinelearning.OnlineDeploymentProperties, sku *machinelearning.SKU) (serving.Deployment, error) {
	var st serving.Deployment
	if p.Old != nil {
		var err error
		if st, err = serving.DecodeDeployment(*p.Old); err != nil {
			return st, err
		}
	}
	if st.ID == "" {
		st.ID = d.newID()
	}
	at, err := serving.DecodeEndpoint(endpoint)
	if err != nil {
		return st, err
	}
	st.Place = at.Place
	compute, err := p.Tx.Get(ctx, at.Compute)
	if errors.Is(err, store.ErrNotFound) {
		return st, arm.Errorf(http.StatusConflict, "ResourceNotFound", "The compute of endpoint %s, %s, is not attached any more; attach it again.", endpoint.Name, field(endpoint, "compute"))
	}
	if err != nil {
		return st, fmt.Errorf("reading compute of %s: %w", endpoint.Key, err)
	}
	var c machinelearning.ComputeProperties
	if err := unmarshalProperties(compute, &c); err != nil {
		return st, err
	}
	facts, err := clusterstate.Features(ctx, p.Tx, at.Cluster)
	if err != nil {
		return st, err
	}
	if err := canServe(facts, c, compute.Name, "properties.endpointComputeType"); err != nil {
		return st, err
	}
	if facts.Nodes, facts.NodesAt, err = clusterstate.Nodes(ctx, p.Tx, at.Cluster); err != nil {
		return st, err
	}
	st.Spec, err = deploymentSpec(o, sku)
	if err != nil {
		return st, err
	}
	st.Spec.Endpoint, st.Spec.Name = strings.ToLower(endpoint.Name), strings.ToLower(p.ID.Name())
	st.Spec.BlobBase, st.Spec.CA = d.PublicURL+"/blob/", d.CA
	if st.Spec.InstanceType, err = instanceType(facts, c, o.InstanceType, compute.Name, "properties.instanceType"); err != nil {
		return st, err
	}
	return st, d.resolveAssets(ctx, p.Tx, workspaceOf(p.ID), o, &st)
}

// removeDeployment refuses while the endpoint sends it requests, unless the endpoint goes too, and has the cluster forget it.
func (d Deps) removeDeployment(ctx context.Context, r *resource.Removal) (bool, error) {
	st, err := serving.DecodeDeployment(r.Record)
	if err != nil {
		return false, err
	}
	if err := d.leaveTraffic(ctx, r); err != nil {
		return false, err
	}
	return false, forget(ctx, r.Tx, st.Cluster, link.PrefixDeployment+st.Spec.Endpoint+"/"+st.Spec.Name, r.Record.ID)
}

// leaveTraffic takes a deployment out of its endpoint's shares.
func (d Deps) leaveTraffic(ctx context.Context, r *resource.Removal) error {
	id, _ := r.ID.Parent()
	rec, err := r.Tx.Get(ctx, id.Key())
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading endpoint %s: %w", id.Name(), err)
	}
	var body struct {
		Properties machinelearning.OnlineEndpointProperties `json:"properties"`
	}
	if err := unmarshalBody(rec, &body); err != nil {
		return err
	}
	e, name := body.Properties, r.Record.Name
	if e.ProvisioningState == arm.StateDeleting {
		return nil
	}
	share, inTraffic := e.Traffic[name]
	_, inMirror := e.MirrorTraffic[name]
	if share > 0 && !r.Force {
		return arm.Errorf(http.StatusConflict, "Conflict", "Deployment %s gets %d%% of the requests of endpoint %s. Set its traffic to 0 first ('ml online-endpoint update -n %s --traffic %s=0'), or delete with forceDelete=true.",
			name, share, id.Name(), id.Name(), name)
	}
	if !inTraffic && !inMirror {
		return nil
	}
	delete(e.Traffic, name)
	delete(e.MirrorTraffic, name)
	if share > 0 { // what is left does not add up: the endpoint takes no requests until somebody says who answers
		e.Traffic = map[string]int{}
	}
	var whole map[string]any
	if err := unmarshalBody(rec, &whole); err != nil {
		return err
	}
	props, err := object(whole, "properties")
	if err != nil {
		return err
	}
	props["traffic"] = e.Traffic
	if len(e.MirrorTraffic) == 0 {
		delete(props, "mirrorTraffic")
	}
	if rec.Body, err = json.Marshal(whole); err != nil {
		return fmt.Errorf("encoding endpoint %s: %w", id.Name(), err)
	}
	if rec, err = d.TellEndpoint(ctx, r.Tx, rec); err != nil {
		return err
	}
	_, err = r.Tx.Put(ctx, rec)
	return err
}

func deploymentSKUs(_ context.Context, a *resource.Call) (any, error) {
	var o machinelearning.OnlineDeploymentProperties
	if err := unmarshalProperties(a.Record, &o); err != nil {
		return nil, err
	}
	capacity := machinelearning.SKUCapacity{Minimum: 1, Maximum: maxServing, Default: 1, ScaleType: "Manual"}
	if s := o.ScaleSettings; s != nil && s.ScaleType == machinelearning.ScaleTargetUtilization {
		capacity = machinelearning.SKUCapacity{Minimum: *s.MinInstances, Maximum: *s.MaxInstances, Default: *s.MinInstances, ScaleType: "Automatic"}
	}
	return machinelearning.SKUResources{Value: []machinelearning.SKUResource{{
		ResourceType: "Microsoft.MachineLearning.Services/endpoints/deployments",
		SKU:          machinelearning.SKUSetting{Name: "Default", Tier: "Standard"}, Capacity: capacity,
	}}}, nil
}
