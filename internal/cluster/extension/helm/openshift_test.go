package helm

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	securityv1 "github.com/openshift/api/security/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/charts"
	"fairlead.dev/fairlead/internal/cluster/claims"
	"fairlead.dev/fairlead/internal/mountbroker"
	"fairlead.dev/fairlead/internal/testing/kubetest"
)

// seedAccounts are the accounts that the reference has its users add to SCC privileged, and what they are here, as in the guide; ""
// where nothing runs in such an account.
var seedAccounts = map[string]string{
	"azure-arc:azure-arc-kube-aad-proxy-sa": "azure-arc:fairlead-agent",
	"azureml:arcml-kube-state-metrics":      "azureml:arcml-kube-state-metrics",
	"azureml:cluster-status-reporter":       "azureml:cluster-status-reporter",
	"azureml:prom-admission":                "",
	"azureml:default":                       "",
	"azureml:prom-operator":                 "azureml:arcml-prometheus-operator",
	"azureml:csi-blob-node-sa":              "azureml:csi-blob-node",
	"azureml:csi-blob-controller-sa":        "azureml:csi-blob-controller",
	"azureml:load-amlarc-selinux-policy-sa": "azureml:load-amlarc-selinux-policy",
	"azureml:azureml-fe":                    "azureml:azureml-fe",
	"azureml:prom-prometheus":               "azureml:prom-prometheus",
}

// TestOpenShift installs both charts in an API server that has OpenShift's own definition of SecurityContextConstraints.
func TestOpenShift(t *testing.T) {
	cluster := kubetest.Start(t)
	defineConstraints(t, cluster.Config)
	client := New(cluster.Config, slog.New(slog.DiscardHandler))
	install := func(chart, namespace string, values map[string]any) {
		t.Helper()
		c, err := LoadChart(charts.FS, chart)
		if err != nil {
			t.Fatal(err)
		}
		if err := client.Install(t.Context(), Request{Namespace: namespace, Name: "arcml", Chart: c, Values: values, CreateNamespace: true}); err != nil {
			t.Fatal(err)
		}
	}
	image := map[string]any{"agent": "a:1", "router": "f:1", "runtime": "r:1"}
	install(charts.Agent, "azure-arc", map[string]any{"image": image, "global": map[string]any{"endpoint": "https://fl.example", "clusterId": "/x", "tenantId": "t", "onboardingPrivateKey": "KEY"}})
	install(charts.AzureML, "azureml", map[string]any{"image": image, "openshift": "True", "enableTraining": "True", "enableInference": "True", "installDcgmExporter": "True", "allowInsecureConnections": "True"})

	constraints := listConstraints(t, cluster.Config)
	pods := podsOf(t, cluster.Config)
	for name, scc := range constraints {
		t.Run(name, func(t *testing.T) {
			var users []string
			var own []corev1.PodSpec
			for _, p := range pods {
				if account := "system:serviceaccount:" + p.account; slices.Contains(scc.Users, account) {
					users, own = append(users, account), append(own, p.spec)
					if why := refusal(scc, p.spec); why != "" {
						t.Errorf("%s is refused: %s", p.name, why)
					}
				}
			}
			for _, u := range scc.Users {
				if !slices.Contains(users, u) {
					t.Errorf("%s runs nothing", u)
				}
			}
			for _, what := range needless(scc, own) {
				t.Errorf("%s is allowed, and no pod needs it", what)
			}
		})
	}
	testConfinement(t, constraints, pods)
	allowed := func(account string) bool {
		n := 0
		for _, scc := range constraints {
			if slices.Contains(scc.Users, "system:serviceaccount:"+account) {
				n++
			}
		}
		return n == 1
	}
	for _, p := range pods {
		if !allowed(p.account) {
			t.Errorf("%s: account %s is not in one constraint: add it in charts/azureml/templates/system/openshift.yaml", p.name, p.account)
		}
	}
	for seed, account := range seedAccounts {
		if runs := slices.ContainsFunc(pods, func(p pod) bool { return p.account == account }); runs && !allowed(account) {
			t.Errorf("%s, here %s, is not in one constraint", seed, account)
		}
	}
	if err := client.Uninstall("azureml", "arcml"); err != nil {
		t.Fatal(err)
	}
	if left := listConstraints(t, cluster.Config); len(left) != 1 || left["azure-arc"].Name == "" {
		t.Errorf("%d constraints are left", len(left))
	}
}

// testConfinement: SELinux confines every pod as it does containers, but for those with folders of their node, which lie outside of what
// containers reach, whatever these folders' types. The module of the nodes' policy names the domain in which csi-blob-node is asked for
// mounts, and no file of a node: what a confined pod is given of one, models and mounts, comes to it by the kubelet.
func testConfinement(t *testing.T, constraints map[string]securityv1.SecurityContextConstraints, pods []pod) {
	t.Helper()
	domains := map[string]string{}
	for _, p := range pods {
		for _, scc := range constraints {
			if slices.Contains(scc.Users, "system:serviceaccount:"+p.account) {
				domains[p.name] = domain(scc, p.spec)
			}
		}
		node := slices.ContainsFunc(p.spec.Volumes, func(v corev1.Volume) bool { return v.HostPath != nil })
		if want := map[bool]string{true: outside, false: confined}[node]; domains[p.name] != want {
			t.Errorf("%s runs as %s and has folders of its node: %v; want %s", p.name, domains[p.name], node, want)
		}
	}
	source, err := os.ReadFile("../../selinux/fairlead.cil")
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string]string{} // of each type that confined containers may do something to: the class of object
	for _, rule := range regexp.MustCompile(`(?m)^\(allow (\S+) (\S+) \((\S+)`).FindAllStringSubmatch(string(source), -1) {
		if rule[1] != confined {
			t.Errorf("the module gives something to %s", rule[1])
		}
		rules[rule[2]] += rule[3] + " "
	}
	want := map[string]string{
		domains["DaemonSet csi-blob-node"]: "unix_stream_socket fd ", // the broker's socket, and what it answers
		"fuse_device_t":                    "chr_file ",              // /dev/fuse, of which k8s-host-device-plugin-daemonset tells the kubelet
		"fusefs_t":                         "filesystem dir file lnk_file ",
	}
	if !maps.Equal(rules, want) {
		t.Errorf("the module is about %v, want %v", rules, want)
	}
	if got := domains["Pod of a volume"]; got != confined {
		t.Errorf("a pod that serves a volume runs as %s", got)
	}
}

// Types of processes in containers.
const confined, outside = "container_t", "spc_t"

// domain is the SELinux type that a pod runs as under a constraint; container runtimes confine no privileged container.
func domain(scc securityv1.SecurityContextConstraints, spec corev1.PodSpec) string {
	for _, c := range spec.Containers {
		if sc := c.SecurityContext; sc != nil && sc.Privileged != nil && *sc.Privileged {
			return outside
		}
	}
	if o := scc.SELinuxContext.SELinuxOptions; o != nil && o.Type != "" {
		return o.Type
	}
	return confined
}

// defineConstraints applies the custom resource definition of the module github.com/openshift/api.
func defineConstraints(t *testing.T, config *rest.Config) {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/openshift/api").Output()
	if err != nil {
		t.Fatalf("looking for OpenShift's module: %v", err)
	}
	raw, err := os.ReadFile(filepath.Join(string(bytes.TrimSpace(dir)), "security/v1/zz_generated.crd-manifests/0000_03_config-operator_01_securitycontextconstraints.crd.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	crd := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(raw, &crd.Object); err != nil {
		t.Fatal(err)
	}
	crds := dynamic.NewForConfigOrDie(config).Resource(crd.GroupVersionKind().GroupVersion().WithResource("customresourcedefinitions"))
	if _, err := crds.Create(t.Context(), crd, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	timeout, tick := time.After(time.Minute), time.NewTicker(50*time.Millisecond)
	defer tick.Stop()
	discovery := kubernetes.NewForConfigOrDie(config).Discovery()
	for {
		if list, err := discovery.ServerResourcesForGroupVersion(securityv1.GroupVersion.String()); err == nil && len(list.APIResources) > 0 {
			return
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal("SecurityContextConstraints are not served")
		}
	}
}

// listConstraints reads them as OpenShift's own type, which must know every field.
func listConstraints(t *testing.T, config *rest.Config) map[string]securityv1.SecurityContextConstraints {
	t.Helper()
	list, err := dynamic.NewForConfigOrDie(config).Resource(securityv1.GroupVersion.WithResource("securitycontextconstraints")).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]securityv1.SecurityContextConstraints{}
	for _, o := range list.Items {
		var scc securityv1.SecurityContextConstraints
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(o.Object, &scc, true); err != nil {
			t.Fatal(err)
		}
		out[scc.Name] = scc
	}
	return out
}

type pod struct {
	name, account string
	spec          corev1.PodSpec
}

// podsOf lists what both charts run, and what the Prometheus operator makes of its object.
func podsOf(t *testing.T, config *rest.Config) []pod {
	t.Helper()
	var out []pod
	apps := kubernetes.NewForConfigOrDie(config).AppsV1()
	add := func(kind, namespace, name string, spec corev1.PodSpec) {
		out = append(out, pod{kind + " " + name, namespace + ":" + spec.ServiceAccountName, spec})
	}
	for _, ns := range []string{"azure-arc", "azureml"} {
		deployments, err := apps.Deployments(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range deployments.Items {
			add("Deployment", ns, d.Name, d.Spec.Template.Spec)
			if d.Name == "csi-blob-controller" {
				add("Pod", ns, "of a volume", mountPod(d.Spec.Template.Spec))
			}
		}
		sets, err := apps.StatefulSets(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range sets.Items {
			add("StatefulSet", ns, d.Name, d.Spec.Template.Spec)
		}
		daemons, err := apps.DaemonSets(ns).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range daemons.Items {
			add("DaemonSet", ns, d.Name, d.Spec.Template.Spec)
		}
	}
	return append(out, prometheusPod(t, config))
}

// mountPod is what csi-blob-controller makes for a volume on a node.
func mountPod(controller corev1.PodSpec) corev1.PodSpec {
	csi := &corev1.CSIPersistentVolumeSource{Driver: mountbroker.ClaimDriver, VolumeHandle: "pvc-1"}
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pvc-1"}, Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: csi}}}
	return claims.MountPod(&storagev1.VolumeAttachment{Spec: storagev1.VolumeAttachmentSpec{NodeName: "n"}}, volume, &corev1.Pod{Spec: controller}).Spec
}

func prometheusPod(t *testing.T, config *rest.Config) pod {
	t.Helper()
	kind := schema.GroupVersionResource{Group: "monitoring.coreos.com", Version: "v1", Resource: "prometheuses"}
	o, err := dynamic.NewForConfigOrDie(config).Resource(kind).Namespace("azureml").Get(t.Context(), "prom-prometheus", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	spec, _, _ := unstructured.NestedMap(o.Object, "spec")
	var p corev1.PodSpec
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(map[string]any{"serviceAccountName": spec["serviceAccountName"], "securityContext": spec["securityContext"]}, &p); err != nil {
		t.Fatal(err)
	}
	return pod{"Prometheus prom-prometheus", "azureml:" + p.ServiceAccountName, p}
}

// refusal says why OpenShift would refuse a pod under a constraint, "" if it would not.
func refusal(scc securityv1.SecurityContextConstraints, spec corev1.PodSpec) string {
	sc := spec.SecurityContext
	if sc == nil {
		sc = &corev1.PodSecurityContext{}
	}
	switch {
	case spec.HostNetwork || spec.HostPID || spec.HostIPC:
		return "its node's network or processes"
	case sc.FSGroup != nil && !within(scc.FSGroup, *sc.FSGroup):
		return fmt.Sprintf("fsGroup %d", *sc.FSGroup)
	}
	for _, v := range spec.Volumes {
		if kind := volume(v); !slices.Contains(scc.Volumes, kind) || kind == securityv1.FSTypeHostPath && !scc.AllowHostDirVolumePlugin {
			return "volume " + v.Name + " of kind " + string(kind)
		}
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		if why := containerRefusal(scc, sc, c); why != "" {
			return "container " + c.Name + ": " + why
		}
	}
	return ""
}

func containerRefusal(scc securityv1.SecurityContextConstraints, of *corev1.PodSecurityContext, c corev1.Container) string {
	sc := c.SecurityContext
	if sc == nil {
		sc = &corev1.SecurityContext{}
	}
	user, profile := of.RunAsUser, of.SeccompProfile
	if sc.RunAsUser != nil {
		user = sc.RunAsUser
	}
	if sc.SeccompProfile != nil {
		profile = sc.SeccompProfile
	}
	yes := func(b *bool) bool { return b != nil && *b }
	switch {
	case user != nil && scc.RunAsUser.Type == securityv1.RunAsUserStrategyMustRunAs && *user != *scc.RunAsUser.UID:
		return fmt.Sprintf("user %d", *user)
	case yes(sc.Privileged) && !scc.AllowPrivilegedContainer:
		return "privileged"
	case yes(sc.AllowPrivilegeEscalation) && !*scc.AllowPrivilegeEscalation:
		return "allowPrivilegeEscalation"
	case scc.ReadOnlyRootFilesystem && sc.ReadOnlyRootFilesystem != nil && !*sc.ReadOnlyRootFilesystem:
		return "readOnlyRootFilesystem is false"
	case profile != nil && (profile.Type != corev1.SeccompProfileTypeRuntimeDefault || !slices.Contains(scc.SeccompProfiles, "runtime/default")):
		return "seccomp profile " + string(profile.Type)
	}
	if sc.Capabilities != nil {
		for _, add := range sc.Capabilities.Add {
			if !slices.Contains(scc.AllowedCapabilities, add) {
				return "capability " + string(add)
			}
		}
	}
	return ""
}

func within(s securityv1.FSGroupStrategyOptions, id int64) bool {
	return s.Type == securityv1.FSGroupStrategyRunAsAny || slices.ContainsFunc(s.Ranges, func(r securityv1.IDRange) bool { return r.Min <= id && id <= r.Max })
}

func volume(v corev1.Volume) securityv1.FSType {
	switch {
	case v.HostPath != nil:
		return securityv1.FSTypeHostPath
	case v.Secret != nil:
		return securityv1.FSTypeSecret
	case v.ConfigMap != nil:
		return securityv1.FSTypeConfigMap
	case v.EmptyDir != nil:
		return securityv1.FSTypeEmptyDir
	case v.Projected != nil:
		return securityv1.FSProjected
	case v.CSI != nil:
		return securityv1.FSTypeCSI
	}
	return "another"
}

// needless lists what a constraint allows and none of its pods needs.
func needless(scc securityv1.SecurityContextConstraints, pods []corev1.PodSpec) []string {
	needed := func(tighten func(*securityv1.SecurityContextConstraints)) bool {
		tighter := *scc.DeepCopy()
		tighten(&tighter)
		return slices.ContainsFunc(pods, func(p corev1.PodSpec) bool { return refusal(tighter, p) != "" })
	}
	var out []string
	check := func(what string, allowed bool, tighten func(*securityv1.SecurityContextConstraints)) {
		if allowed && !needed(tighten) {
			out = append(out, what)
		}
	}
	check("a privileged container", scc.AllowPrivilegedContainer, func(s *securityv1.SecurityContextConstraints) { s.AllowPrivilegedContainer = false })
	check("a folder of the node", scc.AllowHostDirVolumePlugin, func(s *securityv1.SecurityContextConstraints) { s.AllowHostDirVolumePlugin = false })
	check("any user", scc.RunAsUser.Type == securityv1.RunAsUserStrategyRunAsAny, func(s *securityv1.SecurityContextConstraints) {
		s.RunAsUser = securityv1.RunAsUserStrategyOptions{Type: securityv1.RunAsUserStrategyMustRunAs, UID: new(int64(65532))}
	})
	for i, c := range scc.AllowedCapabilities {
		check("capability "+string(c), true, func(s *securityv1.SecurityContextConstraints) {
			s.AllowedCapabilities = slices.Delete(s.AllowedCapabilities, i, i+1)
		})
	}
	host := scc.AllowHostNetwork || scc.AllowHostPID || scc.AllowHostIPC || scc.AllowHostPorts
	if host || len(scc.Groups) > 0 || len(scc.DefaultAddCapabilities) > 0 || !scc.AllowPrivilegedContainer && !slices.Equal(scc.RequiredDropCapabilities, []corev1.Capability{"ALL"}) {
		out = append(out, "more than its pods ask for")
	}
	if !scc.ReadOnlyRootFilesystem && !strings.HasSuffix(scc.Name, "-nvidia") {
		out = append(out, "writing to the root file system")
	}
	return out
}
