// Package agentinstall installs the agent into a cluster that the caller's kubeconfig reaches: what `connectedk8s connect` does on
// the cluster's side, and `connectedk8s delete` undoes.
package agentinstall

import (
	"cmp"
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
	"fairlead.dev/fairlead/internal/release"
)

// Namespace and Release are where the agent is installed and under which name.
const (
	Namespace = "azure-arc"
	Release   = "azure-arc"
)

// defaultWait is how long Install waits for the agent when Options.Wait is 0.
const defaultWait = 5 * time.Minute

// formerWait bounds the wait for the end of a former agent's namespace.
const formerWait = 90 * time.Second

// Options says into which cluster and as whom.
type Options struct {
	// Kubeconfig is a file's path; empty means $KUBECONFIG or ~/.kube/config. Context empty means the current one.
	Kubeconfig, Context string
	// KubeconfigData is a kubeconfig that somebody else sent, in place of a file.
	KubeconfigData []byte
	// Endpoint is the control plane's URL, CA the PEM bundle that verifies it (may be empty).
	Endpoint string
	CA       []byte
	// ClusterID is the connected cluster's resource id; PrivateKeyPEM the key whose public half was registered with it.
	ClusterID, TenantID string
	PrivateKeyPEM       []byte
	// Proxy is how the agent reaches out; nil means directly.
	Proxy *Proxy
	// AgentImage, RouterImage and RuntimeImage are, when empty, those that the cluster was given, or else those of this build. PullSecret names a
	// Secret, in the namespaces that need it, for images of a private registry.
	AgentImage, RouterImage, RuntimeImage, PullSecret string
	// Update keeps what the agent that is there was installed with: its proxy if Proxy is nil, images and PullSecret that are empty,
	// and values that only Helm was given.
	Update bool
	// NoWait returns once the agent's objects are applied; otherwise Wait bounds the wait for its pod (0: 5 minutes).
	NoWait bool
	Wait   time.Duration
	// Progress is told each step; nil tells nobody.
	Progress func(string)
	Log      *slog.Logger
}

// Proxy is an outbound proxy.
type Proxy struct {
	HTTPS, HTTP, SkipRange string
	// Cert is the PEM of the proxy's own CA.
	Cert []byte
}

// Install installs the agent, or upgrades the one that is there. The error of an agent that does not start says why; that of a cluster
// which is another resource's is a *TakenError.
func Install(ctx context.Context, o Options) error {
	o = o.withDefaults()
	config, kube, err := connect(o)
	if err != nil {
		return err
	}
	if err := o.awaitFormer(ctx, kube); err != nil {
		return err
	}
	client := helm.New(config, o.Log)
	last, err := client.Last(Namespace, Release)
	if err != nil {
		return err
	}
	if err := o.refuseOther(last); err != nil {
		return err
	}
	given, err := clusterImages(ctx, kube)
	if err != nil {
		return err
	}
	return o.deploy(ctx, kube, client, last, o.values(last, given))
}

// awaitFormer waits until the namespace of an agent that was removed a moment ago is gone: nothing can be made in it.
func (o Options) awaitFormer(ctx context.Context, kube kubernetes.Interface) error {
	ns, err := kube.CoreV1().Namespaces().Get(ctx, Namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && ns.DeletionTimestamp == nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading namespace %s: %w", Namespace, err)
	}
	o.Progress("Waiting for namespace " + Namespace + " of a former agent to be gone")
	return waitGone(ctx, kube, min(o.Wait, formerWait))
}

// deploy makes a release of the agent with the given values, over the last one if there is one, and waits for its pod.
func (o Options) deploy(ctx context.Context, kube kubernetes.Interface, client *helm.Client, last *helm.Release, values map[string]any) error {
	chart, err := helm.LoadChart(charts.FS, charts.Agent)
	if err != nil {
		return err
	}
	request := helm.Request{Namespace: Namespace, Name: Release, Chart: chart, Values: values, CreateNamespace: true}
	if err := apply(ctx, client, last, request, o.Progress); err != nil {
		return err
	}
	if o.NoWait {
		return nil
	}
	o.Progress("Waiting for the agent's pod")
	if err := extension.WaitReady(ctx, kube, Namespace, Release, o.Wait, explainPulls(o.Progress, values)); err != nil {
		return fmt.Errorf("the agent does not start in namespace %s: %w", Namespace, err)
	}
	o.Progress("The agent is running")
	return nil
}

// apply installs or upgrades, over whatever an interrupted attempt left.
func apply(ctx context.Context, client *helm.Client, last *helm.Release, r helm.Request, progress func(string)) error {
	var err error
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
// what they have; deleting them first, through the control plane, removes them. A cluster without an agent is no error, nor is one with
// the agent of another resource than ClusterID, which stays.
func Uninstall(ctx context.Context, o Options) error {
	o = o.withDefaults()
	config, kube, err := connect(o)
	if err != nil {
		return err
	}
	client := helm.New(config, o.Log)
	last, err := client.Last(Namespace, Release)
	if err != nil {
		return err
	}
	if err := o.refuseOther(last); err != nil && o.ClusterID != "" {
		o.Progress("The agent stays: " + err.Error())
		return nil
	}
	o.Progress("Removing the agent")
	if err := client.Uninstall(Namespace, Release); err != nil {
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

// values are the chart's, laid over those of the last release in an update. given are the images that the cluster was given.
func (o Options) values(last *helm.Release, given images) map[string]any {
	values, old := map[string]any{}, images{}
	if o.Update && last != nil {
		values, old = copied(last.Values), imagesOf(last.Values)
	}
	values["global"] = map[string]any{
		"endpoint": o.Endpoint, "caCert": string(o.CA), "clusterId": o.ClusterID, "tenantId": o.TenantID,
		"onboardingPrivateKey": string(o.PrivateKeyPEM),
	}
	if p := o.Proxy; p != nil {
		values["proxy"] = map[string]any{"https": p.HTTPS, "http": p.HTTP, "skipRange": p.SkipRange, "cert": string(p.Cert)}
	}
	want := images{
		Agent:      cmp.Or(o.AgentImage, old.Agent, given.Agent, release.AgentImage()),
		Router:     cmp.Or(o.RouterImage, old.Router, given.Router, release.RouterImage()),
		Runtime:    cmp.Or(o.RuntimeImage, old.Runtime, given.Runtime, release.RuntimeImage()),
		PullSecret: cmp.Or(o.PullSecret, old.PullSecret),
	}
	return want.over(values)
}

// config is the way to the cluster.
func (o Options) config() (*rest.Config, error) {
	if o.KubeconfigData != nil {
		return fromData(o.KubeconfigData)
	}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: o.Context}).ClientConfig()
}

func connect(o Options) (*rest.Config, kubernetes.Interface, error) {
	config, err := o.config()
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
