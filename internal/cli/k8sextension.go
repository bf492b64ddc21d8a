package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
)

var extensionColumns = cols("Name=name", "ExtensionType=extensionType", "Version=version", "ProvisioningState=provisioningState",
	"InstallState=installState", "AutoUpgradeMinorVersion=autoUpgradeMinorVersion")

var extensionKind = kind{
	api: apiExtension, columns: extensionColumns, shape: extensionShape, one: oneExtension, many: extensionsOfCluster,
	show: help{"Show an extension and its install state",
		"  fairlead k8s-extension show -n arcml -c C -t connectedClusters -g G --query installState -o tsv"},
	list: help{"List a cluster's extensions", "  fairlead k8s-extension list -c C -t connectedClusters -g G -o table"},
}

func (a *app) k8sExtension() *cobra.Command {
	remove := a.deleter(extensionKind, removal{
		help:     help{"Remove an extension from its cluster", "  fairlead k8s-extension delete -n arcml -c C -t connectedClusters -g G --yes"},
		question: "Are you sure you want to delete the extension '{name}' from the cluster '{parent}'?",
		force:    "delete the resource even when the cluster does not answer",
	})
	return noun("k8s-extension", "Deploy extensions to clusters",
		a.k8sExtensionCreate(), a.shower(extensionKind), a.lister(extensionKind), a.k8sExtensionUpdate(), remove,
		a.k8sExtensionLogs(), a.k8sExtensionLogStreams())
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

func oneExtension(a *app, c *cobra.Command) func() (place, error) {
	var t extensionTarget
	a.extensionFlags(c, &t, true)
	return func() (place, error) {
		s, cluster, err := a.cluster(&t, true)
		if err != nil {
			return place{}, err
		}
		path, err := extensionPath(cluster, t.name)
		return place{session: s, path: path, name: t.name, parent: t.clusterName}, err
	}
}

func extensionsOfCluster(a *app, c *cobra.Command) func() (place, error) {
	var t extensionTarget
	a.extensionFlags(c, &t, false)
	return func() (place, error) {
		s, cluster, err := a.cluster(&t, false)
		return place{session: s, path: extensionsPath(cluster)}, err
	}
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
