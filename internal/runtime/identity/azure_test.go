package identity_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sources are the variables that lead Azure's libraries to one or the other of their two ways.
var sources = map[string][]string{
	"both":        {"MSI_ENDPOINT", "MSI_SECRET", "DEFAULT_IDENTITY_CLIENT_ID", "IDENTITY_ENDPOINT", "IDENTITY_HEADER"},
	"azure ml":    {"MSI_ENDPOINT", "MSI_SECRET", "DEFAULT_IDENTITY_CLIENT_ID"},
	"app service": {"IDENTITY_ENDPOINT", "IDENTITY_HEADER"},
}

// library runs a program that uses one of Azure's libraries, with no surroundings but those of a source: first for a token by default, then
// for one of a client id that the pod does not have.
func (p *pod) library(t *testing.T, vars []string, program ...string) {
	t.Helper()
	ask := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), program[0], append(program[1:], args...)...)
		cmd.Env = []string{"HOME=" + t.TempDir(), "PATH=" + os.Getenv("PATH")}
		for _, v := range vars {
			cmd.Env = append(cmd.Env, v+"="+p.env[v])
		}
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	out, err := ask("https://management.azure.com/.default")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p.is(t, out)
	out, err = ask("https://management.azure.com/.default", "5f1e0000-0000-0000-0000-000000000000")
	if err == nil || !strings.Contains(out, "No User Assigned or Delegated Managed Identity found") {
		t.Errorf("for a client id that the pod does not have: %v: %s", err, out)
	}
}

// TestAzureLibraryForGo: azidentity's DefaultAzureCredential, unmodified.
func TestAzureLibraryForGo(t *testing.T) {
	program := filepath.Join(t.TempDir(), "azuretoken")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "../../testing/azuretoken").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	p := newPod(t)
	for name, vars := range sources {
		t.Run(name, func(t *testing.T) { p.library(t, vars, program) })
	}
}
