//go:build conformance

package conformance

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// javaScript installs the packages and returns the folder of node_modules.
func javaScript(t *testing.T) string {
	t.Helper()
	pins := abs(t, "js/package-lock.json")
	return install(t, "js", pins, "node", func(ctx context.Context, dir string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "sh", "-ec", `cp "$1/package.json" "$1/package-lock.json" . && npm ci --no-audit --no-fund --ignore-scripts`, "sh", filepath.Dir(pins))
		cmd.Dir = dir
		return cmd
	})
}

func TestJavaScript(t *testing.T) {
	modules := javaScript(t)
	// Node looks for modules beside a script.
	dir := t.TempDir()
	for name, target := range map[string]string{"node_modules": filepath.Join(modules, "node_modules"), "steps.mjs": abs(t, "js/steps.mjs"), "clients.mjs": abs(t, "js/clients.mjs")} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	runSteps(t, "@azure (JavaScript)", script(t, newLab(t).withCertificate(t), "node", "--preserve-symlinks", "--preserve-symlinks-main", filepath.Join(dir, "clients.mjs")))
}
