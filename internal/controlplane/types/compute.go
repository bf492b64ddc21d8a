package types

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/link"
)

func compute(d Deps) *resource.Type {
	return &resource.Type{
		Namespace: nsML, Name: "workspaces/computes",
		APIVersions: mlVersions,
		NameRule:    regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,14}[A-Za-z0-9]$`),
		NameHelp:    "2 to 16 letters, digits and hyphens, beginning with a letter and ending with a letter or digit",
		Async:       true,
		Admit: func(ctx context.Context, p *resource.Put) error {
			return admitCompute(ctx, d, p)
		},
		Remove: removeCompute,
		Show:   showCompute,
	}
}

func admitCompute(ctx context.Context, d Deps, p *resource.Put) error {
	ws, err := getWorkspace(ctx, p.Tx, p.ID)
	if err != nil {
		return err
	}
	props, err := object(p.Body, "properties")
	if err != nil {
		return err
	}
	old, err := oldProperties(p.Old)
	if err != nil {
		return err
	}
	restore(props, old, "createdOn", "modifiedOn", "isAttachedCompute", "provisioningErrors")
	var c machinelearning.ComputeProperties
	if err := decode(props, &c); err != nil {
		return err
	}
	if err := checkCompute(&c); err != nil {
		return err
	}
	if err := linked(ctx, d, p, clusterWrite(c.ResourceID), c.ResourceID); err != nil {
		return err
	}
	order, err := managedIdentities(ctx, d, p)
	if err != nil {
		return err
	}
	if p.Record.Internal, err = order.Encode(); err != nil {
		return err
	}
	now := arm.FormatTime(d.Clock())
	if c.CreatedOn == "" {
		c.CreatedOn = now
	}
	c.ModifiedOn, c.IsAttachedCompute, c.ProvisioningErrors = now, true, nil
	if s, _ := p.Body["location"].(string); s == "" {
		p.Body["location"] = topString(ws, "location")
	}
	if c.ComputeLocation == "" {
		c.ComputeLocation, _ = p.Body["location"].(string)
	}
	return overlay(props, c)
}

func checkCompute(c *machinelearning.ComputeProperties) error {
	var err error
	if c.ComputeType, err = enum("properties.computeType", c.ComputeType, machinelearning.ComputeKubernetes); err != nil {
		return err
	}
	if c.ResourceID == "" {
		return arm.Invalid("properties.resourceId", "properties.resourceId is missing; give the id of the cluster: /subscriptions/<id>/resourceGroups/<group>/providers/Microsoft.Kubernetes/connectedClusters/<name>, or …/Microsoft.ContainerService/managedClusters/<name>.")
	}
	id, err := arm.ParseID(c.ResourceID)
	if err != nil {
		return arm.Invalid("properties.resourceId", "properties.resourceId: %v.", err)
	}
	if strings.EqualFold(id.Type(), nsKubernetes+"/managedClusters") { // as a command that the reference prints has it
		id.Segments[0].Namespace, id.Segments[0].Types = nsContainerService, []string{"managedClusters"}
	}
	c.ResourceID = id.String()
	if c.Properties == nil {
		c.Properties = &machinelearning.KubernetesProperties{}
	}
	k := c.Properties
	if k.Namespace == "" {
		k.Namespace = "default"
	}
	if k.ExtensionInstanceReleaseTrain == nil {
		train := "stable"
		k.ExtensionInstanceReleaseTrain = &train
	}
	k.RelayConnectionString, k.ServiceBusConnectionString = nil, nil
	return checkNamespace("properties.properties.namespace", k.Namespace)
}

// clusterWrite is the right to a cluster that an attach needs.
func clusterWrite(id string) string {
	if parsed, err := arm.ParseID(id); err == nil && strings.EqualFold(parsed.Type(), clusterstate.ManagedType) {
		return nsContainerService + "/managedClusters/write"
	}
	return nsKubernetes + "/connectedClusters/write"
}

// linked requires a right on another resource that the one being written makes use of. The refusal does not tell whether the
// other exists. It is asked for at every write: a replacement may reach further, and the other may be a new one of the old name.
func linked(ctx context.Context, d Deps, p *resource.Put, action, id string) error {
	parsed, err := arm.ParseID(id)
	if err != nil {
		return err
	}
	refused := true
	if d.Authorize != nil {
		err := d.Authorize(ctx, p.Principal, action, parsed.Key())
		ae, ok := errors.AsType[*arm.Error](err)
		if refused = ok && ae.Status == http.StatusForbidden; err != nil && !refused {
			return fmt.Errorf("checking rights on %s: %w", id, err)
		}
	}
	if !refused {
		return nil
	}
	name := p.Principal.Name
	if name == "" {
		name = p.Principal.ID
	}
	return arm.Errorf(http.StatusForbidden, "LinkedAuthorizationFailed",
		"The client '%s' with object id '%s' has permission to perform action '%s/write' on scope '%s'; however, it does not have permission to perform action(s) '%s' on the linked scope(s) '%s' (respectively) or the linked scope(s) are invalid.",
		name, p.Principal.ID, p.ID.Type(), p.ID, action, id)
}

// removeCompute detaches: nothing in the cluster belongs to a compute but the jobs that run on it.
func removeCompute(ctx context.Context, d *resource.Removal) (bool, error) {
	if strings.EqualFold(d.Query["underlyingResourceAction"], "Delete") {
		return false, arm.Errorf(400, "InvalidRequestContent", "Delete is not supported for KubernetesCompute object. Try to use detach instead.")
	}
	if d.Force {
		return false, nil
	}
	cluster, err := arm.ParseID(field(d.Record, "resourceId"))
	if err != nil {
		return false, nil // a compute that never had a cluster
	}
	live, err := liveJobsOf(ctx, d.Tx, cluster.Key(), func(rec store.Record) bool {
		return strings.EqualFold(field(rec, "computeId"), d.Record.ID)
	})
	if err != nil {
		return false, err
	}
	if served, err := endpointsOn(ctx, d.Tx, d.Record.Key); err != nil {
		return false, err
	} else if len(served) > 0 {
		return false, arm.Errorf(409, "ResourceInUse", "Compute %s serves online endpoints, such as %s; delete them first, or detach with forceDelete=true (they go on serving and cannot be changed).",
			d.Record.Name, strings.Join(served, ", "))
	}
	if len(live) > 0 {
		return false, arm.Errorf(409, "ResourceInUse", "Compute %s runs jobs that have not ended, such as %s; cancel them first, or detach with forceDelete=true.",
			d.Record.Name, strings.Join(live, ", "))
	}
	return false, nil
}

// showCompute lists the instance types that the cluster has now.
func showCompute(ctx context.Context, r store.Reader, rec store.Record, body map[string]any) error {
	if err := showIdentities(rec, body); err != nil {
		return err
	}
	props, err := object(body, "properties")
	if err != nil {
		return err
	}
	if body["tags"] == nil { // azureml-core reads no compute without them
		body["tags"] = map[string]any{}
	}
	if props["provisioningErrors"] == nil {
		props["provisioningErrors"] = []any{}
	}
	kube, err := object(props, "properties")
	if err != nil {
		return err
	}
	if kube["defaultInstanceType"] == nil || kube["defaultInstanceType"] == "" {
		kube["defaultInstanceType"] = clusterstate.DefaultInstanceType
	}
	cluster, err := clusterstate.Key(field(rec, "resourceId"))
	if err != nil {
		return nil //nolint:nilerr // said in provisioningErrors
	}
	nodes, _, err := clusterstate.Nodes(ctx, r, cluster)
	if err != nil || nodes == nil {
		return err
	}
	kube["instanceTypes"] = instanceTypes(nodes.InstanceTypes)
	return nil
}

func instanceTypes(list []link.InstanceType) map[string]machinelearning.InstanceTypeSchema {
	pointers := func(in map[string]string) map[string]*string {
		out := make(map[string]*string, len(in))
		for k, v := range in {
			out[k] = &v
		}
		return out
	}
	out := make(map[string]machinelearning.InstanceTypeSchema, len(list))
	for _, it := range list {
		out[it.Name] = machinelearning.InstanceTypeSchema{NodeSelector: it.NodeSelector,
			Resources: &machinelearning.InstanceTypeResources{Requests: pointers(it.Requests), Limits: pointers(it.Limits)}}
	}
	return out
}
