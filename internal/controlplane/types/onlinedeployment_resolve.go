package types

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/serving"
	"fairlead.dev/fairlead/internal/link"
)

// deploymentSpec is what the cluster is told of properties that checkDeployment has checked.
func deploymentSpec(o *machinelearning.OnlineDeploymentProperties, sku *machinelearning.SKU) (v1alpha1.OnlineDeploymentSpec, error) {
	spec := v1alpha1.OnlineDeploymentSpec{
		EnvironmentVariables: maps.Clone(o.EnvironmentVariables),
		Requests: v1alpha1.RequestSettings{
			TimeoutMilliseconds: milliseconds(o.RequestSettings.RequestTimeout), MaxQueueWaitMilliseconds: milliseconds(o.RequestSettings.MaxQueueWait),
			MaxConcurrentPerInstance: int32(*o.RequestSettings.MaxConcurrentRequestsPerInstance),
		},
		LivenessProbe: probe(o.LivenessProbe), ReadinessProbe: probe(o.ReadinessProbe), StartupProbe: probe(o.StartupProbe),
		Resources: requirements(o.ContainerResourceRequirements),
	}
	n := int32(*sku.Capacity)
	spec.Scale = v1alpha1.DeploymentScale{Min: n, Max: n}
	if s := o.ScaleSettings; s.ScaleType == machinelearning.ScaleTargetUtilization {
		spec.Scale = v1alpha1.DeploymentScale{Min: int32(*s.MinInstances), Max: int32(*s.MaxInstances),
			TargetUtilizationPercentage: int32(*s.TargetUtilizationPercentage), PollingIntervalSeconds: seconds(s.PollingInterval)}
	}
	return spec, nil
}

func probe(p *machinelearning.ProbeSettings) *v1alpha1.Probe {
	if p == nil {
		return nil
	}
	return &v1alpha1.Probe{InitialDelaySeconds: seconds(p.InitialDelay), PeriodSeconds: seconds(p.Period), TimeoutSeconds: seconds(p.Timeout),
		SuccessThreshold: int32(*p.SuccessThreshold), FailureThreshold: int32(*p.FailureThreshold)}
}

func requirements(c *machinelearning.ContainerResourceRequirements) *corev1.ResourceRequirements {
	if c == nil {
		return nil
	}
	out := &corev1.ResourceRequirements{Requests: quantities(c.ContainerResourceRequests), Limits: quantities(c.ContainerResourceLimits)}
	if out.Requests == nil && out.Limits == nil {
		return nil
	}
	return out
}

func quantities(s *machinelearning.ContainerResourceSettings) corev1.ResourceList {
	if s == nil {
		return nil
	}
	out := corev1.ResourceList{}
	for name, value := range map[corev1.ResourceName]string{corev1.ResourceCPU: s.CPU, corev1.ResourceMemory: s.Memory, "nvidia.com/gpu": s.GPU} {
		if value != "" {
			out[name] = resource.MustParse(value)
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// resolveAssets finds environment, model and code, and names them by their ids.
func (d Deps) resolveAssets(ctx context.Context, r store.Reader, ws arm.ID, o *machinelearning.OnlineDeploymentProperties, st *serving.Deployment) error {
	env, err := d.findAsset(ctx, r, ws, "properties.environmentId", o.EnvironmentID, "environments")
	if err != nil {
		return err
	}
	var e machinelearning.EnvironmentVersionProperties
	if err := unmarshalProperties(env, &e); err != nil {
		return err
	}
	o.EnvironmentID, st.Spec.Image, st.Spec.Routes = env.ID, e.Image, routes(e.InferenceConfig)
	if o.Model != "" {
		rec, err := d.findAsset(ctx, r, ws, "properties.model", o.Model, "models")
		if err != nil {
			return err
		}
		if st.Spec.Model, err = d.servedModel(ctx, r, ws, rec, o); err != nil {
			return err
		}
	}
	c := o.CodeConfiguration
	if c == nil {
		return nil
	}
	rec, err := d.findAsset(ctx, r, ws, "properties.codeConfiguration.codeId", c.CodeID, "codes")
	if err != nil {
		return err
	}
	u, err := d.resolveURI(ctx, r, ws, "properties.codeConfiguration.codeId", field(rec, "codeUri"))
	c.CodeID, st.Spec.Code = rec.ID, &v1alpha1.DeploymentCode{URL: u, ScoringScript: c.ScoringScript}
	return err
}

func (d Deps) servedModel(ctx context.Context, r store.Reader, ws arm.ID, rec store.Record, o *machinelearning.OnlineDeploymentProperties) (*v1alpha1.DeploymentModel, error) {
	var m machinelearning.ModelVersionProperties
	if err := unmarshalProperties(rec, &m); err != nil {
		return nil, err
	}
	if err := servable(o.Model, m.ModelType); err != nil {
		return nil, err
	}
	u, err := d.resolveURI(ctx, r, ws, "properties.model", m.ModelURI)
	if err != nil {
		return nil, err
	}
	o.Model = rec.ID
	return &v1alpha1.DeploymentModel{Name: containerName(arm.MustParseID(rec.ID)), Version: rec.Name, Type: m.ModelType, URL: u, MountPath: strings.TrimSuffix(o.ModelMountPath, "/")}, nil
}

// routes are where an environment's image answers; without word of it, where the reference's inference server does.
func routes(c *machinelearning.InferenceConfig) v1alpha1.ContainerRoutes {
	out := v1alpha1.ContainerRoutes{Port: 5001, ScoringPath: "/score", LivenessPath: "/", ReadinessPath: "/"}
	if c == nil {
		return out
	}
	if s := c.ScoringRoute; s != nil {
		out.Port, out.ScoringPath = int32(s.Port), s.Path
	}
	if l := c.LivenessRoute; l != nil {
		out.LivenessPath, out.LivenessPort = l.Path, int32(l.Port)
	}
	if r := c.ReadinessRoute; r != nil {
		out.ReadinessPath, out.ReadinessPort = r.Path, int32(r.Port)
	}
	return out
}

// fetchTokenTTL is how long the token for a deployment's model and code is good. It is renewed after a third of that, so that pods
// that start while the cluster is without link have one for two months.
const fetchTokenTTL = issuer.LongestTTL

// RenewFetchToken is the age at which a deployment's token is renewed.
const RenewFetchToken = fetchTokenTTL / 3

// TellDeployment makes what the cluster shall have of a deployment, with a new token unless one that is told already is young enough,
// and the record's state with it. It asks the blob store what the model is, so it runs outside of transactions.
func (d Deps) TellDeployment(ctx context.Context, rec store.Record, old *link.Deployment) (link.Deployment, serving.Deployment, error) {
	st, err := serving.DecodeDeployment(rec)
	if err != nil {
		return link.Deployment{}, st, err
	}
	spec := *st.Spec.DeepCopy()
	if err := d.settleModel(ctx, spec.Model); err != nil {
		return link.Deployment{}, st, err
	}
	spec.TokenSecret = v1alpha1.DeploymentObjectName(spec.Endpoint, spec.Name) + v1alpha1.FetchSecretSuffix
	raw, err := json.Marshal(spec)
	if err != nil {
		return link.Deployment{}, st, fmt.Errorf("encoding OnlineDeployment %s: %w", rec.Key, err)
	}
	st.Revision = serving.Revision(st.ID, raw)
	out := link.Deployment{Endpoint: spec.Endpoint, Name: spec.Name, Resource: rec.ID, Namespace: st.Namespace, Spec: raw, Revision: st.Revision,
		Labels: deploymentLabels(rec, st)}
	out.Secret, err = d.deploymentSecret(ctx, rec, &st, old)
	return out, st, err
}

// deploymentSecret is what the pods read: a token, and what their processes must send to get tokens of the managed identity, which stays as
// long as it is told, because it is in the surroundings of processes that run.
func (d Deps) deploymentSecret(ctx context.Context, rec store.Record, st *serving.Deployment, old *link.Deployment) (map[string]string, error) {
	secret := map[string]string{}
	if old != nil && old.Resource == rec.ID {
		maps.Copy(secret, old.Secret)
	}
	switch {
	case st.Spec.Identity == nil:
		delete(secret, v1alpha1.IdentityHeader)
	case secret[v1alpha1.IdentityHeader] == "":
		secret[v1alpha1.IdentityHeader] = rand.Text()
	}
	if secret[v1alpha1.FetchToken] != "" && d.Clock().Sub(st.TokenAt) < RenewFetchToken {
		return secret, nil
	}
	token, err := d.IssueFetchToken(ctx, rec.Key, st.ID, fetchTokenTTL)
	if err != nil {
		return nil, fmt.Errorf("issuing a token for deployment %s: %w", rec.Key, err)
	}
	secret[v1alpha1.FetchToken], st.TokenAt = token, d.Clock().UTC()
	return secret, nil
}

func deploymentLabels(rec store.Record, st serving.Deployment) map[string]string {
	id := arm.MustParseID(rec.ID)
	return ClusterLabels(id, st.Compute, map[string]string{
		"ml.azure.com/endpoint-name": containerName(id), "ml.azure.com/deployment-name": rec.Name,
		v1alpha1.LabelDeployment: v1alpha1.DeploymentObjectName(st.Spec.Endpoint, st.Spec.Name)})
}

// settleModel tells by the ending of the address whether a model in the blob front is a folder: it is, unless a file has that name.
func (d Deps) settleModel(ctx context.Context, m *v1alpha1.DeploymentModel) error {
	if m == nil || strings.HasSuffix(m.URL, "/") || !strings.HasPrefix(m.URL, d.PublicURL+"/blob/") {
		return nil
	}
	file, err := d.Blobs.IsFile(ctx, m.URL)
	if err != nil {
		return fmt.Errorf("looking at model %s: %w", m.Name, err)
	}
	if !file {
		m.URL += "/"
	}
	return nil
}

// DeploymentKey is a deployment's key in the maps of its cluster.
func DeploymentKey(st serving.Deployment) string {
	return link.PrefixDeployment + st.Spec.Endpoint + "/" + st.Spec.Name
}

// EndpointKey is an endpoint's key in the maps of its cluster.
func EndpointKey(rec store.Record) string { return endpointKey(arm.MustParseID(rec.ID)) }
