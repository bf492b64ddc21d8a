package selinux

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// host makes a root folder of a node, with SELinux or without.
func host(t *testing.T, on bool) string {
	t.Helper()
	root := t.TempDir()
	if on {
		write(t, filepath.Join(root, "sys/fs/selinux/enforce"), "1")
	}
	return root
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start runs the loader until it is ready or has ended, and returns what it logged.
func start(t *testing.T, cfg Config) (log string, err error) {
	t.Helper()
	var out bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&out, nil))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = Run(ctx, cfg, cancel)
	if errors.Is(err, context.Canceled) {
		err = nil // it was ready
	}
	return out.String(), err
}

func TestRun(t *testing.T) {
	t.Run("without SELinux nothing is done", func(t *testing.T) {
		root := host(t, false)
		log, err := start(t, Config{HostRoot: root, Semodule: func(context.Context, ...string) ([]byte, error) {
			t.Error("semodule was run")
			return nil, nil
		}})
		if err != nil || !strings.Contains(log, "SELinux is off on this node") {
			t.Errorf("error %v, log %s", err, log)
		}
		if left, _ := os.ReadDir(root); len(left) > 0 {
			t.Errorf("%v was written", left)
		}
	})
	t.Run("the node's semodule gets the module, and nothing is left", func(t *testing.T) {
		root := host(t, true)
		var got string
		_, err := start(t, Config{HostRoot: root, Semodule: func(_ context.Context, args ...string) ([]byte, error) {
			got = strings.Join(args, " ")
			read, err := os.ReadFile(filepath.Join(root, args[1]))
			if !bytes.Equal(read, policy) {
				t.Errorf("the file holds %q, %v", read, err)
			}
			return nil, nil
		}})
		if err != nil || got != "-i /run/fairlead-selinux/fairlead.cil" {
			t.Errorf("semodule %s: %v", got, err)
		}
		if _, err := os.Stat(filepath.Join(root, "run/fairlead-selinux")); err == nil {
			t.Error("the module's file is left")
		}
	})
	t.Run("what semodule says is told", func(t *testing.T) {
		_, err := start(t, Config{HostRoot: host(t, true), Semodule: func(context.Context, ...string) ([]byte, error) {
			return []byte("Failed to resolve allow statement\nsemodule:  Failed!\n"), errors.New("exit status 1")
		}})
		if err == nil || !strings.HasSuffix(err.Error(), "semodule -i /run/fairlead-selinux/fairlead.cil: exit status 1: Failed to resolve allow statement semodule: Failed!") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a node without semodule", func(t *testing.T) {
		if _, err := start(t, Config{HostRoot: host(t, true)}); err == nil || !strings.Contains(err.Error(), "/usr/sbin/semodule") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("a relative root", func(t *testing.T) {
		if _, err := start(t, Config{HostRoot: "host"}); err == nil || !strings.Contains(err.Error(), `--host-root is "host"`) {
			t.Errorf("error %v", err)
		}
	})
}

// need skips a test where a program of the distribution is missing; scripts/test installs it where it may.
func need(t *testing.T, program, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("%s is missing: apt-get install %s", program, pkg)
	}
}

// TestPolicy compiles the module with SELinux's own compiler, and asks by neverallow rules what it allows: a compilation with one
// fails when the policy has the right.
func TestPolicy(t *testing.T) {
	need(t, "secilc", "secilc")
	for rule, allowed := range map[string]bool{
		"container_t spc_t (unix_stream_socket (connectto))":      true,
		"container_t spc_t (fd (use))":                            true,
		"container_t fuse_device_t (chr_file (read))":             true,
		"container_t fusefs_t (filesystem (mount))":               true,
		"container_t fusefs_t (file (write))":                     true,
		"container_t spc_t (process (transition ptrace))":         false,
		"container_t spc_t (unix_stream_socket (write))":          false,
		"container_t container_runtime_t (process (all))":         false,
		"container_t etc_t (file (all))":                          false,
		"container_t fusefs_t (file (entrypoint relabelfrom))":    false,
		"container_t fusefs_t (filesystem (relabelfrom))":         false,
		"container_t self (capability (all))":                     false,
		"spc_t container_t (unix_stream_socket (connectto))":      false,
		"spc_t fuse_device_t (chr_file (read))":                   false,
		"container_t fuse_device_t (chr_file (create setattr))":   false,
		"container_runtime_t spc_t (fd (use))":                    false,
		"container_runtime_t fusefs_t (dir (search))":             false,
		"container_t spc_t (unix_stream_socket (read connectto))": true,
	} {
		t.Run(rule, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "never.cil"), "(neverallow "+rule+")\n")
			out, err := exec.CommandContext(t.Context(), "secilc", "-o", filepath.Join(dir, "policy"), "-f", filepath.Join(dir, "contexts"),
				"testdata/node.cil", "fairlead.cil", filepath.Join(dir, "never.cil")).CombinedOutput()
			switch refused := strings.Contains(string(out), "neverallow"); {
			case err != nil && !refused:
				t.Errorf("%v: %s", err, out)
			case (err != nil) != allowed:
				t.Errorf("allowed: %v, want %v: %s", err != nil, allowed, out)
			}
		})
	}
}

// TestSemodule installs the module in a policy store of its own with the real semodule, twice, as two starts on a node do.
func TestSemodule(t *testing.T) {
	need(t, "semodule", "policycoreutils")
	store := t.TempDir()
	write(t, filepath.Join(store, "etc/selinux/config"), "SELINUX=permissive\nSELINUXTYPE=targeted\n")
	write(t, filepath.Join(store, "etc/selinux/semanage.conf"), "module-store = direct\n")
	for _, dir := range []string{"etc/selinux/targeted", "var/lib/selinux/targeted"} {
		if err := os.MkdirAll(filepath.Join(store, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root := host(t, true)
	semodule := func(ctx context.Context, args ...string) ([]byte, error) {
		return exec.CommandContext(ctx, "semodule", append([]string{"-p", store, "-s", "targeted", "-n"}, args...)...).CombinedOutput()
	}
	install := func(ctx context.Context, args ...string) ([]byte, error) {
		return semodule(ctx, args[0], filepath.Join(root, args[1]))
	}
	if _, err := start(t, Config{HostRoot: root, Semodule: install}); err == nil || !strings.Contains(err.Error(), "semodule: Failed!") {
		t.Errorf("a node without container-selinux: error %v", err)
	}
	if out, err := semodule(t.Context(), "-i", "testdata/node.cil"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for range 2 {
		if _, err := start(t, Config{HostRoot: root, Semodule: install}); err != nil {
			t.Fatal(err)
		}
	}
	out, err := semodule(t.Context(), "-l")
	if err != nil || string(out) != "fairlead\nnode\n" {
		t.Errorf("semodule -l: %v, %s", err, out)
	}
	if out, err := semodule(t.Context(), "-r", Module); err != nil {
		t.Errorf("semodule -r: %v, %s", err, out)
	}
}
