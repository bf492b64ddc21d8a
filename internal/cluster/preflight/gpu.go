package preflight

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// gpu is the resource that device plugins of NVIDIA's kind register.
const gpu = "nvidia.com/gpu"

// devicePlugin is the name of the chart's, and of that in NVIDIA's own manifest.
const devicePlugin = "nvidia-device-plugin-daemonset"

// registers accepts DaemonSets that register nvidia.com/gpu with the kubelet: NVIDIA's own, also that of its GPU operator and of
// mirrors of its image, those of Google's and other clouds, and ones that share GPUs under that name (HAMi).
func registers(w Workload) bool {
	if w.Kind != "DaemonSet" {
		return false
	}
	labels := []string{w.Labels["app.kubernetes.io/name"], w.Labels["app"], w.Labels["name"], w.Labels["k8s-app"]}
	named := func(s string) bool {
		return strings.HasPrefix(s, "nvidia-device-plugin") || strings.HasPrefix(s, "nvidia-gpu-device-plugin") || strings.HasPrefix(s, "hami-device-plugin")
	}
	nvidias := image("k8s-device-plugin")(w) && strings.Contains(strings.Join(w.Images, " ")+w.Name, "nvidia")
	return nvidias || image("nvidia-gpu-device-plugin", "nvidia-device-plugin", "hami")(w) || named(w.Name) || slices.ContainsFunc(labels, named)
}

func checkDevicePlugin(s Subject, f Facts) []Finding {
	if !s.on("installNvidiaDevicePlugin") {
		return nil
	}
	no := map[string]any{"installNvidiaDevicePlugin": "False"}
	if plugin := f.foreign(s, registers); plugin != nil {
		return append(one(left(no, "%s registers %s", plugin, gpu)), unready(plugin)...)
	}
	own := func(w Workload) bool { return w.Namespace == s.Namespace && w.Release == s.Release && registers(w) }
	if slices.ContainsFunc(f.Workloads, own) || f.unread("workloads") {
		return nil
	}
	// Some systems for nodes bring a plugin that is no DaemonSet.
	for _, n := range f.Nodes {
		if q := n.Status.Allocatable[corev1.ResourceName(gpu)]; q.Sign() > 0 {
			return one(left(no, "node %s offers %s already, by a plugin that is part of the node", n.Name, gpu))
		}
	}
	return nil
}

func checkExporter(s Subject, f Facts) []Finding {
	exporter := f.foreign(s, func(w Workload) bool { return w.Kind == "DaemonSet" && image("dcgm-exporter")(w) })
	if exporter == nil || !s.on("installDcgmExporter") {
		return nil
	}
	return append(one(left(map[string]any{"installDcgmExporter": "False"}, "%s is a DCGM exporter", exporter)), unready(exporter)...)
}

// checkRuntime has NVIDIA's pods run in the runtime class that clusters have whose default runtime knows nothing of GPUs.
func checkRuntime(s Subject, f Facts) []Finding {
	if !f.NvidiaRuntime || !s.on("installNvidiaDevicePlugin") && !s.on("installDcgmExporter") {
		return nil
	}
	return one(left(map[string]any{"nvidia": map[string]any{"runtimeClassName": "nvidia"}}, "RuntimeClass nvidia is that of NVIDIA's pods"))
}
