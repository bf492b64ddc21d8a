package local

import (
	"context"
	"errors"

	"fairlead.dev/fairlead/internal/local/kernel"
)

// clusterDown removes processes, then what they used, in the order in which the kernel lets go of it.
func clusterDown(ctx context.Context, f Folder, c Config) []downStep {
	scope := kernel.ScopeOf(string(f))
	return []downStep{
		{"pods", func() error { return scope.KillAll(ctx) }},
		{"mounts", func() error { return kernel.UnmountBelow(string(f)) }},
		{"network", func() error { return kernel.Network{Scope: scope, Plan: c.Plan, Nodes: c.Nodes}.Remove(ctx) }},
		{"cgroups", func() error { return scope.RemoveCgroups(ctx) }},
		{"kernel settings", func() error {
			m, err := c.machine()
			return errors.Join(err, m.Restore())
		}},
	}
}
