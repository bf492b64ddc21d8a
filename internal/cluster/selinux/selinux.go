// Package selinux is load-amlarc-selinux-policy: on every node it compiles Fairlead's module into the node's SELinux policy and loads
// it, by the node's own semodule. On a node without SELinux it says so and does nothing.
package selinux

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// Module is its name in the policy: `semodule -l` lists it and `semodule -r` takes it away.
const Module = "fairlead"

//go:embed fairlead.cil
var policy []byte

// Config is one node.
type Config struct {
	// HostRoot is where the node's root folder is seen.
	HostRoot string
	Log      *slog.Logger
	// Semodule runs the node's semodule; nil runs it in HostRoot.
	Semodule func(ctx context.Context, args ...string) ([]byte, error)
}

// Validate says what is wrong.
func (c Config) Validate() error {
	if !filepath.IsAbs(c.HostRoot) {
		return fmt.Errorf("--host-root is %q; it must be the absolute path where the node's root folder is mounted, such as /host", c.HostRoot)
	}
	return nil
}

// Run loads the module, says that it is ready and waits for ctx to end. The module stays: pods of jobs may outlive the extension.
func Run(ctx context.Context, cfg Config, ready func()) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	on, err := enabled(cfg.HostRoot)
	if err != nil {
		return err
	}
	if !on {
		cfg.Log.Info("SELinux is off on this node: there is no policy to load a module into")
	} else if err := load(ctx, cfg); err != nil {
		return err
	} else {
		cfg.Log.Info("SELinux module loaded", "module", Module)
	}
	ready()
	<-ctx.Done()
	return ctx.Err()
}

// enabled reports whether the node's kernel enforces or watches a policy: only then is its file system mounted.
func enabled(root string) (bool, error) {
	_, err := os.Stat(filepath.Join(root, "sys/fs/selinux/enforce"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("looking for SELinux: %w", err)
	}
	return err == nil, nil
}

// load has semodule compile the module together with all others of the node. One that is there already is replaced.
func load(ctx context.Context, cfg Config) error {
	const dir = "/run/fairlead-selinux"
	if err := os.MkdirAll(filepath.Join(cfg.HostRoot, dir), 0o700); err != nil {
		return fmt.Errorf("making a folder for the SELinux module: %w", err)
	}
	defer os.RemoveAll(filepath.Join(cfg.HostRoot, dir))
	file := filepath.Join(dir, Module+".cil") // semodule names a module after its file
	if err := os.WriteFile(filepath.Join(cfg.HostRoot, file), policy, 0o600); err != nil {
		return fmt.Errorf("writing the SELinux module: %w", err)
	}
	run := cfg.Semodule
	if run == nil {
		run = cfg.semodule
	}
	if out, err := run(ctx, "-i", file); err != nil {
		return fmt.Errorf("loading the SELinux module with semodule -i %s: %w: %s", file, err, strings.Join(strings.Fields(string(out)), " "))
	}
	return nil
}

func (c Config) semodule(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "/usr/sbin/semodule", args...)
	cmd.Dir, cmd.Env = "/", []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: c.HostRoot}
	return cmd.CombinedOutput()
}
