package cli

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// ClusterFacts are what a cluster says of itself.
type ClusterFacts struct {
	Version, Distribution, Infrastructure string
	Nodes                                 int
	// Agent is the resource id of the cluster whose agent is in it, "" without one.
	Agent string
}

// nodeFacts are the parts of a node that tell where it runs.
type nodeFacts struct {
	Metadata struct {
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		ProviderID string `json:"providerID"`
	} `json:"spec"`
}

// inspectCluster asks the API server of a kubeconfig for its version, nodes and kind.
func inspectCluster(ctx context.Context, kubeconfig, kubeContext string) (ClusterFacts, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	cfg, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: kubeContext}).ClientConfig()
	if err != nil {
		return ClusterFacts{}, err
	}
	cfg.Timeout = 20 * time.Second
	hc, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return ClusterFacts{}, err
	}
	host := strings.TrimRight(cfg.Host, "/")
	if !strings.Contains(host, "://") {
		host = "https://" + host
	}
	var v struct {
		GitVersion string `json:"gitVersion"`
	}
	if err := kubeGet(ctx, hc, host+"/version", &v); err != nil {
		return ClusterFacts{}, err
	}
	var nodes struct {
		Items []nodeFacts `json:"items"`
	}
	if err := kubeGet(ctx, hc, host+"/api/v1/nodes?limit=500", &nodes); err != nil {
		return ClusterFacts{}, err
	}
	agent, err := agentOf(ctx, hc, host)
	if err != nil {
		return ClusterFacts{}, err
	}
	openshift := kubeGet(ctx, hc, host+"/apis/security.openshift.io/v1", &struct{}{}) == nil
	f := detect(v.GitVersion, openshift, nodes.Items)
	f.Nodes, f.Agent = len(nodes.Items), agent
	return f, nil
}

// detect tells distribution and infrastructure from version, labels and provider ids; "generic" when nothing speaks.
func detect(version string, openshift bool, nodes []nodeFacts) ClusterFacts {
	f := ClusterFacts{Version: strings.TrimPrefix(version, "v"), Distribution: "generic", Infrastructure: "generic"}
	for mark, name := range map[string]string{"+k3s": "k3s", "+rke2": "rke2", "-gke.": "gke", "-eks-": "eks", "+vmware": "tkg"} {
		if strings.Contains(version, mark) {
			f.Distribution = name
		}
	}
	for _, n := range nodes {
		for k := range n.Metadata.Labels {
			switch {
			case strings.HasPrefix(k, "kubernetes.azure.com/"):
				f.Distribution = "aks"
			case strings.HasPrefix(k, "minikube.k8s.io/"):
				f.Distribution = "minikube"
			case strings.HasPrefix(k, "eks.amazonaws.com/"):
				f.Distribution = "eks"
			case strings.HasPrefix(k, "microk8s.io/"):
				f.Distribution = "microk8s"
			}
		}
		scheme, _, _ := strings.Cut(n.Spec.ProviderID, ":")
		switch scheme {
		case "kind":
			f.Distribution = "kind"
		case "azure", "aws", "vsphere", "openstack":
			f.Infrastructure = scheme
		case "gce":
			f.Infrastructure = "gcp"
		}
	}
	if openshift {
		f.Distribution = "openshift"
	}
	return f
}

// agentOf reads what the agent that is there was told.
func agentOf(ctx context.Context, hc *http.Client, host string) (string, error) {
	var config struct {
		Data struct {
			ClusterID string `json:"clusterId"`
		} `json:"data"`
	}
	err := kubeGet(ctx, hc, host+"/api/v1/namespaces/azure-arc/configmaps/azure-clusterconfig", &config)
	if failed, ok := errors.AsType[*kubeError](err); ok && failed.code == http.StatusNotFound {
		return "", nil
	}
	return config.Data.ClusterID, err
}

// kubeError is an answer of the API server that is none.
type kubeError struct {
	url, status string
	code        int
}

// Error implements error.
func (e *kubeError) Error() string { return e.url + ": " + e.status }

func kubeGet(ctx context.Context, hc *http.Client, url string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	res, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return &kubeError{url: url, status: res.Status, code: res.StatusCode}
	}
	return json.Unmarshal(body, out)
}
