package local

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Kubectl replaces this process by kubectl with the cluster's kubeconfig: the one that the cluster was built with, or
// for an existing cluster the machine's own.
func Kubectl(f Folder, args []string) error {
	c, err := LoadConfig(f)
	if err != nil {
		return err
	}
	program, kubeconfig := f.Path("bin", "kubectl"), f.Kubeconfig()
	if c.External() {
		kubeconfig = c.Kubeconfig
		if program, err = exec.LookPath("kubectl"); err != nil {
			return fmt.Errorf("finding kubectl: %w (an existing cluster is reached with the machine's own kubectl)", err)
		}
	}
	env := append(os.Environ(), "KUBECONFIG="+kubeconfig)
	if !c.External() {
		// The cluster is on this machine; a proxy could not reach it.
		env = append(env, "NO_PROXY="+c.Plan.Base.String(), "no_proxy="+c.Plan.Base.String())
	}
	if err := syscall.Exec(program, append([]string{"kubectl"}, args...), env); err != nil {
		return fmt.Errorf("starting kubectl: %w", err)
	}
	return nil
}
