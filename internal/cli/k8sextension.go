package cli

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
)

var extensionColumns = cols("Name=name", "ExtensionType=extensionType", "Version=version", "ProvisioningState=provisioningState",
	"InstallState=installState", "AutoUpgradeMinorVersion=autoUpgradeMinorVersion")

func (a *app) k8sExtension() *cobra.Command {
	return noun("k8s-extension", "Deploy extensions to clusters",
		a.k8sExtensionCreate(), a.k8sExtensionShow(), a.k8sExtensionList(), a.k8sExtensionUpdate(), a.k8sExtensionDelete())
}

// extensionTarget names a cluster, and perhaps an extension on it.
type extensionTarget struct {
	target
	clusterType, clusterName, name string
}

func (a *app) extensionFlags(c *cobra.Command, t *extensionTarget, named bool) {
	a.addGroup(c, &t.target)
	fs := c.Flags()
	fs.StringVarP(&t.clusterType, "cluster-type", "t", "", "`type` of the cluster: connectedClusters or managedClusters")
	fs.StringVarP(&t.clusterName, "cluster-name", "c", "", "`name` of the cluster")
	_ = c.RegisterFlagCompletionFunc("cluster-type", cobra.FixedCompletions([]string{"connectedClusters", "managedClusters"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("cluster-name", a.complete(clustersPath, &t.target, apiKubernetes))
	if named {
		a.addName(c, &t.name, "extension", &t.target, nil, "")
	}
}

// cluster checks the flags and gives the cluster's id.
func (a *app) cluster(t *extensionTarget, named bool) (*session, arm.ID, error) {
	needs := []need{{"--cluster-name/-c", t.clusterName}, {"--cluster-type/-t", t.clusterType}}
	if named {
		needs = append([]need{{"--name/-n", t.name}}, needs...)
	}
	if err := a.inGroup(&t.target, needs...); err != nil {
		return nil, arm.ID{}, err
	}
	namespace, typ := "Microsoft.Kubernetes", "connectedClusters"
	switch strings.ToLower(t.clusterType) {
	case "connectedclusters":
	case "managedclusters":
		namespace, typ = "Microsoft.ContainerService", "managedClusters"
	default:
		return nil, arm.ID{}, usagef("argument --cluster-type/-t: invalid choice: %q (choose from connectedClusters, managedClusters)", t.clusterType)
	}
	s, err := a.connect()
	if err != nil {
		return nil, arm.ID{}, err
	}
	g, err := s.groupID(t.target)
	if err != nil {
		return nil, arm.ID{}, err
	}
	id, err := resourceID(g, namespace, typ, t.clusterName)
	return s, id, err
}

func extensionsPath(cluster arm.ID) string {
	return cluster.String() + "/providers/Microsoft.KubernetesConfiguration/extensions"
}

func extensionPath(cluster arm.ID, name string) (string, error) {
	id, err := resourceID(cluster, "Microsoft.KubernetesConfiguration", "extensions", name)
	return id.String(), err
}

// extensionShape is the flat form of the reference, which also answers with installState.
func extensionShape(r map[string]any) map[string]any {
	out := flat(r)
	if _, ok := out["installState"]; !ok {
		switch text(out, "provisioningState") {
		case "Succeeded":
			out["installState"] = "Installed"
		case "Failed", "Canceled":
			out["installState"] = "Failed"
		default:
			out["installState"] = "Pending"
		}
	}
	return out
}

func (a *app) k8sExtensionShow() *cobra.Command {
	var t extensionTarget
	c := a.leaf(&cobra.Command{
		Use: "show", Short: "Show an extension and its install state",
		Example: "  fairlead k8s-extension show -n arcml -c C -t connectedClusters -g G --query installState -o tsv",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, cluster, err := a.cluster(&t, true)
			if err != nil {
				return err
			}
			path, err := extensionPath(cluster, t.name)
			if err != nil {
				return err
			}
			got, err := s.get(cmd.Context(), path, apiExtension)
			if err != nil {
				return err
			}
			return a.print(extensionShape(got), extensionColumns...)
		},
	})
	a.extensionFlags(c, &t, true)
	return c
}

func (a *app) k8sExtensionList() *cobra.Command {
	var t extensionTarget
	c := a.leaf(&cobra.Command{
		Use: "list", Short: "List a cluster's extensions", Example: "  fairlead k8s-extension list -c C -t connectedClusters -g G -o table",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, cluster, err := a.cluster(&t, false)
			if err != nil {
				return err
			}
			items, err := s.List(cmd.Context(), extensionsPath(cluster), url.Values{"api-version": {apiExtension}}, 0)
			if err != nil {
				return err
			}
			for i := range items {
				items[i] = extensionShape(items[i])
			}
			return a.print(items, extensionColumns...)
		},
	})
	a.extensionFlags(c, &t, false)
	return c
}

func (a *app) k8sExtensionDelete() *cobra.Command {
	var t extensionTarget
	var yes, force, noWait bool
	c := a.leaf(&cobra.Command{
		Use: "delete", Short: "Remove an extension from its cluster", Example: "  fairlead k8s-extension delete -n arcml -c C -t connectedClusters -g G --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, cluster, err := a.cluster(&t, true)
			if err != nil {
				return err
			}
			path, err := extensionPath(cluster, t.name)
			if err != nil {
				return err
			}
			if err := a.confirm(yes, "Are you sure you want to delete the extension '"+t.name+"' from the cluster '"+t.clusterName+"'?"); err != nil {
				return err
			}
			q := url.Values{}
			if force {
				q.Set("forceDelete", "true")
			}
			return s.remove(cmd.Context(), path, apiExtension, q, noWait)
		},
	})
	a.extensionFlags(c, &t, true)
	c.Flags().BoolVar(&force, "force", false, "delete the resource even when the cluster does not answer")
	addYes(c, &yes)
	addNoWait(c, &noWait)
	return c
}

type extensionUpdateFlags struct {
	extensionTarget
	config, protected                []string
	version, releaseTrain, autoMinor string
	yes, noWait                      bool
}

func (a *app) k8sExtensionUpdate() *cobra.Command {
	var f extensionUpdateFlags
	c := a.leaf(&cobra.Command{
		Use: "update", Short: "Change an extension's settings or version",
		Long:    `Change an extension. Settings that are given are merged into those it has; protected settings are replaced as a whole.`,
		Example: "  fairlead k8s-extension update -n arcml -c C -t connectedClusters -g G --config enableInference=True allowInsecureConnections=True --yes",
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runExtensionUpdate(cmd.Context(), f) },
	})
	a.extensionFlags(c, &f.extensionTarget, true)
	configFlags(c, &f.config, &f.protected)
	c.Flags().StringVar(&f.version, "version", "", "`version` to pin to")
	c.Flags().StringVar(&f.releaseTrain, "release-train", "", "release `train`")
	c.Flags().StringVar(&f.autoMinor, "auto-upgrade-minor-version", "", "`true` or false: follow minor versions")
	addYes(c, &f.yes)
	addNoWait(c, &f.noWait)
	return c
}

func (a *app) runExtensionUpdate(ctx context.Context, f extensionUpdateFlags) error {
	settings, protected, err := a.extensionSettings(f.config, f.protected)
	if err != nil {
		return err
	}
	props := map[string]any{}
	if err := versionProps(props, f.version, f.releaseTrain, f.autoMinor); err != nil {
		return err
	}
	if len(settings) > 0 {
		props["configurationSettings"] = settings
	}
	if len(protected) > 0 {
		props["configurationProtectedSettings"] = protected
	}
	if len(props) == 0 {
		return usagef("nothing to change: give --config, --config-protected, --version, --release-train or --auto-upgrade-minor-version")
	}
	s, cluster, err := a.cluster(&f.extensionTarget, true)
	if err != nil {
		return err
	}
	path, err := extensionPath(cluster, f.name)
	if err != nil {
		return err
	}
	if what := impact(settings); what != "" {
		if err := a.confirm(f.yes, "The following configuration update will IMPACT your active Machine Learning workload: "+what+". Proceed?"); err != nil {
			return err
		}
	}
	got, err := s.send(ctx, http.MethodPatch, path, apiExtension, map[string]any{"properties": props}, f.noWait, "Updating")
	if err != nil {
		return err
	}
	return a.print(extensionShape(got), extensionColumns...)
}

// impact names the settings of an update that disturb running jobs or endpoints.
func impact(settings map[string]string) string {
	var out []string
	for _, k := range []string{"enableTraining", "enableInference", "installNvidiaDevicePlugin"} {
		if strings.EqualFold(settings[k], "false") {
			out = append(out, k+"=False")
		}
	}
	for _, k := range []string{"allowInsecureConnections", "inferenceRouterServiceType", "internalLoadBalancerProvider", "sslCname"} {
		if v, ok := settings[k]; ok {
			out = append(out, k+"="+v)
		}
	}
	return strings.Join(out, ", ")
}
