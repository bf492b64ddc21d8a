package local

import (
	"context"
	"errors"
	"fmt"

	"fairlead.dev/fairlead/internal/local/kernel"
)

// removeCluster removes processes, then what they used, in the order in which the kernel lets go of it.
func removeCluster(ctx context.Context, f Folder, c Config) error {
	scope := kernel.ScopeOf(string(f))
	if err := scope.KillAll(ctx); err != nil {
		return fmt.Errorf("ending the cluster's processes: %w", err)
	}
	err := errors.Join(
		kernel.UnmountBelow(string(f)),
		kernel.Network{Scope: scope, Plan: c.Plan, Nodes: c.Nodes}.Remove(ctx),
		scope.RemoveCgroups(ctx),
		kernel.RestoreSysctls(c.Sysctls),
	)
	if !c.HadNetns {
		err = errors.Join(err, kernel.RemoveNetnsDir())
	}
	return err
}
