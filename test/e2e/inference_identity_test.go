//go:build cluster

package e2e

import (
	"context"
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// speaks asks, with a token for what it is sent that Azure's library got by default, for the deployment's own resource group, and answers
// what it was answered.
const speaks = `import os, subprocess

def init():
    pass

def run(scope):
    here = os.environ["AML_APP_ROOT"]
    out = subprocess.run([here + "/azuretoken", scope.strip()], env=dict(os.environ, SSL_CERT_FILE=here + "/ca.crt"), capture_output=True, text=True)
    return out.stdout + out.stderr
`

const speaker = `name: blue
endpoint_name: speaker
code_configuration: {code: src, scoring_script: score.py}
environment: {image: fairlead/python-ml:bookworm}
environment_variables: {GET_URL: %q}
instance_count: 1
request_settings: {request_timeout_ms: 120000}
resources: {requests: {cpu: 50m, memory: 128Mi}}
`

// testServingIdentity: a program with Azure's own library gets tokens of the endpoint's identity in a pod that serves, can do with them
// what the identity may, and no longer than the endpoint has it. Each of the two components that this takes is away for a while.
func testServingIdentity(t *testing.T) {
	get := func(args ...string) string { return strings.TrimSpace(must(t, append(args, "-o", "tsv")...)) }
	scale := func(component, replicas string) {
		t.Helper()
		kubectl(t, "scale", "deployment/"+component, "-n", "azureml", "--replicas="+replicas)
		kubectl(t, "rollout", "status", "deployment/"+component, "-n", "azureml", "--timeout=2m")
	}
	ca, err := base64.StdEncoding.DecodeString(kubectl(t, "get", "secret", "fairlead-link", "-n", "azureml", "-o", `jsonpath={.data.ca\.crt}`))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write(t, dir, "src/score.py", speaks)
	write(t, dir, "src/ca.crt", string(ca))
	buildAzureToken(t, filepath.Join(dir, "src"))
	write(t, dir, "endpoint.yml", "name: speaker\ncompute: azureml:"+compute+"\nidentity: {type: system_assigned}\n")
	write(t, dir, "blue.yml", fmt.Sprintf(speaker, controlPlane(t).String()+get("group", "show", "-n", group, "--query", "id")+"?api-version=2021-04-01"))
	must(t, ml("online-endpoint", "create", "-f", filepath.Join(dir, "endpoint.yml"), "-o", "none")...)
	t.Cleanup(func() { must(t, ml("online-endpoint", "delete", "-n", "speaker", "--yes")...) })

	scale("amlarc-identity-controller", "0")
	must(t, ml("online-deployment", "create", "-f", filepath.Join(dir, "blue.yml"), "--no-wait", "-o", "none")...)
	deployment := func(ok func(string) bool) func(context.Context) error {
		return func(context.Context) error {
			if s := must(t, ml("online-deployment", "show", "-n", "blue", "-e", "speaker")...); !ok(s) {
				return fmt.Errorf("the deployment is\n%s", s)
			}
			return nil
		}
	}
	eventually(t, startLimit, "the deployment waits for its identity", deployment(func(s string) bool {
		return strings.Contains(s, "amlarc-identity-controller has not yet made its service account")
	}))
	scale("amlarc-identity-controller", "1")
	eventually(t, startLimit, "the deployment serves", deployment(func(s string) bool { return strings.Contains(s, `"provisioning_state": "Succeeded"`) }))
	must(t, ml("online-endpoint", "update", "-n", "speaker", "--traffic", "blue=100", "-o", "none")...)

	o := online{through: direct, uri: get(ml("online-endpoint", "show", "-n", "speaker", "--query", "scoring_uri")...),
		key: get(ml("online-endpoint", "get-credentials", "-n", "speaker", "--query", "primaryKey")...)}
	answers := func(scope, what string) {
		t.Helper()
		o.body = []byte(scope)
		eventually(t, startLimit, scope+": "+what, func(ctx context.Context) error {
			if status, answer, err := o.score(ctx, o.key); err != nil || !strings.Contains(answer, what) {
				return fmt.Errorf("status %d: %s, %w", status, answer, err)
			}
			return nil
		})
	}
	const before, after = "https://management.azure.com/.default", "https://ml.azure.com/.default"
	answers(before, "403 Forbidden")
	principal := get(ml("online-endpoint", "show", "-n", "speaker", "--query", "identity.principal_id")...)
	must(t, "role", "assignment", "create", "--role", "Reader", "--assignee", principal, "-g", group)
	answers(before, "200 OK")

	scale("amlarc-identity-proxy", "0")
	answers(after, "gave no token")
	answers(before, "200 OK") // had before
	scale("amlarc-identity-proxy", "1")
	answers(after, "200 OK")

	must(t, ml("online-endpoint", "update", "-n", "speaker", "--set", "identity.type=none", "-o", "none")...)
	answers(before, "401 Unauthorized")
	answers("https://vault.azure.net/.default", "taken away from endpoint speaker")
}
