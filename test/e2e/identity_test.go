//go:build cluster

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// reachesOut asks again and again what a GET of the job's own group is answered, with a token that Azure's library got by default, until
// the answer begins as it should, and gives up after many times.
const reachesOut = `#!/bin/sh
left=300
again() { left=$((left-1)); [ $left -gt 0 ] || { echo "gave up: $(tr '\n' ' ' < answer)"; exit 1; }; sleep 1; }
export GET_URL="$AZUREML_SERVICE_ENDPOINT/subscriptions/$AZUREML_ARM_SUBSCRIPTION/resourceGroups/$AZUREML_ARM_RESOURCEGROUP?api-version=2021-04-01"
for want in 403 200 401; do
  until ./azuretoken https://management.azure.com/.default > answer 2>&1 && grep -q "^$want" answer; do again; done
  echo "answered: $(tr '\n' ' ' < answer)"
done
until ! ./azuretoken https://ml.azure.com/.default > answer 2>&1; do again; done
echo "asked anew: $(tr '\n' ' ' < answer)"
python3 knock.py
`

// knock is what others may try: without the secret, and from other pods, which do not reach the listener on the loopback.
const knock = `import os, socket, urllib.request, urllib.error
try:
    urllib.request.urlopen(os.environ["MSI_ENDPOINT"] + "?api-version=2017-09-01&resource=https://ml.azure.com")
    print("knocked: let in")
except urllib.error.HTTPError as e:
    print("knocked:", e.code)
try:
    socket.create_connection((os.environ["POD_IP"], 12342), 10)
    print("from outside: connected")
except ConnectionRefusedError:
    print("from outside: refused")
`

// TestIdentity_OfAComputeInAPod: a program with Azure's own library gets a token in a pod, can do with it what the identity may, and no
// longer than it has the identity.
func TestIdentity_OfAComputeInAPod(t *testing.T) {
	must(t, "identity", "create", "-n", "e2e-train", "-g", group)
	id := strings.TrimSpace(must(t, "identity", "show", "-n", "e2e-train", "-g", group, "--query", "id", "-o", "tsv"))
	clusterID := strings.TrimSpace(must(t, "connectedk8s", "show", "-n", cluster, "-g", group, "--query", "id", "-o", "tsv"))
	must(t, ml("compute", "attach", "--name", "ident", "--type", "kubernetes", "--namespace", "default", "--resource-id", clusterID, "--user-assigned-identities", id)...)
	t.Cleanup(func() {
		_, _ = cli(ml("job", "cancel", "-n", "ident")...) // it has ended, unless the test failed
		must(t, ml("compute", "detach", "-n", "ident", "--yes")...)
	})

	dir := t.TempDir()
	write(t, dir, "src/reach.sh", reachesOut)
	write(t, dir, "src/knock.py", knock)
	buildAzureToken(t, filepath.Join(dir, "src"))
	write(t, dir, "job.yml", strings.Replace(header, "azureml:k8s", "azureml:ident", 1)+"code: src\ncommand: sh reach.sh\nidentity: {type: managed}\n")
	must(t, ml("job", "create", "-f", filepath.Join(dir, "job.yml"), "--name", "ident")...)
	log := background(t, ml("job", "stream", "-n", "ident")...)
	says := func(what string) {
		t.Helper()
		eventually(t, startLimit, what, func(context.Context) error {
			if s := log.String(); !strings.Contains(s, what) {
				return fmt.Errorf("the job said only:\n%s", s)
			}
			return nil
		})
	}
	says("answered: 403 Forbidden")
	principal := strings.TrimSpace(must(t, "identity", "show", "-n", "e2e-train", "-g", group, "--query", "principalId", "-o", "tsv"))
	must(t, "role", "assignment", "create", "--role", "Reader", "--assignee", principal, "-g", group)
	says("answered: 200 OK")
	must(t, "identity", "delete", "-n", "e2e-train", "-g", group, "--yes")
	says("answered: 401 Unauthorized")
	awaitStatus(t, "ident", "Completed", startLimit)
	for _, what := range []string{"was deleted, or taken away from compute ident", "knocked: 401", "from outside: refused"} {
		says(what)
	}
	system := filepath.Join(dir, "got")
	must(t, ml("job", "download", "-n", "ident", "--all", "-p", system)...)
	text, err := os.ReadFile(filepath.Join(system, "artifacts/system_logs/fairlead_runtime.log"))
	if err != nil || strings.Contains(string(text), "eyJ") || !strings.Contains(string(text), "no token of the managed identity given") {
		t.Errorf("the runtime's log: %v\n%s", err, text)
	}
}

// buildAzureToken puts the program with Azure's library into a folder, for any image.
func buildAzureToken(t *testing.T, dir string) {
	t.Helper()
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", filepath.Join(dir, "azuretoken"), "./internal/testing/azuretoken")
	build.Dir, build.Env = w.repo, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
