package cli

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/release"
)

// keyBits is the size of an agent's RSA key.
const keyBits = 4096

type connectFlags struct {
	target
	name, location, distribution, infrastructure string
	tags                                         []string
	install                                      AgentInstall
	proxyCert                                    string
	noWait                                       bool
	timeout                                      int
}

func (a *app) connectedk8sConnect() *cobra.Command {
	var f connectFlags
	c := a.leaf(&cobra.Command{
		Use: "connect", Short: "Connect a Kubernetes cluster",
		Long: `Connect the cluster of a kubeconfig: register it with a new key, install the agent in namespace azure-arc, and wait
until it is Connected. The cluster opens every connection itself.`,
		Example: `  fairlead connectedk8s connect --name C --resource-group G
  fairlead connectedk8s connect -n C -g G --kube-context edge --proxy-https http://proxy:3128 --proxy-skip-range 10.0.0.0/8,.svc
  fairlead connectedk8s connect -n C -g G --agent-image registry.example/fairlead/agent:1 --runtime-image registry.example/fairlead/runtime:1 \
    --image-pull-secret registry`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runConnect(cmd.Context(), f) },
	})
	a.addGroup(c, &f.target)
	a.addName(c, &f.name, "cluster", &f.target, nil, "")
	f.bindAgent(c)
	fs := c.Flags()
	fs.StringVarP(&f.location, "location", "l", "", "`location` (default: local)")
	multiVar(fs, &f.tags, "tags", "space-separated `key=value` tags")
	addNoWait(c, &f.noWait)
	return c
}

// bindAgent adds the flags that say which cluster the agent goes to and how it reaches out.
func (f *connectFlags) bindAgent(c *cobra.Command) {
	kubeFlags(c, &f.install.Kubeconfig, &f.install.Context)
	fs := c.Flags()
	fs.StringVar(&f.distribution, "distribution", "auto", "Kubernetes `distribution`")
	fs.StringVar(&f.infrastructure, "infrastructure", "auto", "`infrastructure` the cluster runs on")
	fs.StringVar(&f.install.HTTPSProxy, "proxy-https", "", "proxy `address` for https")
	fs.StringVar(&f.install.HTTPProxy, "proxy-http", "", "proxy `address` for http")
	fs.StringVar(&f.install.NoProxy, "proxy-skip-range", "", "comma-separated `ranges` not to be proxied")
	fs.StringVar(&f.proxyCert, "proxy-cert", "", "PEM `file` of the proxy's CA")
	fs.StringVar(&f.proxyCert, "custom-ca-cert", "", "same as --proxy-cert")
	fs.StringVar(&f.install.AgentImage, "agent-image", "", "`image` that holds fairlead-agent "+whichImage(release.AgentImage()))
	fs.StringVar(&f.install.RouterImage, "router-image", "", "`image` of the inference router "+whichImage(release.RouterImage()))
	fs.StringVar(&f.install.RuntimeImage, "runtime-image", "", "`image` that holds fairlead-runtime "+whichImage(release.RuntimeImage()))
	fs.StringVar(&f.install.PullSecret, "image-pull-secret", "", "`name` of a Secret for a private registry, in namespaces azure-arc, azureml and those of jobs")
	fs.IntVar(&f.timeout, "onboarding-timeout", 600, "`seconds` to wait for the agent")
}

func whichImage(build string) string {
	return "(default: what the cluster's nodes were given by 'fairlead up', else " + build + ")"
}

func (a *app) runConnect(ctx context.Context, f connectFlags) error {
	o, err := a.inspect(ctx, &f)
	if err != nil {
		return err
	}
	if err := o.session.refuseTaken(ctx, o.id); err != nil {
		return err
	}
	return a.register(ctx, o, f, tagValues(f.tags))
}

// onboarding is what is known before anything is changed.
type onboarding struct {
	session *session
	id      arm.ID
	facts   ClusterFacts
}

// inspect checks the flags and looks at the cluster.
func (a *app) inspect(ctx context.Context, f *connectFlags) (onboarding, error) {
	var o onboarding
	if err := a.inGroup(&f.target, need{"--name/-n", f.name}); err != nil {
		return o, err
	}
	if err := f.checkProxy(); err != nil {
		return o, err
	}
	if err := f.checkImages(); err != nil {
		return o, err
	}
	if a.deps.InstallAgent == nil {
		return o, fmt.Errorf("installing the agent: this build has no Helm; use the released fairlead program")
	}
	var err error
	if o.session, err = a.connect(); err != nil {
		return o, err
	}
	if o.id, err = o.session.clusterID(f.target, f.name); err != nil {
		return o, err
	}
	if o.facts, err = a.deps.InspectCluster(ctx, f.install.Kubeconfig, f.install.Context); err != nil {
		return o, hint(fmt.Errorf("reading the cluster: %w", err), "Choose a reachable cluster with --kube-config and --kube-context.")
	}
	facts := o.facts
	if err := o.session.refuseOther(ctx, o.id, facts.Agent); err != nil {
		return o, err
	}
	a.note("Kubernetes %s, %d nodes, distribution %s, infrastructure %s.", facts.Version, facts.Nodes, facts.Distribution, facts.Infrastructure)
	f.install.Distribution, f.install.Infrastructure = override(f.distribution, facts.Distribution), override(f.infrastructure, facts.Infrastructure)
	return o, nil
}

func override(flag, found string) string {
	if flag == "auto" || flag == "" {
		return found
	}
	return flag
}

// refuseTaken stops before a connected cluster's key is replaced.
func (s *session) refuseTaken(ctx context.Context, id arm.ID) error {
	got, err := s.get(ctx, id.String(), apiKubernetes)
	switch {
	case isNotFound(err):
		return nil
	case err != nil:
		return err
	case text(got, "properties", "connectivityStatus") == "Connected":
		return hint(fmt.Errorf("the connected cluster %q already exists and is connected", id.Name()),
			"Disconnect it with 'fairlead connectedk8s delete -n %s -g %s', or connect another cluster (--kube-context) under another --name.", id.Name(), id.ResourceGroup)
	}
	return nil
}

// refuseOther stops before a cluster that is another resource's is taken from it: its jobs and endpoints would be lost.
func (s *session) refuseOther(ctx context.Context, id arm.ID, agent string) error {
	if agent == "" || strings.EqualFold(agent, id.String()) {
		return nil
	}
	taken := fmt.Errorf("the cluster of the kubeconfig is already connected as %s", agent)
	other, err := arm.ParseID(agent)
	noun, api := "connectedk8s", apiKubernetes
	if strings.EqualFold(other.Type(), "Microsoft.ContainerService/managedClusters") {
		noun, api = "aks", apiManaged
	}
	if err == nil {
		_, err = s.get(ctx, agent, api)
	}
	if err != nil {
		return hint(taken, "This control plane does not have it (%v). Disconnect it in its own; where that is gone for good, 'kubectl delete namespace azure-arc' gives the cluster free, and the next agent removes the extensions that it finds.", err)
	}
	return hint(taken, "Go on with that name, or disconnect it first with 'fairlead %s delete -n %s -g %s'. For another cluster use --kube-config and --kube-context.", noun, other.Name(), other.ResourceGroup)
}

// register puts the resource with a new key, installs the agent with its private half and waits for it.
func (a *app) register(ctx context.Context, o onboarding, f connectFlags, tags any) error {
	s, id := o.session, o.id
	a.note("Generating the agent's key (RSA %d) …", keyBits)
	private, public, err := agentKey()
	if err != nil {
		return err
	}
	location := a.defaultLocation(f.location)
	body := map[string]any{
		"location": location, "tags": tags, "identity": map[string]any{"type": "SystemAssigned"},
		"properties": map[string]any{
			"agentPublicKeyCertificate": public, "distribution": f.install.Distribution, "infrastructure": f.install.Infrastructure,
			"kubernetesVersion": o.facts.Version,
		},
	}
	a.note("Registering %s …", f.name)
	if _, err := s.put(ctx, id.String(), apiKubernetes, body, true); err != nil {
		return err
	}
	in := f.install
	in.Endpoint, in.ClusterID, in.TenantID, in.SubscriptionID = s.Endpoint(), id.String(), s.profile.Tenant, id.Subscription
	in.ResourceGroup, in.ClusterName, in.Location, in.PrivateKeyPEM = id.ResourceGroup, id.Name(), location, private
	in.Timeout = time.Duration(f.timeout) * time.Second
	in.Progress = func(step string) { a.note("%s", step) }
	if s.profile.CAFile != "" {
		if in.CAPEM, err = os.ReadFile(s.profile.CAFile); err != nil {
			return fmt.Errorf("reading the control plane's CA: %w", err)
		}
	}
	if f.proxyCert != "" {
		if in.ProxyCAPEM, err = os.ReadFile(f.proxyCert); err != nil {
			return usagef("argument --proxy-cert: %v", err)
		}
	}
	a.note("Installing the agent in namespace azure-arc …")
	if err := a.deps.InstallAgent(ctx, in); err != nil {
		return hint(fmt.Errorf("installing the agent: %w", err), "The cluster is registered; fix the cause and run the same command again.")
	}
	return a.awaitConnected(ctx, s, id, in.Timeout, f.noWait)
}

func (a *app) awaitConnected(ctx context.Context, s *session, id arm.ID, limit time.Duration, noWait bool) error {
	began, last := a.deps.Now(), ""
	for {
		got, err := s.get(ctx, id.String(), apiKubernetes)
		if err != nil {
			return err
		}
		state := text(got, "properties", "connectivityStatus")
		if state == "Connected" || noWait {
			return a.print(flat(got), clusterColumns...)
		}
		if state != last {
			last = state
			a.note("Waiting for the agent to connect: %s …", state)
		}
		if a.deps.Now().Sub(began) > limit {
			return hint(fmt.Errorf("the agent did not connect within %s; the cluster is %s", limit, state),
				"Look at the agent: kubectl get pods -n azure-arc, and kubectl logs of its pod. The cluster must reach %s.", s.Endpoint())
		}
		if err := a.deps.Sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// agentKey makes a key pair: the private half as PKCS #1 PEM, the public half as base64 of its PKCS #1 form, as the
// reference's agentPublicKeyCertificate.
func agentKey() (private []byte, public string, err error) {
	key, err := rsa.GenerateKey(rand.Reader, keyBits)
	if err != nil {
		return nil, "", fmt.Errorf("generating the agent's key: %w", err)
	}
	private = pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return private, base64.StdEncoding.EncodeToString(x509.MarshalPKCS1PublicKey(&key.PublicKey)), nil
}

func (f connectFlags) checkImages() error {
	for flag, v := range map[string]string{"--agent-image": f.install.AgentImage, "--router-image": f.install.RouterImage, "--runtime-image": f.install.RuntimeImage} {
		if _, err := name.ParseReference(v); v != "" && err != nil {
			return usagef("argument %s: %q is not an image such as registry.example/fairlead/agent:1", flag, v)
		}
	}
	if v := f.install.PullSecret; v != "" && len(validation.IsDNS1123Subdomain(v)) > 0 {
		return usagef("argument --image-pull-secret: %q is not the name of a Secret; make one with 'kubectl create secret docker-registry'", v)
	}
	return nil
}

func (f connectFlags) checkProxy() error {
	for flag, v := range map[string]string{"--proxy-https": f.install.HTTPSProxy, "--proxy-http": f.install.HTTPProxy} {
		if u, err := url.Parse(v); v != "" && (err != nil || u.Host == "" || !strings.HasPrefix(u.Scheme, "http")) {
			return usagef("argument %s: %q is not an address such as http://proxy:3128", flag, v)
		}
	}
	if f.proxyCert != "" {
		data, err := os.ReadFile(f.proxyCert)
		if err != nil {
			return usagef("argument --proxy-cert: %v", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(data) {
			return usagef("argument --proxy-cert: %q holds no PEM certificate", f.proxyCert)
		}
	}
	return nil
}
