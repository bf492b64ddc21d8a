package identity

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// library runs a program that asks for a token by one of Azure's libraries, with nothing but the surroundings that a pod's processes have.
func library(t *testing.T, env map[string]string, good func(*testing.T, string), program ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program[0], append(program[1:], "https://management.azure.com/.default")...)
	cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	good(t, strings.TrimSpace(string(out)))
}

// goProgram uses DefaultAzureCredential of Azure's library for Go, unmodified.
func goProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "azuretoken")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../testing/azuretoken").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}
