//go:build cluster

package e2e

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/testing/certtest"
)

// digits is what the model says of the images in examples/digits/digits.json.
const digits = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]"

// online is an endpoint that a test calls as anybody may who reaches the router.
type online struct {
	uri, key string
	body     []byte
	answer   string
	through  http.RoundTripper
}

// score sends the images and gives status and answer.
func (o online) score(ctx context.Context, key string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, o.uri, bytes.NewReader(o.body))
	if err != nil {
		return 0, "", err
	}
	req.Header.Set("Authorization", "Bearer "+key)
	req.Header.Set("Content-Type", "application/json")
	res, err := (&http.Client{Transport: o.through}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// direct reaches the local cluster's nodes whatever proxy this machine has.
var direct = &http.Transport{MaxIdleConnsPerHost: 16}

func (o online) scores(ctx context.Context) error {
	status, answer, err := o.score(ctx, o.key)
	if err == nil && (status != http.StatusOK || answer != o.answer) {
		err = fmt.Errorf("status %d: %s", status, answer)
	}
	return err
}

// whileAsked has four callers ask without a pause while something happens. None may fail.
func (o online) whileAsked(t *testing.T, happens func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex
	answered, failed := 0, []error(nil)
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				err := o.scores(t.Context())
				mu.Lock()
				answered++
				if err != nil {
					failed = append(failed, err)
				}
				mu.Unlock()
			}
		})
	}
	defer func() { // also when it fails, while the test's context lasts
		stop()
		wg.Wait()
		if len(failed) > 0 {
			t.Errorf("%d of %d requests failed, the first: %v", len(failed), answered, failed[0])
		}
		if answered == 0 {
			t.Error("nothing was asked")
		}
		t.Logf("%d requests meanwhile", answered)
	}()
	happens()
}

// TestInference: the model that a job made is served over HTTP, updated without a failed request, while the operator, the control plane and the API server are
// killed, too, scaled to nothing and back, and a script that fails is reported with its traceback; then it is served over HTTPS by an extension that has only inference.
func TestInference(t *testing.T) {
	example := func(name string) string { return filepath.Join(w.repo, "examples/digits", name) }
	images, err := os.ReadFile(example("digits.json"))
	if err != nil {
		t.Fatal(err)
	}
	settings := trained()
	settings["enableInference"] = "True"
	must(t, extensionCommand("update", "--config", "enableInference=True", "allowInsecureConnections=True", "inferenceRouterServiceType=nodePort", "--yes")...)
	defer func() {
		must(t, ml("online-endpoint", "delete", "-n", "digits", "--yes")...)
		eventually(t, startLimit, "no model pod", func(context.Context) error {
			if left := kubectl(t, "get", "pods,onlinedeployments", "-l", "ml.azure.com/endpoint-name=digits", "-o", "name"); left != "" {
				return fmt.Errorf("there are %s", left)
			}
			return nil
		})
		must(t, extensionCommand("update", "--config", "enableInference=False", "enableTraining=True", "allowInsecureConnections=", "--yes")...)
		hasRows(t, trained())
	}()
	hasRows(t, settings)
	must(t, ml("job", "create", "-f", example("job.yml"), "--name", "digits", "--set", "compute=azureml:"+compute, "--stream", "-o", "none")...)
	must(t, ml("model", "create", "-n", "digits", "--path", "azureml://jobs/digits/outputs/model", "--type", "custom_model", "-o", "none")...)
	must(t, ml("online-endpoint", "create", "-f", example("endpoint.yml"), "--set", "compute=azureml:"+compute, "-o", "none")...)
	must(t, ml("online-deployment", "create", "-f", example("deployment.yml"), "--all-traffic", "-o", "none")...)
	tsv := func(args ...string) string { return strings.TrimSpace(must(t, append(ml(args...), "-o", "tsv")...)) }
	o := online{through: direct, uri: tsv("online-endpoint", "show", "-n", "digits", "--query", "scoring_uri"), body: images, answer: digits,
		key: tsv("online-endpoint", "get-credentials", "-n", "digits", "--query", "primaryKey")}
	eventually(t, startLimit, "a digit for each image", func(ctx context.Context) error { return o.scores(ctx) })
	for _, key := range []string{"", "wrong", o.key + "x"} {
		if status, answer, err := o.score(t.Context(), key); err != nil || status != http.StatusUnauthorized {
			t.Errorf("key %q: %d %s %v", key, status, answer, err)
		}
	}
	update := func(t *testing.T, set ...string) {
		t.Helper()
		args := ml("online-deployment", "update", "-f", example("deployment.yml"), "-o", "none")
		for _, s := range set {
			args = append(args, "--set", s)
		}
		must(t, args...)
	}

	t.Run("what the model writes is followed", func(t *testing.T) { testFollowedLog(t, o) })
	t.Run("an update loses no request", func(t *testing.T) {
		o.whileAsked(t, func() { update(t, "environment_variables.COLOR=green", "resources.requests.memory=256Mi") })
	})
	t.Run("nor do faults of what is not in its way", func(t *testing.T) {
		o.whileAsked(t, func() {
			killPart(t, "inference-operator", []string{"fairlead-agent", "inference-operator"})
			killPart(t, "server", nil)
			killPart(t, "kube-apiserver", nil)
		})
		awaitUp(t)
		eventually(t, startLimit, "the API server answers", func(context.Context) error {
			_, err := cli("kubectl", "get", "--raw", "/readyz")
			return err
		})
	})
	t.Run("a pod speaks as its endpoint's identity", testServingIdentity)
	t.Run("nothing asked, no pod; asked again, one", func(t *testing.T) {
		update(t, "scale_settings.type=target_utilization", "scale_settings.min_instances=0", "scale_settings.max_instances=2", "scale_settings.polling_interval=1",
			"request_settings.max_queue_wait_ms=120000")
		eventually(t, startLimit, "no pod", func(context.Context) error {
			if pods := kubectl(t, "get", "pods", "-l", "ml.azure.com/endpoint-name=digits,ml.azure.com/deployment-name=blue", "-o", "name"); pods != "" {
				return fmt.Errorf("there are %s", pods)
			}
			return nil
		})
		if err := o.scores(t.Context()); err != nil {
			t.Errorf("a request that wakes the deployment: %v", err)
		}
	})
	t.Run("a script that fails is reported", func(t *testing.T) {
		dir := t.TempDir()
		write(t, dir, "src/score.py", "def init():\n    raise RuntimeError('no weights today')\n\ndef run(data):\n    return data\n")
		write(t, dir, "green.yml", "type: kubernetes\nname: green\nendpoint_name: digits\ncode_configuration: {code: src, scoring_script: score.py}\n"+
			"environment: {image: fairlead/python-ml:bookworm}\ninstance_count: 1\nresources: {requests: {cpu: 50m, memory: 128Mi}}\n")
		_, stderr, err := cliOutput(ml("online-deployment", "create", "-f", filepath.Join(dir, "green.yml"), "-o", "none")...)
		for _, part := range []string{"UserScriptInitFailed", "RuntimeError: no weights today", "inference-server"} {
			if err == nil || !strings.Contains(stderr, part) {
				t.Errorf("%v: %q lacks %q", err, stderr, part)
			}
		}
		if err := o.scores(t.Context()); err != nil {
			t.Errorf("the other deployment: %v", err)
		}
	})
	t.Run("what was measured is told, also of pods that are gone", func(t *testing.T) {
		for what, metrics := range map[string][]string{
			"online-endpoint -n digits":           {"RequestsPerMinute 200", "RequestsPerMinute 401", "RequestLatency", "RequestLatency_P50", "RequestLatency_P99", "NetworkBytes"},
			"online-deployment -n blue -e digits": {"RequestsPerMinute 200", "RequestLatency_P99", "DeploymentCapacity", "CpuUtilizationMillicores", "CpuUtilizationPercentage", "CpuMemoryUtilizationMegabytes"},
		} {
			eventually(t, catchUpLimit, what+" has metrics", func(ctx context.Context) error {
				// What was asked before Prometheus knew of the router is in no minute.
				if status, answer, err := o.score(ctx, "wrong"); err != nil || status != http.StatusUnauthorized {
					return fmt.Errorf("a wrong key: %d %s: %w", status, answer, err)
				}
				if err := o.scores(ctx); err != nil {
					return err
				}
				noun, names, _ := strings.Cut(what, " ")
				got, err := metricsOf(append([]string{noun, "metrics"}, strings.Fields(names)...)...)
				for _, m := range metrics {
					if err == nil && got[m].Maximum <= 0 {
						err = fmt.Errorf("%s is not among %v", m, got)
					}
				}
				return err
			})
		}
	})
	t.Run("over HTTPS, without what training needs", func(t *testing.T) {
		const name = sslName
		cert, key, err := certtest.Pair(time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour), name)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		write(t, dir, "cert.pem", string(cert))
		write(t, dir, "key.pem", string(key))
		must(t, extensionCommand("update", "--config", "enableTraining=False", "allowInsecureConnections=False",
			"--config-protected", "sslCertPemFile="+filepath.Join(dir, "cert.pem"), "sslKeyPemFile="+filepath.Join(dir, "key.pem"), "--yes")...)
		delete(settings, "enableTraining")
		hasRows(t, settings)
		node, err := url.Parse(o.uri)
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(cert)
		s := o
		s.through = reaching(node.Hostname(), roots) // the name is in no DNS; the port is a node's
		eventually(t, startLimit, "a digit for each image over HTTPS", func(ctx context.Context) error {
			s.uri = tsv("online-endpoint", "show", "-n", "digits", "--query", "scoring_uri")
			if !strings.HasPrefix(s.uri, "https://"+name+":") {
				return fmt.Errorf("the address is %s", s.uri)
			}
			return s.scores(ctx)
		})
	})
}

// testFollowedLog: what the model writes of a request is told while it runs, by a command that ends when it is interrupted.
func testFollowedLog(t *testing.T, o online) {
	path := filepath.Join(t.TempDir(), "log")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := command(ml("online-deployment", "get-logs", "-n", "blue", "-e", "digits", "--follow")...)
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { // when it has not ended by then
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	written := func(line string) {
		t.Helper()
		eventually(t, startLimit, line, func(context.Context) error {
			if said, err := os.ReadFile(path); err != nil || !strings.Contains(string(said), line) {
				return fmt.Errorf("the log is %q: %v", said, err)
			}
			return nil
		})
	}
	written("] POST /score 200 ") // of before
	o.uri += "?followed"
	if err := o.scores(t.Context()); err != nil {
		t.Fatal(err)
	}
	written("] POST /score?followed 200 ")
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 130 {
		t.Errorf("interrupted, it ended with %v\n%s", err, &stderr)
	}
}
