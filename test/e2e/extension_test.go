//go:build cluster

package e2e

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
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

// gpuPlugin is a device plugin of somebody else's, with an exporter: it offers two GPUs that are /dev/null. It is the extension's own host device plugin
// under another resource, name and namespace, so that the kubelet, its protocol and the scheduler are real. The exporter has no node.
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
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: exporter, namespace: kube-system}
spec:
  selector: {matchLabels: {app: exporter}}
  template:
    metadata: {labels: {app: exporter}}
    spec:
      nodeSelector: {fairlead.test/gpus: none}
      containers: [{name: exporter, image: "nvcr.io/nvidia/k8s/dcgm-exporter:4.4.2-4.7.0-distroless"}]
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
		must(t, extensionCommand("update", "--config", "nodeLostSeconds=10", "installDcgmExporter=False", "--yes")...)
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

	must(t, extensionCommand("update", "--config", "nodeLostSeconds=11", "installDcgmExporter=True", "--yes")...)
	settings["installNvidiaDevicePlugin"] = "False"
	hasRows(t, settings)
	statuses := must(t, extensionCommand("show", "--query", "statuses", "-o", "json")...)
	for _, what := range []string{"kube-system/nvidia-device-plugin-daemonset registers nvidia.com/gpu", "kube-system/exporter is a DCGM exporter"} {
		if !strings.Contains(statuses, "DaemonSet "+what+"; it is left alone") {
			t.Errorf("statuses do not tell that DaemonSet %s:\n%s", what, statuses)
		}
	}
}

// TestNvidia_PodsGoToNodesWithGPUs: NVIDIA's plugin and exporter have no pod until a node is labelled as one with a GPU. There they are
// scheduled and have their volumes, and wait for nothing but NVIDIA's images, which this cluster cannot get; they go with the label.
func TestNvidia_PodsGoToNodesWithGPUs(t *testing.T) {
	const label = "feature.node.kubernetes.io/pci-0302_10de.present"
	settings := trained()
	settings["installDcgmExporter"] = "True"
	t.Cleanup(func() {
		kubectl(t, "label", "node", node0, label+"-")
		must(t, extensionCommand("update", "--config", "installDcgmExporter=False", "--yes")...)
		hasRows(t, trained())
	})
	must(t, extensionCommand("update", "--config", "installDcgmExporter=True", "--yes")...)
	hasRows(t, settings)
	pods := func(name string) (string, error) {
		return cli("kubectl", "get", "pods", "-n", "azureml", "-l", "app.kubernetes.io/name="+name, "-o",
			"jsonpath={range .items[*]}{.spec.nodeName} {.spec.containers[*].image} {.status.containerStatuses[*].state.waiting.reason}{end}")
	}
	images := map[string]string{"nvidia-device-plugin": "nvcr.io/nvidia/k8s-device-plugin:", "dcgm-exporter": "nvcr.io/nvidia/k8s/dcgm-exporter:"}
	for name := range images {
		if out, err := pods(name); err != nil || out != "" {
			t.Errorf("pods of %s where no node has a GPU: %s, %v", name, out, err)
		}
	}
	kubectl(t, "label", "node", node0, label+"=true")
	for name, image := range images {
		eventually(t, startLimit, name+" waits for its image", func(context.Context) error {
			out, err := pods(name)
			if f := strings.Fields(out); err == nil && (len(f) != 3 || f[0] != node0 || !strings.HasPrefix(f[1], image) || !strings.HasPrefix(f[2], "ErrImagePull") && f[2] != "ImagePullBackOff") {
				err = errors.New(out)
			}
			return err
		})
	}
	kubectl(t, "label", "node", node0, label+"-")
	hasRows(t, settings)
}

// fuseOpener is a pod without privileges that opens /dev/fuse. It is root, because a machine without udev leaves the device to root.
const fuseOpener = `apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: default}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: fairlead/python-ml:bookworm
    command: [python3, -c, "import os; os.open('/dev/fuse', os.O_RDWR)"]
    terminationMessagePolicy: FallbackToLogsOnError
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
    resources: {limits: {fairlead.dev/fuse: 1}}
`

// TestHostDevice_PodsWaitForItsPlugin: where the plugin is, a pod gets the device that it asks for; where it is not, the pod waits for a
// node that has it, and runs when the plugin is back. A plugin that is killed is there again.
func TestHostDevice_PodsWaitForItsPlugin(t *testing.T) {
	const plugin = "daemonset/k8s-host-device-plugin-daemonset"
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name+".yml") }
	open := func(name string) {
		t.Helper()
		write(t, dir, name+".yml", fmt.Sprintf(fuseOpener, name))
		kubectl(t, "apply", "-f", file(name))
		t.Cleanup(func() { kubectl(t, "delete", "pod", "-n", "default", name) })
	}
	becomes := func(name, what, field, want string) {
		t.Helper()
		eventually(t, startLimit, name+" "+what, func(context.Context) error {
			out, err := cli("kubectl", "get", "pod", "-n", "default", name, "-o", "jsonpath="+field+" {.status.reason} {.status.containerStatuses[*].state.terminated.message}")
			if err == nil && strings.Contains(out, "UnexpectedAdmissionError") { // it came before the plugin, and is made anew as its owner would
				if _, err := cli("kubectl", "replace", "--force", "-f", file(name)); err != nil {
					return err
				}
			}
			if err == nil && !strings.Contains(out, want) {
				err = fmt.Errorf("%q", out)
			}
			return err
		})
	}
	open("fuse-there")
	becomes("fuse-there", "opens the device", "{.status.phase}", "Succeeded")

	away := func(value string) {
		t.Helper()
		kubectl(t, "patch", plugin, "-n", "azureml", "--type=merge", "-p", `{"spec": {"template": {"spec": {"nodeSelector": {"fairlead.test/fuse": `+value+`}}}}}`)
	}
	away(`"none"`)
	t.Cleanup(func() { away("null") })
	eventually(t, startLimit, "the node offers no device", func(context.Context) error {
		out, err := cli("kubectl", "get", "node", node0, "-o", `jsonpath={.status.allocatable.fairlead\.dev/fuse}`)
		if err == nil && out != "0" {
			err = fmt.Errorf("%q", out)
		}
		return err
	})
	open("fuse-away")
	becomes("fuse-away", "waits for a node", `{.status.conditions[?(@.type=="PodScheduled")].message}`, "Insufficient fairlead.dev/fuse")
	away("null")
	becomes("fuse-away", "opens the device when the plugin is back", "{.status.phase}", "Succeeded")

	killPart(t, "host-device-plugin", []string{"fairlead-agent", "host-device-plugin"})
	open("fuse-again")
	becomes("fuse-again", "opens the device when the plugin was killed", "{.status.phase}", "Succeeded")
	hasRows(t, trained())
}
