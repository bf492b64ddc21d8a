package cli

import (
	"context"
	"net/url"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/arm"
)

func (a *app) ml() *cobra.Command {
	return noun("ml", "Workspaces, computes, jobs, models, environments and data",
		a.mlWorkspace(), a.mlCompute(), a.mlJob(), a.mlModel(), a.mlEnvironment(), a.mlData(), a.mlDatastore())
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

// lister makes a list command over a collection of the workspace.
func (a *app) lister(use, short, example, typ string, shape func(map[string]any) map[string]any, columns ...string) *cobra.Command {
	var t target
	var max int
	c := a.leaf(&cobra.Command{
		Use: use, Short: short, Example: example,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, ws, err := a.workspace(&t)
			if err != nil {
				return err
			}
			return a.listAt(cmd.Context(), s, ws.String()+"/"+typ, url.Values{}, max, shape, columns...)
		},
	})
	a.addWorkspace(c, &t)
	c.Flags().IntVarP(&max, "max-results", "r", 0, "at most this `number`")
	return c
}

func (a *app) listAt(ctx context.Context, s *session, path string, q url.Values, max int, shape func(map[string]any) map[string]any, columns ...string) error {
	q.Set("api-version", apiML)
	items, err := s.List(ctx, path, q, max)
	if err != nil {
		return err
	}
	for i := range items {
		items[i] = shape(items[i])
	}
	return a.print(items, cols(columns...)...)
}
