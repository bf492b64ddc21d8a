package cli

import (
	"context"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
)

const managedPath = "/providers/Microsoft.ContainerService/managedClusters"

var managedColumns = cols("Name=name", "Location=location", "ResourceGroup=resourceGroup", "KubernetesVersion=kubernetesVersion",
	"ConnectivityStatus=connectivityStatus", "ProvisioningState=provisioningState", "Fqdn=fqdn")

var managedKind = kind{
	api: apiManaged, columns: managedColumns, shape: flat, one: oneManaged, many: inGroups(managedPath),
	show: help{"Show a managed cluster", "  fairlead aks show -n C -g G --query connectivityStatus -o tsv"},
	list: help{"List managed clusters", "  fairlead aks list -g G -o table"},
}

func (a *app) aks() *cobra.Command {
	remove := a.deleter(managedKind, removal{
		help:     help{"Give a managed cluster back: remove its agent and its resource", "  fairlead aks delete -n C -g G --yes"},
		question: "Are you sure you want to remove the agent from {name} and delete its resource? The cluster itself stays.",
		force:    "delete the resource even when the cluster cannot be reached or is in use",
	})
	return noun("aks", "Take clusters that the control plane itself reaches (managedClusters)",
		a.aksCreate(), a.aksUpdate(), a.shower(managedKind), a.lister(managedKind), remove, a.aksGetCredentials())
}

func managedClusters(s *session, t target) string { return groupPath(s, t) + managedPath }

// managedTarget is the session and the id of the managed cluster that a command line names.
func (a *app) managedTarget(t *target, name string) (*session, arm.ID, error) {
	if err := a.inGroup(t, need{"--name/-n", name}); err != nil {
		return nil, arm.ID{}, err
	}
	s, err := a.connect()
	if err != nil {
		return nil, arm.ID{}, err
	}
	g, err := s.groupID(*t)
	if err != nil {
		return nil, arm.ID{}, err
	}
	id, err := resourceID(g, "Microsoft.ContainerService", "managedClusters", name)
	return s, id, err
}

func oneManaged(a *app, c *cobra.Command) func() (place, error) {
	var t target
	var name string
	a.addGroup(c, &t)
	a.addName(c, &name, "cluster", &t, managedClusters, apiManaged)
	return func() (place, error) {
		s, id, err := a.managedTarget(&t, name)
		return place{session: s, path: id.String(), name: name}, err
	}
}

func (a *app) aksGetCredentials() *cobra.Command {
	var f accessFlags
	var admin bool
	c := a.leaf(&cobra.Command{
		Use: "get-credentials", Short: "Add a managed cluster to the kubeconfig",
		Long: `Adds a context for the cluster to the kubeconfig. Without --admin it goes through the control plane as the logged-in principal, and no
secret is written. With --admin it is the kubeconfig that the cluster was created with.`,
		Example: "  fairlead aks get-credentials -n C -g G\n  fairlead aks get-credentials -n C -g G --admin --file -",
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runAKSCredentials(cmd.Context(), f, admin) },
	})
	a.addGroup(c, &f.target)
	a.addName(c, &f.name, "cluster", &f.target, managedClusters, apiManaged)
	f.bindFile(c)
	c.Flags().BoolVarP(&admin, "admin", "a", false, "the cluster administrator's credentials")
	return c
}

func (a *app) runAKSCredentials(ctx context.Context, f accessFlags, admin bool) error {
	s, id, err := a.managedTarget(&f.target, f.name)
	if err != nil {
		return err
	}
	if !admin {
		entry, err := a.reach(ctx, s, id, f.context)
		if err != nil {
			return err
		}
		if entry.Auth, err = a.execAuth(s.Endpoint()); err != nil {
			return err
		}
		_, err = a.deliver(entry, f.file)
		return err
	}
	entry, err := s.credential(ctx, id, "listClusterAdminCredential", nil)
	if err != nil {
		return err
	}
	entry.Context, entry.User = f.name+"-admin", "clusterAdmin_"+id.ResourceGroup+"_"+f.name
	if f.context != "" {
		entry.Context = f.context
	}
	_, err = a.deliver(entry, f.file)
	return err
}
