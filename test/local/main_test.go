//go:build cluster

package local

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/internal/cli"
	"fairlead.dev/fairlead/internal/local"
)

// TestMain lets the test binary be the command line too: the supervisor is this program started again.
func TestMain(m *testing.M) {
	root := &cobra.Command{Use: "fairlead", SilenceUsage: true, SilenceErrors: true}
	root.AddCommand(cli.LocalCommands()...)
	if len(os.Args) > 1 && slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == os.Args[1] }) {
		if err := root.ExecuteContext(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "ERROR:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// cluster is one local cluster under test.
type cluster struct {
	t          *testing.T
	folder     local.Folder
	components string
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	components, err := filepath.Abs("../../bin/localcluster")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(components, "kube")); err != nil {
		t.Fatalf("%v; run `make cluster` first", err)
	}
	// Not below t.TempDir: a failed test must not try to remove what is mounted.
	dir, err := os.MkdirTemp("", "fairlead-test-")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, folder: local.Folder(dir), components: components}
	t.Cleanup(func() {
		if t.Failed() {
			for _, part := range []string{"supervisor", "kubelet@0", "kube-apiserver"} {
				out, _ := c.try("logs", part, "--tail", "15")
				t.Logf("the end of %s:\n%s", part, out)
			}
		}
		if out, err := c.try("down"); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
		_ = os.RemoveAll(dir)
	})
	return c
}

// try runs a command on the cluster and returns all its output.
func (c *cluster) try(args ...string) (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", err
	}
	args = append([]string{args[0], "--data-dir", string(c.folder)}, args[1:]...)
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	return out.String(), err
}

func (c *cluster) run(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("fairlead %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (c *cluster) up(more ...string) string {
	c.t.Helper()
	return c.run(append([]string{"up", "--no-server", "--internet=false", "--components", c.components}, more...)...)
}

func (c *cluster) kubectl(args ...string) string {
	c.t.Helper()
	return c.run(append([]string{"kubectl"}, args...)...)
}

// apply brings a manifest to the cluster.
func (c *cluster) apply(manifest string) {
	c.t.Helper()
	file := filepath.Join(c.t.TempDir(), "manifest.yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.kubectl("apply", "-f", file)
}

// eventually asks until ok, for at most two minutes.
func (c *cluster) eventually(what string, ok func() (string, bool)) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Minute)
	defer cancel()
	for tick := time.Tick(200 * time.Millisecond); ; {
		got, done := ok()
		if done {
			return
		}
		select {
		case <-ctx.Done():
			c.t.Fatalf("waiting for %s; last:\n%s", what, got)
		case <-tick:
		}
	}
}
