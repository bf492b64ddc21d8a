//go:build conformance

package conformance

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/local/cache"
)

// install returns the folder of an environment that is made once for the content of its pin file.
func install(t *testing.T, kind, pins, tool string, fill func(ctx context.Context, dir string) *exec.Cmd) string {
	t.Helper()
	root, err := cache.Dir()
	if err != nil {
		t.Fatal(err)
	}
	version, err := exec.Command(tool, "--version").CombinedOutput()
	if err != nil {
		t.Fatalf("%s --version: %v (scripts/conformance installs it)", tool, err)
	}
	key := cache.NewKey().Add("tool", string(version))
	if err := key.AddFile(filepath.Base(pins), pins); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	dir, had, err := cache.Ensure(t.Context(), filepath.Join(root, "conformance"), kind, key.String(), func(ctx context.Context, tmp string) error {
		if out, err := fill(ctx, tmp).CombinedOutput(); err != nil {
			return fmt.Errorf("installing %s: %w\n%s", pins, err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("environment %s: was there: %v, %s", kind, had, time.Since(began).Round(time.Millisecond))
	return dir
}

// python makes a virtual environment and returns its interpreter.
func python(t *testing.T, kind, requirements string) string {
	t.Helper()
	dir := install(t, kind, requirements, "python3", func(ctx context.Context, dir string) *exec.Cmd {
		return exec.CommandContext(ctx, "sh", "-ec", `python3 -m venv "$1" && "$1/bin/python" -m pip install -q --no-input -r "$2"`, "sh", dir, requirements)
	})
	return filepath.Join(dir, "bin", "python")
}

// runSteps runs a client's script; each of its steps is a test.
func runSteps(t *testing.T, client string, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var results []result
	for lines := bufio.NewScanner(out); lines.Scan(); {
		text, ok := strings.CutPrefix(lines.Text(), "RESULT ")
		if !ok {
			continue
		}
		var r result
		if err := json.Unmarshal([]byte(text), &r); err != nil {
			t.Errorf("reading %q: %v", text, err)
			continue
		}
		results = append(results, r)
		t.Run(r.Operation, func(t *testing.T) {
			if !r.OK {
				t.Error(r.Detail)
			}
		})
	}
	if err := cmd.Wait(); err != nil || len(results) == 0 {
		t.Errorf("%s: %v, after %d steps\n%s", client, err, len(results), errs.String())
	}
	if len(results) > 0 && !t.Failed() {
		record(t, client, results)
	}
}

func script(t *testing.T, l interface{ env() []string }, program string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	home := t.TempDir()
	cmd.Env = append(l.env(), "HOME="+home, "AZURE_CONFIG_DIR="+filepath.Join(home, "azure"), "CONFORMANCE_DIR="+home)
	cmd.WaitDelay = 10 * time.Second
	return cmd
}

func abs(t *testing.T, name string) string {
	t.Helper()
	p, err := filepath.Abs(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p); err != nil {
		t.Fatal(err)
	}
	return p
}
