package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"fairlead.dev/fairlead/internal/release"
)

type aksFlags struct {
	target
	name, location, kubeconfig, context string
	agentImage, routerImage             string
	runtimeImage, secret                string
	httpsProxy, httpProxy, noProxy      string
	tags                                []string
	noWait                              bool
}

func (f *aksFlags) bind(a *app, c *cobra.Command) {
	a.addGroup(c, &f.target)
	a.addName(c, &f.name, "cluster", &f.target, managedClusters, apiManaged)
	kubeFlags(c, &f.kubeconfig, &f.context)
	fs := c.Flags()
	fs.StringVar(&f.agentImage, "agent-image", "", "`image` that holds fairlead-agent "+whichImage(release.AgentImage()))
	fs.StringVar(&f.routerImage, "router-image", "", "`image` of the inference router "+whichImage(release.RouterImage()))
	fs.StringVar(&f.runtimeImage, "runtime-image", "", "`image` that holds fairlead-runtime "+whichImage(release.RuntimeImage()))
	fs.StringVar(&f.secret, "image-pull-secret", "", "`name` of a Secret for a private registry")
	fs.StringVar(&f.httpsProxy, "proxy-https", "", "proxy `address` by which the cluster reaches the control plane")
	fs.StringVar(&f.httpProxy, "proxy-http", "", "proxy `address` for http")
	fs.StringVar(&f.noProxy, "proxy-skip-range", "", "comma-separated `ranges` not to be proxied")
	multiVar(fs, &f.tags, "tags", "space-separated `key=value` tags")
	addNoWait(c, &f.noWait)
}

func (a *app) aksCreate() *cobra.Command {
	var f aksFlags
	c := a.leaf(&cobra.Command{
		Use: "create", Short: "Register a cluster by a kubeconfig with which the control plane reaches it",
		Long: `Send the current context of a kubeconfig to the control plane, which installs the agent through it: nothing is installed from here.
The credentials must be in the kubeconfig or in files (not from a program), and have all rights in the cluster. They are kept
encrypted, and shown by 'aks get-credentials --admin' only.`,
		Example: `  fairlead aks create -n C -g G
  fairlead aks create -n C -g G --kube-config ./kubeconfig --kube-context prod`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runAKSCreate(cmd.Context(), f) },
	})
	f.bind(a, c)
	c.Flags().StringVarP(&f.location, "location", "l", "", "`location` (default: local)")
	return c
}

func (a *app) runAKSCreate(ctx context.Context, f aksFlags) error {
	s, id, err := a.managedTarget(&f.target, f.name)
	if err != nil {
		return err
	}
	text, err := readKubeconfig(f.kubeconfig, f.context)
	if err != nil {
		return err
	}
	props := map[string]any{"kubeconfig": text}
	f.into(props)
	a.note("The control plane installs the agent in namespace azure-arc and waits for it …")
	res, err := s.put(ctx, id.String(), apiManaged, map[string]any{"location": a.defaultLocation(f.location), "tags": tagValues(f.tags), "properties": props}, f.noWait)
	if err != nil {
		return err
	}
	return a.print(flat(res), managedColumns...)
}

func (a *app) aksUpdate() *cobra.Command {
	var f aksFlags
	c := a.leaf(&cobra.Command{
		Use: "update", Short: "Change the credentials, the images or the proxy of a managed cluster",
		Long: `Give the control plane new credentials of the same cluster, or install its agent anew with other images or another proxy. What is
not given stays. Running jobs go on.`,
		Example: `  fairlead aks update -n C -g G --kube-config ./kubeconfig
  fairlead aks update -n C -g G --agent-image registry.example/fairlead/agent:2`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runAKSUpdate(cmd.Context(), f) },
	})
	f.bind(a, c)
	return c
}

func (a *app) runAKSUpdate(ctx context.Context, f aksFlags) error {
	s, id, err := a.managedTarget(&f.target, f.name)
	if err != nil {
		return err
	}
	got, err := s.get(ctx, id.String(), apiManaged)
	if err != nil {
		return err
	}
	props := map[string]any{"agentProfile": sub(got, "properties")["agentProfile"], "httpProxyConfig": sub(got, "properties")["httpProxyConfig"]}
	if f.kubeconfig != "" || f.context != "" {
		if props["kubeconfig"], err = readKubeconfig(f.kubeconfig, f.context); err != nil {
			return err
		}
	}
	if !f.into(props) && props["kubeconfig"] == nil && len(f.tags) == 0 {
		return usagef("nothing to change: give --kube-config, --agent-image, --router-image, --runtime-image, --image-pull-secret, --proxy-https, --proxy-http or --tags")
	}
	body := map[string]any{"location": got["location"], "tags": got["tags"], "properties": props}
	if len(f.tags) > 0 {
		body["tags"] = tagValues(f.tags)
	}
	res, err := s.put(ctx, id.String(), apiManaged, body, f.noWait)
	if err != nil {
		return err
	}
	return a.print(flat(res), managedColumns...)
}

// into puts images and proxy into a cluster's properties, over those that are there, and reports whether any was given.
func (f aksFlags) into(props map[string]any) bool {
	given := false
	set := func(in string, values map[string]any) {
		old := sub(props, in)
		for k, v := range values {
			if v != "" {
				old, given = withField(old, k, v), true
			}
		}
		if old != nil {
			props[in] = old
		} else {
			delete(props, in)
		}
	}
	set("agentProfile", map[string]any{"agentImage": f.agentImage, "routerImage": f.routerImage, "runtimeImage": f.runtimeImage, "imagePullSecret": f.secret})
	set("httpProxyConfig", map[string]any{"httpsProxy": f.httpsProxy, "httpProxy": f.httpProxy})
	if f.noProxy != "" {
		props["httpProxyConfig"] = withField(sub(props, "httpProxyConfig"), "noProxy", strings.Split(f.noProxy, ","))
		given = true
	}
	return given
}

func withField(m map[string]any, key string, v any) map[string]any {
	if m == nil {
		m = map[string]any{}
	}
	m[key] = v
	return m
}

// readKubeconfig is one context of a kubeconfig, with the files that it names put in.
func readKubeconfig(file, kubeContext string) (string, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = file
	c, err := rules.Load()
	if err != nil {
		return "", usagef("argument --kube-config: %v", err)
	}
	if kubeContext != "" {
		c.CurrentContext = kubeContext
	}
	if err := api.MinifyConfig(c); err != nil {
		return "", hint(fmt.Errorf("reading the kubeconfig: %w", err), "Choose a context with --kube-context.")
	}
	if err := api.FlattenConfig(c); err != nil {
		return "", fmt.Errorf("reading the files that the kubeconfig names: %w", err)
	}
	out, err := clientcmd.Write(*c)
	return string(out), err
}
