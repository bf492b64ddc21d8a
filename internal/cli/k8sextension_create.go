package cli

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/extensionsettings"
)

const mlExtensionType = "Microsoft.AzureML.Kubernetes"

type extensionCreateFlags struct {
	extensionTarget
	extensionType, scope, releaseNamespace, targetNamespace string
	version, releaseTrain, autoMinor                        string
	settings                                                settingsFlags
	noWait                                                  bool
}

func (a *app) k8sExtensionCreate() *cobra.Command {
	var f extensionCreateFlags
	c := a.leaf(&cobra.Command{
		Use: "create", Short: "Deploy an extension to a cluster",
		Long: "Deploy an extension to a cluster.\n\n" + extensionsettings.Help() + "\nThose that clients add by themselves, and what goes together: docs/guides/extension-settings.md.",
		Example: `  fairlead k8s-extension create --name arcml --extension-type Microsoft.AzureML.Kubernetes --config enableTraining=True \
    --cluster-type connectedClusters --cluster-name C --resource-group G --scope cluster
  fairlead k8s-extension create --name arcml --extension-type Microsoft.AzureML.Kubernetes --cluster-type connectedClusters --cluster-name C \
    --config enableTraining=True logAnalyticsWS=True nodeSelector.pool=ml --resource-group G --scope cluster`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runExtensionCreate(cmd.Context(), f) },
	})
	a.extensionFlags(c, &f.extensionTarget, true)
	f.settings.register(c)
	fs := c.Flags()
	fs.StringVar(&f.extensionType, "extension-type", "", "`type`, Microsoft.AzureML.Kubernetes")
	fs.StringVar(&f.scope, "scope", "cluster", "`scope`: cluster")
	fs.StringVar(&f.releaseNamespace, "release-namespace", "", "`namespace` of the release (default: azureml)")
	fs.StringVar(&f.targetNamespace, "target-namespace", "", "refused: the extension is installed at cluster scope")
	fs.StringVar(&f.version, "version", "", "`version` to pin to, with --auto-upgrade-minor-version false")
	fs.StringVar(&f.releaseTrain, "release-train", "", "release `train` (default: stable)")
	fs.StringVar(&f.autoMinor, "auto-upgrade-minor-version", "", "`true` (default) or false: follow minor versions")
	fs.StringVar(&f.autoMinor, "auto-upgrade", "", "same as --auto-upgrade-minor-version")
	addNoWait(c, &f.noWait)
	return c
}

func (a *app) runExtensionCreate(ctx context.Context, f extensionCreateFlags) error {
	if err := require(need{"--extension-type", f.extensionType}); err != nil {
		return err
	}
	switch strings.ToLower(f.scope) {
	case "cluster":
		if f.targetNamespace != "" {
			return usagef("When --scope is 'cluster', --target-namespace must not be given.")
		}
	case "namespace":
		return usagef("Invalid scope '%s'. This extension can be installed only at 'cluster' scope.", f.scope)
	default:
		return usagef("argument --scope: invalid choice: %q (choose from cluster)", f.scope)
	}
	if !strings.EqualFold(f.extensionType, mlExtensionType) {
		return usagef("argument --extension-type: %q is not known; there is %s", f.extensionType, mlExtensionType)
	}
	settings, err := a.readSettings(f.settings)
	if err != nil {
		return err
	}
	if err := errors.Join(a.checkSettings(settings, settings, extensionsettings.Options{}), versionProps(map[string]any{}, f.version, f.releaseTrain, f.autoMinor)); err != nil {
		return err
	}
	s, cluster, err := a.cluster(&f.extensionTarget, true)
	if err != nil {
		return err
	}
	return a.createExtension(ctx, s, cluster, f, settings)
}

func (a *app) createExtension(ctx context.Context, s *session, cluster arm.ID, f extensionCreateFlags, settings extensionsettings.Settings) error {
	path, err := extensionPath(cluster, f.name)
	if err != nil {
		return err
	}
	got, err := s.get(ctx, cluster.String(), apiKubernetes)
	if isNotFound(err) && strings.EqualFold(f.clusterType, "managedClusters") {
		return hint(err, "Register the cluster first: 'fairlead aks create --name %s --resource-group %s'.", f.clusterName, f.group)
	} else if isNotFound(err) {
		return hint(err, "Connect the cluster first: 'fairlead connectedk8s connect --name %s --resource-group %s'.", f.clusterName, f.group)
	} else if err != nil {
		return err
	}
	a.adapt(settings, got)
	ns := f.releaseNamespace
	if ns == "" {
		ns = "azureml"
	}
	props := map[string]any{
		"extensionType": f.extensionType, "autoUpgradeMinorVersion": true, "releaseTrain": "stable",
		"scope":                          map[string]any{"cluster": map[string]any{"releaseNamespace": ns}},
		"configurationSettings":          settings.Plain,
		"configurationProtectedSettings": settings.Protected,
	}
	if err := versionProps(props, f.version, f.releaseTrain, f.autoMinor); err != nil {
		return err
	}
	body := map[string]any{"identity": map[string]any{"type": "SystemAssigned"}, "properties": props}
	res, err := s.put(ctx, path, apiExtension, body, f.noWait)
	if err != nil {
		return err
	}
	return a.print(extensionShape(res), extensionColumns...)
}

// adapt sets what follows from the cluster: one router on small clusters, OpenShift where it is one.
func (a *app) adapt(settings extensionsettings.Settings, cluster map[string]any) {
	nodes, known := sub(cluster, "properties")["totalNodeCount"].(float64)
	ha := settings.Plain["inferenceRouterHA"] + settings.Plain["inferenceLoadBalancerHA"]
	if settings.On("enableInference") && known && nodes > 0 && nodes < 3 && ha == "" {
		settings.Plain["inferenceRouterHA"] = "False"
		a.warn("the cluster has %d nodes, fewer than 3: the inference router gets one replica (inferenceRouterHA=False)", int(nodes))
	}
	if strings.EqualFold(text(cluster, "properties", "distribution"), "openshift") && settings.Plain["openshift"] == "" {
		settings.Plain["openshift"] = "True"
	}
}

func versionProps(props map[string]any, version, train, autoMinor string) error {
	if train != "" {
		props["releaseTrain"] = train
	}
	auto := true
	if autoMinor != "" {
		v, err := strconv.ParseBool(strings.ToLower(autoMinor))
		if err != nil {
			return usagef("argument --auto-upgrade-minor-version: %q is not true or false", autoMinor)
		}
		auto = v
		props["autoUpgradeMinorVersion"] = v
	}
	if version != "" {
		if auto {
			return usagef("To pin to specific version, auto-upgrade-minor-version must be set to 'false'.")
		}
		props["version"] = version
	}
	return nil
}
