//go:build cluster

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestUpgrade_UpWithOtherPrograms brings the cluster up again with an agent and a runtime of other bytes: every component comes to
// run them, and a job that runs meanwhile goes on in its pod, with what it was started with.
func TestUpgrade_UpWithOtherPrograms(t *testing.T) {
	before := givenImages(t)
	other := otherPrograms(t)
	submit(t, "upgraded", header+patient)
	awaitStatus(t, "upgraded", "Running", startLimit)
	pod := runningPod(t)
	if pod.runtime != before["runtime"] {
		t.Errorf("the job's runtime is of %s, want %s", pod.runtime, before["runtime"])
	}
	t.Cleanup(func() {
		if _, err := cli(up...); err != nil {
			t.Error(err)
		}
		awaitImages(t, before)
	})
	cmd := command(up...)
	cmd.Path = filepath.Join(other, "fairlead")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("up with other programs: %v\n%s", err, out)
	}
	after := givenImages(t)
	for _, key := range []string{"agent", "runtime"} {
		if after[key] == before[key] || after[key] == "" {
			t.Errorf("image of the %s is %q, and was %q", key, after[key], before[key])
		}
	}
	awaitImages(t, after)
	if now := runningPod(t); now != pod {
		t.Errorf("the job's pod is %+v, and was %+v", now, pod)
	}
	pod.release(t)
	finished(t, "upgraded", 2)

	submit(t, "upgraded-after", header+patient)
	awaitStatus(t, "upgraded-after", "Running", startLimit)
	pod = runningPod(t)
	if pod.runtime != after["runtime"] {
		t.Errorf("the runtime of a job of afterwards is of %s, want %s", pod.runtime, after["runtime"])
	}
	pod.release(t)
	finished(t, "upgraded-after", 2)
}

// patient is a job that ends when its pod is released.
const patient = "command: echo n 1; until [ -e /tmp/released ]; do sleep 0.2; done; echo n 2\n"

// jobPod is the pod of a job, and the image that brought its runtime.
type jobPod struct{ name, uid, runtime string }

// runningPod is the pod of the only job that runs.
func runningPod(t *testing.T) jobPod {
	t.Helper()
	out := kubectl(t, "get", "pods", "-n", "default", "-l", "ml.azure.com/run-id", "--field-selector", "status.phase=Running",
		"-o", `jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.spec.initContainers[0].image} {end}`)
	f := strings.Fields(out)
	if len(f) != 3 {
		t.Fatalf("running pods of jobs %q, want one", out)
	}
	return jobPod{f[0], f[1], f[2]}
}

func (p jobPod) release(t *testing.T) {
	t.Helper()
	kubectl(t, "exec", "-n", "default", p.name, "--", "touch", "/tmp/released")
}

// otherPrograms is a folder with the programs of the suite, of which those that run in the cluster have other bytes.
func otherPrograms(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, more := range map[string]string{"fairlead": "", "fairlead-agent": "other", "fairlead-runtime": "other"} {
		data, err := os.ReadFile(filepath.Join(w.bin, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), append(data, more...), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	components, err := filepath.EvalSymlinks(filepath.Join(w.bin, "localcluster"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(components, filepath.Join(dir, "localcluster")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// givenImages are the images that the cluster says it was given.
func givenImages(t *testing.T) map[string]string {
	t.Helper()
	out := strings.Fields(kubectl(t, "get", "configmap", "fairlead-images", "-n", "kube-public", "-o", "jsonpath={.data.agent} {.data.runtime}"))
	if len(out) != 2 {
		t.Fatalf("the cluster's images %q", out)
	}
	return map[string]string{"agent": out[0], "runtime": out[1]}
}

// awaitImages waits until the agent and the extension's components are ready with the given images.
func awaitImages(t *testing.T, images map[string]string) {
	t.Helper()
	want := strings.Join([]string{
		"fairlead-agent " + images["agent"], "aml-operator " + images["agent"], "cluster-status-reporter " + images["agent"],
		"csi-blob-controller " + images["agent"], "gateway " + images["agent"], "metrics-controller-manager " + images["agent"], "relayserver " + images["agent"],
	}, "\n")
	list := `{range .items[*]}{.metadata.name} {.spec.template.spec.containers[0].image}{"\n"}{end}`
	for deadline := time.Now().Add(2 * time.Minute); ; <-time.After(500 * time.Millisecond) {
		all := kubectl(t, "get", "deployments", "-n", "azure-arc", "-o", "jsonpath="+list) + kubectl(t, "get", "deployments", "-n", "azureml", "-o", "jsonpath="+list)
		own := slices.DeleteFunc(strings.Split(all, "\n"), func(line string) bool { return !strings.Contains(line, " fairlead/") })
		got := strings.Join(own, "\n")
		if got == want {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the components' images are\n%s\nwant\n%s", got, want)
		}
	}
	for _, d := range []string{"gateway", "relayserver", "cluster-status-reporter", "aml-operator"} {
		kubectl(t, "rollout", "status", "deployment/"+d, "-n", "azureml", "--timeout=2m")
	}
	if args := kubectl(t, "get", "deployment", "aml-operator", "-n", "azureml", "-o", "jsonpath={.spec.template.spec.containers[0].args}"); !strings.Contains(args, images["runtime"]) {
		t.Errorf("aml-operator's arguments %s lack %s", args, images["runtime"])
	}
}
