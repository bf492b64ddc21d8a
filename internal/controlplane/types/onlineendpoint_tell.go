package types

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/api/machinelearning"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/controlplane/types/serving"
	"fairlead.dev/fairlead/internal/link"
)

// tellFromPut tells the cluster of an endpoint in the transaction of its PUT, so that two of the same name cannot both be made.
func (d Deps) tellFromPut(ctx context.Context, p *resource.Put, st serving.Endpoint) error {
	rec := *p.Record
	var err error
	if rec.Internal, err = serving.Encode(st); err != nil {
		return err
	}
	if rec.Body, err = json.Marshal(p.Body); err != nil {
		return fmt.Errorf("encoding %s: %w", rec.Key, err)
	}
	if rec, err = d.TellEndpoint(ctx, p.Tx, rec); err != nil {
		return err
	}
	p.Record.Internal = rec.Internal
	return nil
}

// TellEndpoint writes what the cluster shall have of an endpoint and returns the record with its revision, which the caller stores.
func (d Deps) TellEndpoint(ctx context.Context, tx store.Tx, rec store.Record) (store.Record, error) {
	st, err := serving.DecodeEndpoint(rec)
	if err != nil {
		return rec, err
	}
	spec, err := d.endpointSpec(rec, st)
	if err != nil {
		return rec, err
	}
	id := arm.MustParseID(rec.ID)
	st.Revision = serving.Revision(st.Audience, spec)
	value, err := json.Marshal(link.Endpoint{Name: strings.ToLower(rec.Name), Resource: rec.ID, Namespace: st.Namespace, Spec: spec, Revision: st.Revision,
		Labels: ClusterLabels(id, st.Compute, map[string]string{"ml.azure.com/endpoint-name": rec.Name})})
	if err != nil {
		return rec, fmt.Errorf("encoding desired endpoint %s: %w", rec.Key, err)
	}
	if err := d.Desired.Put(ctx, tx, st.Cluster, endpointKey(id), value); err != nil {
		return rec, fmt.Errorf("writing desired endpoint %s: %w", rec.Name, err)
	}
	rec.Internal, err = serving.Encode(st)
	return rec, err
}

// endpointSpec is what the router is told: hashes of keys and public keys, and nothing secret.
func (d Deps) endpointSpec(rec store.Record, st serving.Endpoint) (json.RawMessage, error) {
	var e machinelearning.OnlineEndpointProperties
	if err := unmarshalProperties(rec, &e); err != nil {
		return nil, err
	}
	spec := v1alpha1.OnlineEndpointSpec{Name: rec.Name, Auth: v1alpha1.EndpointAuth{Mode: e.AuthMode}, Traffic: lowered(e.Traffic), MirrorTraffic: lowered(e.MirrorTraffic)}
	if e.AuthMode == machinelearning.AuthAMLToken {
		issuer, jwks, err := d.TokenKeys()
		if err != nil {
			return nil, fmt.Errorf("reading the keys of tokens: %w", err)
		}
		spec.Auth.Tokens = &v1alpha1.TokenAuth{Issuer: issuer, Audience: st.Audience, JWKS: jwks}
	} else {
		keys, err := d.openKeys(rec)
		if err != nil {
			return nil, err
		}
		spec.Auth.KeyHashes = []string{serving.Hash(keys.Primary), serving.Hash(keys.Secondary)}
	}
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("encoding OnlineEndpoint %s: %w", rec.Name, err)
	}
	return raw, nil
}

func lowered(shares map[string]int) map[string]int32 {
	out := map[string]int32{}
	for name, share := range shares {
		out[strings.ToLower(name)] = int32(share)
	}
	return out
}

// showEndpoint adds the addresses, from where the cluster's router is now.
func showEndpoint(ctx context.Context, r store.Reader, rec store.Record, body map[string]any) error {
	if err := showIdentities(rec, body); err != nil {
		return err
	}
	props, err := object(body, "properties")
	if err != nil {
		return err
	}
	props["scoringUri"], props["swaggerUri"] = nil, nil
	st, err := serving.DecodeEndpoint(rec)
	if err != nil || st.Cluster == "" {
		return err
	}
	router, at, err := clusterstate.Router(ctx, r, st.Cluster)
	if err != nil || at.IsZero() {
		return err
	}
	facts, err := clusterstate.Features(ctx, r, st.Cluster)
	if err != nil {
		return err
	}
	if base := routerURL(router, facts.Extension.SSLName); base != "" {
		path := base + "/api/v1/endpoint/" + strings.ToLower(rec.Name)
		props["scoringUri"], props["swaggerUri"] = path+"/score", path+"/swagger.json"
	}
	return nil
}

// routerURL is how callers reach a router, as far as the cluster says: by HTTPS where it has that, under the certificate's name
// where there is one; else by the load balancer's address, a node's and its port, or the address in the cluster.
func routerURL(s link.RouterStatus, sslName string) string {
	port, scheme := pick(s.Ports, v1alpha1.RouterHTTPS), "https"
	if port == nil {
		port, scheme = pick(s.Ports, v1alpha1.RouterHTTP), "http"
	}
	if port == nil {
		return ""
	}
	host, number := "", port.Port
	switch {
	case s.Type == "ClusterIP":
		host = s.ClusterIP
	case s.Type == "LoadBalancer" && len(s.LoadBalancers) > 0:
		host = s.LoadBalancers[0]
	case len(s.Nodes) > 0 && port.NodePort != 0: // also for a load balancer that nobody provides
		host, number = s.Nodes[0], port.NodePort
	}
	if scheme == "https" && sslName != "" {
		host = sslName
	}
	switch {
	case host == "":
		return ""
	case scheme == "https" && number == 443 || scheme == "http" && number == 80:
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		return scheme + "://" + host
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(int(number)))
}

func pick(ports []link.RouterPort, name string) *link.RouterPort {
	for i := range ports {
		if ports[i].Name == name {
			return &ports[i]
		}
	}
	return nil
}
