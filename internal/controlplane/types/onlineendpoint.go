package types

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/scan"
	"fairlead.dev/fairlead/internal/controlplane/types/serving"
	"fairlead.dev/fairlead/internal/link"
)

// InferenceDisabled is what an endpoint hears when the extension has no inference.
const InferenceDisabled = `E45004:"Inference feature is not enabled, please enable it when install the extension."`

// Limits of the reference.
const (
	maxEndpoints              = 60  // of a cluster
	maxDeployments            = 100 // of a cluster
	maxDeploymentsPerEndpoint = 20
	maxMirror                 = 50 // percent
)

var servingName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{1,30}[A-Za-z0-9]$`)

const servingHelp = "3 to 32 letters, digits and hyphens, beginning with a letter and ending with a letter or digit"

func onlineEndpoint(d Deps) *resource.Type {
	return &resource.Type{
		Namespace: nsML, Name: "workspaces/onlineEndpoints",
		APIVersions: mlVersions, NameRule: servingName, NameHelp: servingHelp, Async: true,
		Admit:   d.admitEndpoint,
		Remove:  removeEndpoint,
		Show:    showEndpoint,
		Samples: ownSamples,
		Actions: map[string]resource.Action{
			"listkeys":       {Permission: "secret", Run: d.listEndpointKeys},
			"token":          {Permission: "secret", Run: d.endpointToken},
			"regeneratekeys": {Permission: "secret", Run: d.regenerateEndpointKeys},
		},
	}
}

func (d Deps) admitEndpoint(ctx context.Context, p *resource.Put) error {
	if err := busy(p.Old); err != nil {
		return err
	}
	ws, err := getWorkspace(ctx, p.Tx, p.ID)
	if err != nil {
		return err
	}
	props, err := object(p.Body, "properties")
	if err != nil {
		return err
	}
	restore(props, nil, "scoringUri", "swaggerUri")
	var e machinelearning.OnlineEndpointProperties
	if err := decode(props, &e); err != nil {
		return err
	}
	given := e.Keys
	e.Keys = nil
	delete(props, "keys")
	e.Properties = orEmpty(e.Properties)
	if err := checkAccess(&e); err != nil {
		return err
	}
	st, err := d.placeEndpoint(ctx, p, &e)
	if err != nil {
		return err
	}
	if err := checkTraffic(ctx, p.Tx, p.ID, &e); err != nil {
		return err
	}
	if st.Order, err = managedIdentities(ctx, d, p); err != nil {
		return err
	}
	if s, _ := p.Body["location"].(string); s == "" {
		p.Body["location"] = topString(ws, "location")
	}
	if err := d.keepKeys(p, given); err != nil {
		return err
	}
	if err := overlay(props, e); err != nil {
		return err
	}
	delete(props, "scoringUri") // made when read
	delete(props, "swaggerUri")
	return d.tellFromPut(ctx, p, st)
}

// busy refuses a write while an operation is under way.
func busy(old *store.Record) error {
	if old == nil {
		return nil
	}
	if s := field(*old, "provisioningState"); s != "" && !arm.Terminal(s) {
		e := arm.Errorf(http.StatusConflict, "Conflict", "'%s' is %s: an operation on it is already in progress. Wait until it has ended, then repeat the request.", old.ID, s)
		e.Cause = resource.ErrBusy
		return e
	}
	return nil
}

func checkAccess(e *machinelearning.OnlineEndpointProperties) error {
	const at = "properties.authMode"
	if e.AuthMode == "" {
		e.AuthMode = machinelearning.AuthKey
	}
	if strings.EqualFold(e.AuthMode, machinelearning.AuthAADToken) {
		return arm.Invalid(at, "%s is AADToken, which Kubernetes online endpoints do not have: the router in the cluster verifies keys and tokens by itself. Give Key or AMLToken.", at)
	}
	var err error
	if e.AuthMode, err = enum(at, e.AuthMode, machinelearning.AuthKey, machinelearning.AuthAMLToken); err != nil {
		return err
	}
	if n := e.PublicNetworkAccess; n != "" && !strings.EqualFold(n, "Enabled") {
		return arm.Invalid("properties.publicNetworkAccess", "properties.publicNetworkAccess is %q; it belongs to managed endpoints. Who reaches this one is decided by the service type of the cluster's inference router. Leave it out.", n)
	}
	return nil
}

// placeEndpoint finds the compute, and keeps an endpoint's name its own in the whole cluster.
func (d Deps) placeEndpoint(ctx context.Context, p *resource.Put, e *machinelearning.OnlineEndpointProperties) (serving.Endpoint, error) {
	const at = "properties.compute"
	st := serving.Endpoint{}
	if p.Old != nil {
		var err error
		if st, err = serving.DecodeEndpoint(*p.Old); err != nil {
			return st, err
		}
		if e.Compute == "" {
			e.Compute = field(*p.Old, "compute")
		}
	}
	if e.Compute == "" {
		return st, arm.Invalid(at, "%s is missing; online endpoints run on Kubernetes: give the id or the name of an attached compute.", at)
	}
	rec, c, cluster, err := findCompute(ctx, p.Tx, workspaceOf(p.ID), at, e.Compute)
	if err != nil {
		return st, err
	}
	facts, err := clusterstate.Features(ctx, p.Tx, cluster)
	if err != nil {
		return st, err
	}
	if err := canServe(facts, c, rec.Name, at); err != nil {
		return st, err
	}
	if st.Compute != "" && st.Compute != rec.Key {
		return st, arm.Errorf(http.StatusConflict, "Conflict", "properties.compute of endpoint %s cannot be changed from %s to %s; make another endpoint.", p.ID.Name(), field(*p.Old, "compute"), rec.ID)
	}
	e.Compute = rec.ID
	st.Place = serving.Place{Compute: rec.Key, Cluster: cluster, Namespace: c.Properties.Namespace}
	if st.Audience == "" {
		st.Audience = d.PublicURL + "/onlineEndpoints/" + d.newID()
	}
	return st, uniqueEndpoint(ctx, p.Tx, cluster, facts.Name, p.ID)
}

// canServe refuses a cluster that is known not to serve.
func canServe(f clusterstate.Facts, c machinelearning.ComputeProperties, compute, at string) error {
	switch {
	case !f.Exists:
		return arm.Invalid(at, "The cluster of compute %s, %s, does not exist any more; connect it again and attach the compute anew.", compute, c.ResourceID)
	case !f.Extension.Exists:
		return arm.Invalid(at, "%s (cluster %s has no extension Microsoft.AzureML.Kubernetes: deploy it with enableInference=True)", InferenceDisabled, f.Name)
	case !f.Extension.Inference:
		return arm.Invalid(at, "%s (cluster %s, extension %s: set enableInference=True)", InferenceDisabled, f.Name, f.Extension.Name)
	}
	return nil
}

// uniqueEndpoint looks at what the cluster is told, which is one endpoint a name.
func uniqueEndpoint(ctx context.Context, r store.Reader, cluster, name string, id arm.ID) error {
	entries, err := r.Desired(ctx, cluster, link.PrefixEndpoint, 0)
	if err != nil {
		return fmt.Errorf("reading endpoints of cluster %s: %w", cluster, err)
	}
	others := 0
	for _, e := range entries {
		var v struct{ Resource string }
		if err := json.Unmarshal(e.Value, &v); err != nil {
			return fmt.Errorf("decoding %s of cluster %s: %w", e.Key, cluster, err)
		}
		if strings.EqualFold(v.Resource, id.String()) {
			return nil
		}
		if others++; e.Key == endpointKey(id) {
			return arm.Errorf(http.StatusConflict, "EndpointAlreadyExists", "Cluster %s already has an online endpoint named %s, in another workspace: in a cluster, names of endpoints are unique. Choose another name.", name, id.Name())
		}
	}
	if others >= maxEndpoints {
		return arm.Errorf(http.StatusBadRequest, "OutOfQuota", "Cluster %s has %d online endpoints, the most there may be; delete one first, or use another cluster.", name, others)
	}
	return nil
}

// ownSamples are kept under the resource's own name.
func ownSamples(ctx context.Context, r store.Reader, rec store.Record, from, to time.Time) ([]store.Sample, error) {
	return r.Samples(ctx, strings.ToLower(rec.ID), from, to)
}

// endpointKey is an endpoint's key in the maps of its cluster.
func endpointKey(id arm.ID) string { return link.PrefixEndpoint + strings.ToLower(id.Name()) }

// checkTraffic compares the shares with the deployments there are, and spells their names as those do.
func checkTraffic(ctx context.Context, r store.Reader, id arm.ID, e *machinelearning.OnlineEndpointProperties) error {
	names, err := deploymentNames(ctx, r, id)
	if err != nil {
		return err
	}
	traffic, sum, err := shares("properties.traffic", e.Traffic, 100, names)
	if err != nil {
		return err
	}
	if sum != 0 && sum != 100 {
		return arm.Invalid("properties.traffic", "properties.traffic adds up to %d; it must add up to 100, or to 0 for an endpoint that takes no requests.", sum)
	}
	mirror, _, err := shares("properties.mirrorTraffic", e.MirrorTraffic, maxMirror, names)
	if err != nil {
		return err
	}
	if len(mirror) > 1 {
		return arm.Invalid("properties.mirrorTraffic", "properties.mirrorTraffic names %s; requests are mirrored to at most one deployment.", oneOf(keys(mirror)))
	}
	for name, share := range mirror {
		if share > 0 && traffic[name] > 0 {
			return arm.Invalid("properties.mirrorTraffic", "properties.mirrorTraffic names %s, which gets %d%% of the requests already; mirror to another deployment, or set its traffic to 0.", name, traffic[name])
		}
	}
	e.Traffic, e.MirrorTraffic = traffic, mirror
	if len(mirror) == 0 {
		e.MirrorTraffic = nil
	}
	return nil
}

func shares(at string, given map[string]int, most int, names []string) (out map[string]int, sum int, err error) {
	out = map[string]int{}
	for _, asked := range keys(given) {
		share := given[asked]
		if share < 0 || share > most {
			return nil, 0, arm.Invalid(at+"."+asked, "%s.%s is %d; it must be a whole number from 0 to %d.", at, asked, share, most)
		}
		found := ""
		for _, n := range names {
			if strings.EqualFold(n, asked) {
				found = n
			}
		}
		if found == "" {
			return nil, 0, arm.Invalid(at+"."+asked, "%s names deployment %q, which the endpoint does not have; it has: %s. Create the deployment first.", at, asked, oneOf(names))
		}
		out[found] += share
		sum += share
	}
	return out, sum, nil
}

// deploymentNames lists an endpoint's deployments.
func deploymentNames(ctx context.Context, r store.Reader, endpoint arm.ID) ([]string, error) {
	recs, err := r.List(ctx, store.Query{Type: serving.DeploymentType, Parent: endpoint.Key(), Limit: 1000})
	if err != nil {
		return nil, fmt.Errorf("listing deployments of %s: %w", endpoint.Name(), err)
	}
	names := make([]string, 0, len(recs))
	for _, rec := range recs {
		names = append(names, rec.Name)
	}
	return names, nil
}

// removeEndpoint has the cluster forget it. Its deployments go after it.
func removeEndpoint(ctx context.Context, r *resource.Removal) (bool, error) {
	st, err := serving.DecodeEndpoint(r.Record)
	if err != nil {
		return false, err
	}
	return false, forget(ctx, r.Tx, st.Cluster, endpointKey(r.ID), r.Record.ID)
}

// forget takes a key out of a cluster's maps, unless it stands for another resource.
func forget(ctx context.Context, tx store.Tx, cluster, key, resource string) error {
	entries, err := tx.Desired(ctx, cluster, key, 0)
	if err != nil {
		return fmt.Errorf("reading desired %s: %w", key, err)
	}
	for _, e := range entries {
		var v struct{ Resource string }
		if e.Key == key && json.Unmarshal(e.Value, &v) == nil && !strings.EqualFold(v.Resource, resource) {
			return nil
		}
	}
	if err := errors.Join(ignoreNotFound(tx.DeleteDesired(ctx, cluster, key)), ignoreNotFound(tx.DeleteObserved(ctx, cluster, key))); err != nil {
		return fmt.Errorf("deleting %s of cluster %s: %w", key, cluster, err)
	}
	return nil
}

// endpointsOn names endpoints on a compute, at most maxNamed.
func endpointsOn(ctx context.Context, r store.Reader, compute string) ([]string, error) {
	var names []string
	err := scan.Each(ctx, r, store.Query{Type: serving.EndpointType, AnyParent: true}, func(rec store.Record) (bool, error) {
		st, err := serving.DecodeEndpoint(rec)
		if st.Compute == compute {
			names = append(names, rec.Name)
		}
		return len(names) < maxNamed, err
	})
	return names, err
}
