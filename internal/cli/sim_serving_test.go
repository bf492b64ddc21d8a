package cli_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/controlplane/types/serving"
	"fairlead.dev/fairlead/internal/link"
)

// simRouter is the inference router of the cluster that is not there: it knows what endpoints the cluster was told of and answers in the
// name of the deployment that gets most of the traffic.
type simRouter struct {
	mu        sync.Mutex
	endpoints map[string]v1alpha1.OnlineEndpointSpec
}

// route starts the router once, and tells where it is.
func (s *sim) route(ctx context.Context) error {
	if s.router == nil {
		s.router = &simRouter{endpoints: map[string]v1alpha1.OnlineEndpointSpec{}}
		server := httptest.NewServer(s.router)
		context.AfterFunc(ctx, server.Close)
		s.routerAt = server.Listener.Addr().String()
	}
	host, port, err := net.SplitHostPort(s.routerAt)
	if err != nil {
		return err
	}
	n, err := strconv.ParseInt(port, 10, 32)
	if err != nil {
		return err
	}
	return s.observe(ctx, map[string]any{link.KeyRouter: link.RouterStatus{Type: "NodePort", Nodes: []string{host}, ClusterIP: "10.96.0.9", Ports: []link.RouterPort{{Name: "http", Port: 80, NodePort: int32(n)}}}})
}

func (r *simRouter) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	name, _, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/api/v1/endpoint/"), "/")
	r.mu.Lock()
	spec, ok := r.endpoints[name]
	r.mu.Unlock()
	body, _ := io.ReadAll(req.Body)
	answers := req.Header.Get("azureml-model-deployment")
	for deployment, share := range spec.Traffic {
		if answers == "" && share >= 50 {
			answers = deployment
		}
	}
	switch {
	case !ok:
		http.Error(w, "no such endpoint", http.StatusNotFound)
	case !slices.Contains(spec.Auth.KeyHashes, serving.Hash(strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer "))):
		http.Error(w, "wrong key", http.StatusUnauthorized)
	case answers == "":
		http.Error(w, "No route found or no valid deployments to route to", http.StatusNotFound)
	default:
		fmt.Fprintf(w, "%s scored %s", answers, strings.TrimSpace(string(body)))
	}
}

// serve does what a cluster does with endpoints and deployments. An image with "broken" in its name is not to be had.
func (s *sim) serve(ctx context.Context, e link.Event) error {
	if strings.HasPrefix(e.Key, link.PrefixEndpoint) {
		var v link.Endpoint
		var spec v1alpha1.OnlineEndpointSpec
		if err := json.Unmarshal(e.Value, &v); err != nil {
			return err
		}
		if err := json.Unmarshal(v.Spec, &spec); err != nil {
			return err
		}
		s.router.mu.Lock()
		s.router.endpoints[v.Name] = spec
		s.router.mu.Unlock()
		return s.observe(ctx, map[string]any{e.Key: link.ServingStatus{Revision: v.Revision, State: link.ServingSucceeded}})
	}
	var v link.Deployment
	var spec v1alpha1.OnlineDeploymentSpec
	if err := json.Unmarshal(e.Value, &v); err != nil {
		return err
	}
	if err := json.Unmarshal(v.Spec, &spec); err != nil {
		return err
	}
	status := link.ServingStatus{Revision: v.Revision, State: link.ServingSucceeded, Replicas: spec.Scale.Min, ReadyReplicas: spec.Scale.Min}
	if strings.Contains(spec.Image, "broken") {
		status = link.ServingStatus{Revision: v.Revision, State: link.ServingFailed, Reason: "ImagePullLoopBackOff", Message: "inference-server: image " + spec.Image + " cannot be pulled"}
	} else if err := s.fetch(ctx, v, spec); err != nil {
		status = link.ServingStatus{Revision: v.Revision, State: link.ServingFailed, Reason: "ModelDownload", Message: err.Error()}
	}
	return s.observe(ctx, map[string]any{e.Key: status})
}

// fetch reads model and code with the deployment's token, as storage-initializer would.
func (s *sim) fetch(ctx context.Context, v link.Deployment, spec v1alpha1.OnlineDeploymentSpec) error {
	h := http.Header{"Authorization": {"Bearer " + v.Secret[v1alpha1.FetchToken]}, "X-Ms-Version": {"2021-12-02"}}
	for address, want := range map[string]string{spec.Model.URL + "model.txt": "weights", spec.Code.URL + "/" + spec.Code.ScoringScript: "def run"} {
		got, err := s.send(ctx, http.MethodGet, address, h, nil)
		if err != nil {
			return err
		}
		if !strings.Contains(string(got), want) {
			return fmt.Errorf("%s holds %q", address, got)
		}
	}
	return nil
}
