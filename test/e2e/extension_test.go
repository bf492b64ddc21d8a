//go:build cluster

package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/testing/rows"
)

// hasRows waits until the cluster has exactly the workloads of the table and every pod of them runs.
func hasRows(t *testing.T, settings map[string]string) {
	t.Helper()
	eventually(t, 3*time.Minute, fmt.Sprintf("exactly the rows of %v", settings), func(context.Context) error {
		list := []string{"kubectl", "get", "-n", "azureml", "-o"}
		out, err := cli(append(slices.Clone(list), `jsonpath={range .items[*]}{.kind} {.metadata.name}{"\n"}{end}`, "deployments,daemonsets,statefulsets")...)
		if err != nil {
			return err
		}
		if diff := rows.Diff(rows.Of(extension, settings), strings.Split(strings.TrimSpace(out), "\n")); diff != "" {
			return errors.New(diff)
		}
		out, err = cli(append(slices.Clone(list), `jsonpath={range .items[*]}{.metadata.name} {.status.phase}{.metadata.deletionTimestamp} {.status.containerStatuses[*].ready}{"\n"}{end}`, "pods")...)
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) < 3 || f[1] != "Running" || slices.Contains(f[2:], "false") {
				return errors.New("pod " + line)
			}
		}
		return nil
	})
}

// trained is what the suite's extension is made with.
func trained() map[string]string {
	return map[string]string{"enableTraining": "True", "installPromOp": "True", "installNfd": "True", "installJobSet": "True", "installNvidiaDevicePlugin": "True"}
}

func TestExtension_HasTheRowsOfItsScenario(t *testing.T) { hasRows(t, trained()) }

// gpuPlugin is a device plugin of somebody else's: it offers two GPUs that are /dev/null. It is the extension's own host device plugin
// under another resource, name and namespace, so that the kubelet, its protocol and the scheduler are real.
const gpuPlugin = `apiVersion: apps/v1
kind: DaemonSet
metadata: {name: nvidia-device-plugin-daemonset, namespace: kube-system}
spec:
  selector: {matchLabels: {app: gpus}}
  template:
    metadata: {labels: {app: gpus}}
    spec:
      tolerations: [{operator: Exists}]
      containers:
      - name: plugin
        image: %s
        args: [host-device-plugin, --device=/dev/null, --resource=nvidia.com/gpu, --count=2, "--health-addr=:8080"]
        securityContext: {runAsUser: 0}
        volumeMounts: [{name: plugins, mountPath: /var/lib/kubelet/device-plugins}]
      volumes: [{name: plugins, hostPath: {path: /var/lib/kubelet/device-plugins}}]
`

// TestGPUs_AreGivenByInstanceType: jobs get the GPUs that their instance type asks for, from whichever plugin registers them; that of
// somebody else is found and left alone, and the extension's own goes. When the other has gone, it comes back.
func TestGPUs_AreGivenByInstanceType(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "plugin.yml", fmt.Sprintf(gpuPlugin, givenImages(t)["agent"]))
	plugin := []string{"-f", dir + "/plugin.yml"}
	kubectl(t, append([]string{"apply"}, plugin...)...)
	offered := func(n string) {
		t.Helper()
		eventually(t, time.Minute, "the node offers "+n+" GPUs", func(context.Context) error {
			out, err := cli("kubectl", "get", "node", node0, "-o", `jsonpath={.status.allocatable.nvidia\.com/gpu}`)
			if err == nil && strings.TrimSpace(out) != n {
				err = fmt.Errorf("%q", out)
			}
			return err
		})
	}
	settings := trained()
	defer func() {
		kubectl(t, append([]string{"delete"}, plugin...)...)
		offered("0")
		must(t, extensionCommand("update", "--config", "nodeLostSeconds=10", "--yes")...)
		settings["installNvidiaDevicePlugin"] = "True"
		hasRows(t, settings)
	}()
	offered("2")
	gpus := func(n int) string {
		return fmt.Sprintf("limits: {cpu: 1, memory: 512Mi, nvidia.com/gpu: %d}", n)
	}
	applyType(t, "gpus", smallRequests, gpus(2))
	applyType(t, "three-gpus", smallRequests, gpus(3))
	submit(t, "gpus", header+"command: test -c /dev/null && echo n $AMLARC_NUM_GPU_PER_WORKER\nresources: {instance_type: gpus}\n")
	submit(t, "three-gpus", header+"command: 'true'\nresources: {instance_type: three-gpus}\n")
	awaitStatus(t, "gpus", "Completed", startLimit)
	if log := must(t, ml("job", "stream", "-n", "gpus")...); !strings.Contains(log, "n 2") {
		t.Errorf("the job was not told of its GPUs:\n%s", log)
	}
	await(t, "three-gpus", startLimit, func(s jobState) bool {
		return s.Properties["fairlead.statusReason"] == "Unschedulable" && strings.Contains(s.Properties["fairlead.statusMessage"], "nvidia.com/gpu")
	})
	must(t, ml("job", "cancel", "-n", "three-gpus")...)

	must(t, extensionCommand("update", "--config", "nodeLostSeconds=11", "--yes")...)
	settings["installNvidiaDevicePlugin"] = "False"
	hasRows(t, settings)
	if statuses := must(t, extensionCommand("show", "--query", "statuses", "-o", "json")...); !strings.Contains(statuses, "DaemonSet kube-system/nvidia-device-plugin-daemonset registers nvidia.com/gpu; it is left alone") {
		t.Errorf("statuses do not tell of the plugin that was found:\n%s", statuses)
	}
}
