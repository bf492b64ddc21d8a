// Package agentinstall installs the agent into a cluster that the caller's kubeconfig reaches: what `connectedk8s connect` does on
// the cluster's side, and `connectedk8s delete` undoes.
package agentinstall

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"fairlead.dev/fairlead/charts"
	"fairlead.dev/fairlead/internal/cluster/extension"
	"fairlead.dev/fairlead/internal/cluster/extension/helm"
)

// Namespace and Release are where the agent is installed and under which name.
const (
	Namespace = "azure-arc"
	Release   = "azure-arc"
)

// defaultWait is how long Install waits for the agent when Options.Wait is 0.
const defaultWait = 5 * time.Minute

// Options says into which cluster and as whom.
type Options struct {
	// Kubeconfig is a file's path; empty means $KUBECONFIG or ~/.kube/config. Context empty means the current one.
	Kubeconfig, Context string
	// Endpoint is the control plane's URL, CA the PEM bundle that verifies it (may be empty).
	Endpoint string
	CA       []byte
	// ClusterID is the connected cluster's resource id; PrivateKeyPEM the key whose public half was registered with it.
	ClusterID, TenantID string
	PrivateKeyPEM       []byte
	// ProxyHTTPS, ProxyHTTP and ProxySkipRange are given to the agent; ProxyCert is the PEM of the proxy's own CA.
	ProxyHTTPS, ProxyHTTP, ProxySkipRange string
	ProxyCert                             []byte
	// AgentImage and RuntimeImage replace the chart's when not empty.
	AgentImage, RuntimeImage string
	// NoWait returns once the agent's objects are applied; otherwise Wait bounds the wait for its pod (0: 5 minutes).
	NoWait bool
	Wait   time.Duration
	// Progress is told each step; nil tells nobody.
	Progress func(string)
	Log      *slog.Logger
}

// Install installs the agent, or upgrades the one that is there. The error of an agent that does not start says why.
func Install(ctx context.Context, o Options) error {
	o = o.withDefaults()
	config, kube, err := connect(o)
	if err != nil {
		return err
	}
	chart, err := helm.LoadChart(charts.FS, charts.Agent)
	if err != nil {
		return err
	}
	client := helm.New(config, o.Log)
	request := helm.Request{Namespace: Namespace, Name: Release, Chart: chart, Values: o.values(), CreateNamespace: true}
	if err := apply(ctx, client, request, o.Progress); err != nil {
		return err
	}
	if o.NoWait {
		return nil
	}
	o.Progress("Waiting for the agent's pod")
	if err := extension.WaitReady(ctx, kube, Namespace, Release, o.Wait, o.Progress); err != nil {
		return fmt.Errorf("the agent does not start in namespace %s: %w", Namespace, err)
	}
	o.Progress("The agent is running")
	return nil
}

// apply installs or upgrades, over whatever an interrupted attempt left.
func apply(ctx context.Context, client *helm.Client, r helm.Request, progress func(string)) error {
	last, err := client.Last(r.Namespace, r.Name)
	if err != nil {
		return err
	}
	switch {
	case last != nil && last.DeployedBefore:
		if last.Status != helm.StatusDeployed && last.Status != helm.StatusFailed {
			if err := client.SetStatus(r.Namespace, r.Name, helm.StatusFailed); err != nil {
				return err
			}
		}
		progress(fmt.Sprintf("Upgrading the agent (Helm release %s in namespace %s)", r.Name, r.Namespace))
		err = client.Upgrade(ctx, r)
	default:
		if last != nil {
			if err := client.Uninstall(r.Namespace, r.Name); err != nil {
				return fmt.Errorf("cleaning up an unfinished installation: %w", err)
			}
		}
		progress(fmt.Sprintf("Installing the agent (Helm release %s in namespace %s)", r.Name, r.Namespace))
		err = client.Install(ctx, r)
	}
	if err != nil {
		return fmt.Errorf("installing the agent: %w", err)
	}
	return nil
}

// Uninstall takes the agent out of the cluster, with its namespace. Extensions that it installed stay and go on working with
// what they have; deleting them first, through the control plane, removes them. A cluster without an agent is no error.
func Uninstall(ctx context.Context, o Options) error {
	o = o.withDefaults()
	config, kube, err := connect(o)
	if err != nil {
		return err
	}
	o.Progress("Removing the agent")
	if err := helm.New(config, o.Log).Uninstall(Namespace, Release); err != nil {
		return fmt.Errorf("removing the agent: %w", err)
	}
	namespaces := kube.CoreV1().Namespaces()
	if err := namespaces.Delete(ctx, Namespace, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting namespace %s: %w", Namespace, err)
	}
	if o.NoWait {
		return nil
	}
	o.Progress("Waiting for namespace " + Namespace + " to be gone")
	return waitGone(ctx, kube, o.Wait)
}

func waitGone(ctx context.Context, kube kubernetes.Interface, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		var ns *corev1.Namespace
		ns, err := kube.CoreV1().Namespaces().Get(ctx, Namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		select {
		case <-ctx.Done():
			if err == nil {
				err = fmt.Errorf("namespace %s is still %s", ns.Name, ns.Status.Phase)
			}
			return fmt.Errorf("waiting for namespace %s to be gone: %w", Namespace, errors.Join(ctx.Err(), err))
		case <-tick.C:
		}
	}
}

func (o Options) withDefaults() Options {
	if o.Wait == 0 {
		o.Wait = defaultWait
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) values() map[string]any {
	image := map[string]any{}
	if o.AgentImage != "" {
		image["agent"] = o.AgentImage
	}
	if o.RuntimeImage != "" {
		image["runtime"] = o.RuntimeImage
	}
	return map[string]any{
		"global": map[string]any{
			"endpoint": o.Endpoint, "caCert": string(o.CA), "clusterId": o.ClusterID, "tenantId": o.TenantID,
			"onboardingPrivateKey": string(o.PrivateKeyPEM),
		},
		"proxy": map[string]any{"https": o.ProxyHTTPS, "http": o.ProxyHTTP, "skipRange": o.ProxySkipRange, "cert": string(o.ProxyCert)},
		"image": image,
	}
}

func connect(o Options) (*rest.Config, kubernetes.Interface, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context})
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, nil, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	config.QPS, config.Burst = 50, 100
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, fmt.Errorf("making a Kubernetes client: %w", err)
	}
	return config, kube, nil
}
