package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
)

const mlExtensionType = "Microsoft.AzureML.Kubernetes"

type extensionCreateFlags struct {
	extensionTarget
	extensionType, scope, releaseNamespace, targetNamespace string
	version, releaseTrain, autoMinor                        string
	config, protected                                       []string
	noWait                                                  bool
}

func (a *app) k8sExtensionCreate() *cobra.Command {
	var f extensionCreateFlags
	c := a.leaf(&cobra.Command{
		Use: "create", Short: "Deploy an extension to a cluster",
		Example: `  fairlead k8s-extension create --name arcml --extension-type Microsoft.AzureML.Kubernetes --config enableTraining=True \
    --cluster-type connectedClusters --cluster-name C --resource-group G --scope cluster
  fairlead k8s-extension create --name arcml --extension-type Microsoft.AzureML.Kubernetes --cluster-type connectedClusters --cluster-name C \
    --config enableInference=True --config-protected sslCertPemFile=cert.pem sslKeyPemFile=key.pem --resource-group G --scope cluster`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runExtensionCreate(cmd.Context(), f) },
	})
	a.extensionFlags(c, &f.extensionTarget, true)
	configFlags(c, &f.config, &f.protected)
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

// configFlags defines both spellings of the settings flags.
func configFlags(c *cobra.Command, config, protected *[]string) {
	for _, n := range []string{"configuration-settings", "config", "config-settings"} {
		multiVar(c.Flags(), config, n, "space-separated `key=value` settings")
	}
	for _, n := range []string{"configuration-protected-settings", "config-protected", "config-protected-settings"} {
		multiVar(c.Flags(), protected, n, "space-separated `key=value` settings that are kept secret; sslCertPemFile and sslKeyPemFile are files here")
	}
	for _, n := range []string{"config-settings", "config-protected-settings"} {
		_ = c.Flags().MarkHidden(n)
	}
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
	settings, protected, err := a.extensionSettings(f.config, f.protected)
	if err != nil {
		return err
	}
	if err := errors.Join(checkSettings(settings, protected), versionProps(map[string]any{}, f.version, f.releaseTrain, f.autoMinor)); err != nil {
		return err
	}
	s, cluster, err := a.cluster(&f.extensionTarget, true)
	if err != nil {
		return err
	}
	return a.createExtension(ctx, s, cluster, f, settings, protected)
}

func (a *app) createExtension(ctx context.Context, s *session, cluster arm.ID, f extensionCreateFlags, settings, protected map[string]string) error {
	path, err := extensionPath(cluster, f.name)
	if err != nil {
		return err
	}
	got, err := s.get(ctx, cluster.String(), apiKubernetes)
	if isNotFound(err) {
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
		"configurationSettings":          settings,
		"configurationProtectedSettings": protected,
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
func (a *app) adapt(settings map[string]string, cluster map[string]any) {
	nodes, known := sub(cluster, "properties")["totalNodeCount"].(float64)
	ha := settings["inferenceRouterHA"] + settings["inferenceLoadBalancerHA"]
	if isTrue(settings["enableInference"]) && known && nodes > 0 && nodes < 3 && ha == "" {
		settings["inferenceRouterHA"] = "false"
		a.warn("the cluster has %d nodes, fewer than 3: the inference router gets one replica (inferenceRouterHA=false)", int(nodes))
	}
	if strings.EqualFold(text(cluster, "properties", "distribution"), "openshift") && settings["openshift"] == "" {
		settings["openshift"] = "true"
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

// extensionSettings reads both maps, corrects known misspellings of the reference's own pages and reads the PEM files.
func (a *app) extensionSettings(config, protectedTexts []string) (settings, protected map[string]string, err error) {
	if settings, err = keyValues("--config/--configuration-settings", config); err != nil {
		return nil, nil, err
	}
	if protected, err = keyValues("--config-protected/--configuration-protected-settings", protectedTexts); err != nil {
		return nil, nil, err
	}
	for k := range settings {
		if _, both := protected[k]; both {
			return nil, nil, usagef("Duplicate keys found. %q is in both --config and --config-protected", k)
		}
	}
	if strings.EqualFold(settings["allowInsecureConnections"], "Ture") {
		a.warn("reading allowInsecureConnections=%s as True", settings["allowInsecureConnections"])
		settings["allowInsecureConnections"] = "True"
	}
	return settings, protected, readPEMs(protected)
}

// readPEMs replaces the two file names by what the chart takes: base64 of the files' contents.
func readPEMs(protected map[string]string) error {
	for _, wrong := range []string{"ssKeyPMFile", "sslKeyPMFile", "ssKeyPemFile"} {
		if _, ok := protected[wrong]; ok {
			return usagef("argument --config-protected: %q is not a setting; did you mean \"sslKeyPemFile\"?", wrong)
		}
	}
	cert, hasCert := protected["sslCertPemFile"]
	key, hasKey := protected["sslKeyPemFile"]
	if hasCert != hasKey {
		return usagef("argument --config-protected: sslCertPemFile and sslKeyPemFile belong together; give both")
	}
	for _, file := range []struct{ setting, name, path, want string }{
		{"scoringFe.sslCert", "sslCertPemFile", cert, "CERTIFICATE"}, {"scoringFe.sslKey", "sslKeyPemFile", key, "PRIVATE KEY"},
	} {
		if !hasCert {
			break
		}
		data, err := os.ReadFile(file.path)
		if err != nil {
			return usagef("argument --config-protected: %s: %v", file.name, err)
		}
		if !strings.Contains(string(data), file.want+"-----") {
			return usagef("argument --config-protected: %s: %q holds no PEM %s", file.name, file.path, strings.ToLower(file.want))
		}
		if strings.Contains(string(data), "ENCRYPTED") {
			return usagef("argument --config-protected: %s: %q is protected by a passphrase, which is not supported; write it without one (openssl pkey -in key.pem -out plain.pem)", file.name, file.path)
		}
		protected[file.setting] = base64.StdEncoding.EncodeToString(data)
	}
	delete(protected, "sslCertPemFile")
	delete(protected, "sslKeyPemFile")
	return nil
}

func isTrue(s string) bool { return strings.EqualFold(s, "true") }

// checkSettings refuses what the reference's command line refuses before anything is sent.
func checkSettings(settings, protected map[string]string) error {
	for _, k := range []string{"enableTraining", "enableInference", "allowInsecureConnections", "privateEndpointNodeport", "privateEndpointILB",
		"inferenceLoadBalancerHA", "inferenceRouterHA", "installNvidiaDevicePlugin", "logAnalyticsWS", "openshift"} {
		if v := settings[k]; v != "" && !strings.EqualFold(v, "true") && !strings.EqualFold(v, "false") {
			return usagef("argument --config: %s=%s: must be True or False", k, v)
		}
	}
	training, inference := isTrue(settings["enableTraining"]), isTrue(settings["enableInference"])
	if !training && !inference {
		return usagef("To create %s extension, either enable Machine Learning training or inference by specifying "+
			"'--configuration-settings enableTraining=true' or '--configuration-settings enableInference=true'.", mlExtensionType)
	}
	if !inference {
		return nil
	}
	if isTrue(settings["privateEndpointNodeport"]) && isTrue(settings["privateEndpointILB"]) {
		return usagef("privateEndpointNodeport and privateEndpointILB are mutually exclusive; set one of them")
	}
	if strings.EqualFold(settings["inferenceRouterServiceType"], "nodePort") && settings["internalLoadBalancerProvider"] != "" {
		return usagef("When using nodePort as inferenceRouterServiceType, no need to specify internalLoadBalancerProvider.")
	}
	if t := settings["inferenceRouterServiceType"]; t != "" && !oneOf(t, "clusterIP", "nodePort", "loadBalancer") {
		return usagef("To use inference, please specify inferenceRouterServiceType=ClusterIP or inferenceRouterServiceType=NodePort or " +
			"inferenceRouterServiceType=LoadBalancer in --configuration-settings and also set internalLoadBalancerProvider=azure if your aks only supports internal load balancer.")
	}
	if protected["scoringFe.sslCert"] == "" && settings["sslSecret"] == "" && !isTrue(settings["allowInsecureConnections"]) {
		return usagef("To enable HTTPs endpoint, either provide sslCertPemFile and sslKeyPemFile to --configuration-protected-settings, or " +
			"provide sslSecret(kubernetes secret name) in --configuration-settings containing both ssl cert and ssl key under azureml namespace. " +
			"Otherwise, to enable HTTP endpoint, explicitly set allowInsecureConnections=true.")
	}
	return nil
}

func oneOf(s string, allowed ...string) bool {
	for _, a := range allowed {
		if strings.EqualFold(a, s) {
			return true
		}
	}
	return false
}
