package cli

import (
	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
)

func (a *app) ml() *cobra.Command {
	return noun("ml", "Workspaces, computes, jobs, endpoints, models, environments and data",
		a.mlWorkspace(), a.mlCompute(), a.mlJob(), a.mlOnlineEndpoint(), a.mlOnlineDeployment(),
		a.mlBatchEndpoint(), a.mlBatchDeployment(), a.mlModel(), a.mlEnvironment(), a.mlData(), a.mlDatastore())
}

// workspace fills in defaults, checks the needs and gives the workspace's id.
func (a *app) workspace(t *target, needs ...need) (*session, arm.ID, error) {
	if err := a.inWS(t, needs...); err != nil {
		return nil, arm.ID{}, err
	}
	s, err := a.connect()
	if err != nil {
		return nil, arm.ID{}, err
	}
	id, err := s.workspaceID(*t)
	return s, id, err
}

// child is the path of a named resource in a workspace; the name must be one segment.
func child(parent arm.ID, typ, name string) (string, error) {
	id, err := parseParts(parent.Child(typ, name))
	return id.String(), err
}
