package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
)

var clusterColumns = cols("Name=name", "ResourceGroup=resourceGroup", "Location=location", "ConnectivityStatus=connectivityStatus",
	"KubernetesVersion=kubernetesVersion", "Nodes=totalNodeCount", "AgentVersion=agentVersion")

var clusterKind = kind{
	api: apiKubernetes, columns: clusterColumns, shape: flat,
	one: oneCluster, many: inGroups("/providers/Microsoft.Kubernetes/connectedClusters"),
	show: help{"Show a connected cluster", "  fairlead connectedk8s show -n C -g G --query connectivityStatus -o tsv"},
	list: help{"List connected clusters", "  fairlead connectedk8s list -g G -o table"},
}

func (a *app) connectedk8s() *cobra.Command {
	return noun("connectedk8s", "Connect Kubernetes clusters to the control plane",
		a.connectedk8sConnect(), a.connectedk8sUpdate(), a.shower(clusterKind), a.lister(clusterKind), a.connectedk8sDelete(),
		a.connectedk8sProxy(), a.connectedk8sGetCredentials(), a.connectedk8sCredential())
}

func clustersPath(s *session, t target) string {
	return groupPath(s, t) + "/providers/Microsoft.Kubernetes/connectedClusters"
}

func (s *session) clusterID(t target, name string) (arm.ID, error) {
	g, err := s.groupID(t)
	if err != nil {
		return g, err
	}
	return resourceID(g, "Microsoft.Kubernetes", "connectedClusters", name)
}

// flat lifts properties to the top level, as the reference's command line shows resources.
func flat(r map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range sub(r, "properties") {
		out[k] = v
	}
	for k, v := range r {
		if k != "properties" {
			out[k] = v
		}
	}
	addResourceGroup(out)
	return out
}

func oneCluster(a *app, c *cobra.Command) func() (place, error) {
	var t target
	var name string
	a.addGroup(c, &t)
	a.addName(c, &name, "cluster", &t, clustersPath, apiKubernetes)
	return func() (place, error) {
		s, id, err := a.clusterTarget(&t, name)
		return place{session: s, path: id.String(), name: name}, err
	}
}

// clusterTarget is the session and the id of the connected cluster that a command line names.
func (a *app) clusterTarget(t *target, name string) (*session, arm.ID, error) {
	if err := a.inGroup(t, need{"--name/-n", name}); err != nil {
		return nil, arm.ID{}, err
	}
	s, err := a.connect()
	if err != nil {
		return nil, arm.ID{}, err
	}
	id, err := s.clusterID(*t, name)
	return s, id, err
}

func (a *app) connectedk8sDelete() *cobra.Command {
	var t target
	var name string
	var yes, noWait, force bool
	var in AgentUninstall
	c := a.leaf(&cobra.Command{
		Use: "delete", Short: "Disconnect a cluster: remove its agent and its resource",
		Example: "  fairlead connectedk8s delete -n C -g G --yes",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, id, err := a.clusterTarget(&t, name)
			if err != nil {
				return err
			}
			if err := a.confirm(yes, "Are you sure you want to disconnect "+name+"?"); err != nil {
				return err
			}
			q := map[string][]string{}
			if force {
				q["forceDelete"] = []string{"true"}
			}
			if err := s.remove(cmd.Context(), id.String(), apiKubernetes, q, noWait); err != nil {
				return err
			}
			if a.deps.UninstallAgent == nil {
				a.warn("this build cannot remove the agent; run 'helm uninstall azure-arc --namespace azure-arc' on the cluster")
				return nil
			}
			in.ClusterID = id.String()
			in.Progress = func(step string) { a.note("%s", step) }
			if err := a.deps.UninstallAgent(cmd.Context(), in); err != nil {
				return hint(fmt.Errorf("removing the agent from the cluster: %w", err), "The resource is deleted; the agent's release stays until it is removed by Helm.")
			}
			return nil
		},
	})
	a.addGroup(c, &t)
	a.addName(c, &name, "cluster", &t, clustersPath, apiKubernetes)
	kubeFlags(c, &in.Kubeconfig, &in.Context)
	c.Flags().BoolVar(&force, "force", false, "delete the resource even when the cluster cannot be reached")
	addYes(c, &yes)
	addNoWait(c, &noWait)
	return c
}

func kubeFlags(c *cobra.Command, kubeconfig, context *string) {
	c.Flags().StringVar(kubeconfig, "kube-config", "", "kubeconfig `file` (default: KUBECONFIG, then ~/.kube/config)")
	c.Flags().StringVar(context, "kube-context", "", "`context` in the kubeconfig (default: the current one)")
}
