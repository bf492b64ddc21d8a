package preflight

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"fairlead.dev/fairlead/internal/extensionsettings"
)

var now = time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)

const (
	updates   = "fairlead k8s-extension update -n arcml -c edge -t connectedClusters -g lab --configuration-settings "
	clusterID = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/lab/providers/Microsoft.Kubernetes/connectedClusters/edge"
)

// subject wants training with defaults for all else.
func subject() Subject {
	return Subject{
		Phase: PreInstall, Release: "arcml", Namespace: "azureml", ClusterID: clusterID, AgentNamespace: "azure-arc", Now: now,
		Settings: extensionsettings.Settings{Plain: map[string]string{"enableTraining": "True"}, Protected: map[string]string{}},
		Footprint: Footprint{Pods: []Pods{
			{Workload: "Deployment gateway", Count: 1, Requests: Amount{5, 24 << 20}, Limits: Amount{500, 256 << 20}},
			{Workload: "Deployment relayserver", Count: 2, Requests: Amount{10, 20 << 20}, Limits: Amount{1000, 512 << 20}},
		}},
	}
}

func node(name string) corev1.Node {
	return corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64"}},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourceMemory: resource.MustParse("4Gi")},
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
}

// healthy is a cluster in which nothing is found.
func healthy() Facts {
	return Facts{
		Version: "v1.36.3", Major: 1, Minor: 36, Allowed: true, Nodes: []corev1.Node{node("n1"), node("n2"), node("n3")},
		Requested: map[string]Amount{"n1": {100, 1 << 30}}, Groups: map[string][]string{"apps": {"v1"}},
		Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "azureml"}},
	}
}

// fault is a mistake in a cluster or in what is asked of it.
type fault struct {
	make    func(*Subject, *Facts)
	code    Code
	level   Level
	message string
	fix     string
}

func (s *Subject) set(pairs ...string) {
	for _, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		s.Settings.Plain[name] = value
	}
}

// serve asks for a router with a certificate in Secret tls.
func (s *Subject) serve() {
	s.set("enableInference=True", "sslSecret=tls", "sslCname=ml.example.com", "inferenceRouterServiceType=nodePort")
}

func secret(cert, key []byte) *corev1.Secret {
	return &corev1.Secret{Data: map[string][]byte{"cert.pem": cert, "key.pem": key}}
}

func pair(name string, until time.Time) (cert, key []byte) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: now.Add(-48 * time.Hour), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		panic(err)
	}
	doc, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		panic(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: doc})
}

func workload(kind, namespace, name, image string, ready bool) Workload {
	return Workload{Kind: kind, Namespace: namespace, Name: name, Images: []string{image}, Ready: ready}
}

func quota(name corev1.ResourceName, hard, used string) corev1.ResourceQuota {
	return corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "team"}, Status: corev1.ResourceQuotaStatus{
		Hard: corev1.ResourceList{name: resource.MustParse(hard)}, Used: corev1.ResourceList{name: resource.MustParse(used)},
	}}
}

func limit(item corev1.LimitRangeItem) []corev1.LimitRange {
	item.Type = corev1.LimitTypeContainer
	return []corev1.LimitRange{{ObjectMeta: metav1.ObjectMeta{Name: "small"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{item}}}}
}

func deny(way networkingv1.PolicyType) []networkingv1.NetworkPolicy {
	return []networkingv1.NetworkPolicy{{ObjectMeta: metav1.ObjectMeta{Name: "deny"}, Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{way}}}}
}

func eachNode(change func(*corev1.Node)) func(*Subject, *Facts) {
	return func(_ *Subject, f *Facts) {
		for i := range f.Nodes {
			change(&f.Nodes[i])
		}
	}
}

const renew = "kubectl create secret generic tls -n azureml --from-file=cert.pem --from-file=key.pem --dry-run=client -o yaml | kubectl apply -f -"

var clusterFaults = map[string]fault{
	"nodes unreadable": {func(_ *Subject, f *Facts) {
		f.Nodes, f.Unread = nil, []Unread{{"nodes", apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "", errors.New("no"))}}
	}, UnknownError, Warning, "nodes could not be read: nodes", "kubectl create clusterrolebinding fairlead-agent-admin --clusterrole=cluster-admin --serviceaccount=azure-arc:fairlead-agent"},
	"API server silent": {func(_ *Subject, f *Facts) { f.Unread = []Unread{{"pods", errors.New("timeout")}} },
		UnknownError, Warning, "pods could not be read: timeout", "kubectl get --raw=/readyz?verbose"},
	"rights": {func(_ *Subject, f *Facts) { f.Allowed = false },
		InsufficientRights, Error, "the agent's account is not cluster-admin", "kubectl create clusterrolebinding fairlead-agent-admin"},
	"old Kubernetes": {func(_ *Subject, f *Facts) { f.Version, f.Minor = "v1.29.4", 29 },
		VersionNotSupported, Error, "Kubernetes v1.29.4; the oldest that is supported is 1.30", "kubeadm upgrade plan"},
	"new Kubernetes": {func(_ *Subject, f *Facts) { f.Version, f.Minor = "v1.99.0", 99 },
		VersionNotTested, Warning, "v1.99.0; the newest that this agent was tested with is 1.36", "fairlead connectedk8s connect -n edge -g lab"},
	"no node": {func(_ *Subject, f *Facts) { f.Nodes = nil },
		InsufficientNode, Error, "the cluster has no node", "kubeadm token create"},
	"no node yet, but an autoscaler": {func(_ *Subject, f *Facts) { f.Nodes, f.Autoscaler = nil, true },
		InsufficientNode, Warning, "the cluster's autoscaler may make one", "add a Linux node"},
	"node selector": {func(s *Subject, _ *Facts) { s.set("nodeSelector.pool=ml") },
		InsufficientNode, Error, "no node has the labels of setting nodeSelector: pool=ml", "kubectl label node n1 pool=ml"},
	"Windows": {eachNode(func(n *corev1.Node) { n.Labels[corev1.LabelOSStable] = "windows" }),
		InsufficientNode, Error, "no node runs Linux on amd64 or arm64", join},
	"architecture": {eachNode(func(n *corev1.Node) { n.Labels[corev1.LabelArchStable] = "s390x" }),
		InsufficientNode, Error, "no node runs Linux on amd64 or arm64", join},
	"not ready": {eachNode(func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown }),
		InsufficientNode, Error, "no node is Ready, n1 among them", "systemctl restart kubelet"},
	"cordoned": {eachNode(func(n *corev1.Node) { n.Spec.Unschedulable = true }),
		InsufficientNode, Error, "every node is cordoned", "kubectl uncordon n1"},
	"tainted": {eachNode(func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: "gpu", Value: "yes", Effect: corev1.TaintEffectNoSchedule}}
	}), InsufficientNode, Error, "such as gpu:NoSchedule on n1", "kubectl taint node n1 gpu:NoSchedule-"},
	"full": {func(_ *Subject, f *Facts) {
		f.Requested = map[string]Amount{"n1": {2000, 0}, "n2": {1999, 0}, "n3": {2500, 0}}
	}, InsufficientCapacity, Warning, "ask for 25m CPU and 64Mi memory; 3 nodes that take them have 1m CPU and 12288Mi memory left", "kubectl describe nodes"},
	"unreachable": {func(_ *Subject, f *Facts) { f.Unreachable = errors.New("proxyconnect tcp: refused") },
		BadNetwork, Warning, "cannot be reached from the cluster: proxyconnect tcp: refused", "fairlead connectedk8s update -n edge -g lab --proxy-https http://"},
	"clock": {func(_ *Subject, f *Facts) { f.Ahead = -7 * time.Minute },
		ClockSkew, Warning, "differ by 7m0s", "timedatectl set-ntp true"},
	"agent restarts": {func(_ *Subject, f *Facts) {
		f.Agent = []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "azure-arc", Name: "fairlead-agent-x"}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
			{Name: "agent", RestartCount: 9, LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}},
		}}}}
	}, AgentUnhealthy, Warning, "container agent restarted 9 times, last with exit code 137 (OOMKilled)", "kubectl logs -n azure-arc fairlead-agent-x -c agent --previous says why; kubectl set resources -n azure-arc deployment/fairlead-agent -c agent --limits=memory=1Gi"},
	"agent crashes": {func(_ *Subject, f *Facts) {
		f.Agent = []corev1.Pod{{ObjectMeta: metav1.ObjectMeta{Namespace: "azure-arc", Name: "fairlead-agent-x"}, Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
			{Name: "agent", RestartCount: 9, LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 2, Reason: "Error"}}},
		}}}}
	}, AgentUnhealthy, Warning, "last with exit code 2 (Error)", "kubectl rollout restart -n azure-arc deployment/fairlead-agent"},
	"webhook": {func(_ *Subject, f *Facts) {
		f.Webhooks = []Webhook{{Kind: "ValidatingWebhookConfiguration", Config: "policy", Name: "pods.policy.io", Service: "policy/webhook"}}
	}, WebhookNotAnswering, Error, "Service policy/webhook has no pod that answers", "kubectl delete validatingwebhookconfiguration policy"},
}

var namespaceFaults = map[string]fault{
	"terminating": {func(_ *Subject, f *Facts) {
		f.Namespace.DeletionTimestamp = &metav1.Time{Time: now}
		f.Namespace.Status.Conditions = []corev1.NamespaceCondition{{Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionTrue, Message: "pods. has 1 resource instances"}}
	}, NamespaceTerminating, Error, "unable to create new content in namespace azureml because it is being terminated; pods. has 1", "kubectl patch <kind> <name> -n azureml --type=merge"},
	"quota of pods": {func(_ *Subject, f *Facts) { f.Quotas = []corev1.ResourceQuota{quota(corev1.ResourcePods, "4", "2")} },
		QuotaExceeded, Error, "ResourceQuota azureml/team leaves 2 of pods, and the extension needs 3", "kubectl edit resourcequota team -n azureml"},
	"quota of CPU": {func(_ *Subject, f *Facts) {
		f.Quotas = []corev1.ResourceQuota{quota(corev1.ResourceRequestsCPU, "1", "990m")}
	}, QuotaExceeded, Error, "leaves 10m of requests.cpu, and the extension needs 25m", "kubectl edit resourcequota team"},
	"quota of memory": {func(_ *Subject, f *Facts) {
		f.Quotas = []corev1.ResourceQuota{quota(corev1.ResourceMemory, "32Mi", "0")}
	}, QuotaExceeded, Error, "leaves 32Mi of memory, and the extension needs 64Mi", "kubectl edit resourcequota team"},
	"limit range, maximum": {func(_ *Subject, f *Facts) {
		f.Limits = limit(corev1.LimitRangeItem{Max: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("128Mi")}})
	}, LimitRangeConflict, Error, "Deployment gateway: its limit of 256Mi memory is above the maximum, 128Mi", "kubectl edit limitrange small -n azureml"},
	"limit range, minimum": {func(_ *Subject, f *Facts) {
		f.Limits = limit(corev1.LimitRangeItem{Min: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}})
	}, LimitRangeConflict, Error, "its request of 5m CPU is below the minimum, 100m", "kubectl edit limitrange small -n azureml"},
	"no egress": {func(_ *Subject, f *Facts) { f.Policies = deny(networkingv1.PolicyTypeEgress) },
		BadNetwork, Warning, "NetworkPolicy azureml/deny allows no egress", "kubectl delete networkpolicy deny -n azureml"},
	"no ingress": {func(_ *Subject, f *Facts) { f.Policies = deny(networkingv1.PolicyTypeIngress) },
		BadNetwork, Warning, "allows no ingress: the API server does not reach", "kubectl delete networkpolicy deny -n azureml"},
	"pod security": {func(s *Subject, f *Facts) {
		f.Namespace.Labels = map[string]string{enforce: "restricted"}
		s.Footprint.Pods = append(s.Footprint.Pods, Pods{Workload: "DaemonSet fluent-bit", Count: 1, Host: "folder /var/log of its node"})
	}, PodSecurityConflict, Error, `enforces Pod Security level "restricted", and DaemonSet fluent-bit needs folder /var/log of its node`, "kubectl label namespace azureml pod-security.kubernetes.io/enforce=privileged --overwrite"},
	"pull secret": {func(s *Subject, _ *Facts) { s.PullSecret = "registry" },
		PullSecretNotFound, Warning, "Secret azureml/registry is not there", "kubectl create secret docker-registry registry -n azureml"},
	"another release": {func(_ *Subject, f *Facts) {
		f.Existing = []Object{{Kind: "ClusterRole", Name: "azureml-gateway", Release: "other", ReleaseNamespace: "ml", Alive: true}}
	}, OwnedByAnotherRelease, Error, `ClusterRole azureml-gateway exists and cannot be taken over: invalid ownership metadata; annotation validation error: key "meta.helm.sh/release-name" must equal "arcml": current value is "other"`,
		"helm uninstall other -n ml; to keep that release and hand over this object: kubectl annotate clusterrole azureml-gateway --overwrite meta.helm.sh/release-name=arcml meta.helm.sh/release-namespace=azureml"},
	"somebody else's": {func(_ *Subject, f *Facts) {
		f.Existing = []Object{{Kind: "Service", Namespace: "azureml", Name: "gateway"}}
	}, OwnedByAnotherRelease, Error, `Service azureml/gateway exists and was made by no installation of this extension: invalid ownership metadata`,
		"kubectl delete service gateway -n azureml, with whatever deploys it; to hand it over: kubectl annotate service gateway -n azureml --overwrite meta.helm.sh/release-name=arcml meta.helm.sh/release-namespace=azureml"},
	"somebody else's of a release that is gone": {func(_ *Subject, f *Facts) {
		f.Existing = []Object{{Kind: "ClusterRole", Name: "azureml-gateway", Release: "gone", ReleaseNamespace: "ml"}}
	}, OwnedByAnotherRelease, Error, `ClusterRole azureml-gateway exists and was made by no installation`, "kubectl annotate clusterrole azureml-gateway --overwrite"},
	"leftovers": {func(_ *Subject, f *Facts) {
		f.Existing = []Object{{Kind: "ClusterRole", Name: "azureml-gateway", Release: "gone", ReleaseNamespace: "ml", Ours: true}, {Kind: "Service", Namespace: "azureml", Name: "x", Ours: true}}
	}, LeftoversAdopted, Information, "this one's from now on: ClusterRole azureml-gateway, Service azureml/x", ""},
}

var componentFaults = map[string]fault{
	"custom resources of another": {func(_ *Subject, f *Facts) { f.Groups[amlGroup] = []string{"v1"} },
		CustomResourceConflict, Error, "serves amlarc.azureml.com/v1 of another installation, and the extension needs v1alpha1", "kubectl get crd -o name | grep amlarc.azureml.com | xargs kubectl delete"},
	"JobSet of another version": {func(_ *Subject, f *Facts) { f.Groups[jobSetGroup] = []string{"v1beta9"} },
		CustomResourceConflict, Error, "JobSet serves v1beta9, and jobs need v1alpha2", "kubectl apply --server-side -f " + jobSetManifest},
	"JobSet missing": {func(s *Subject, _ *Facts) { s.set("installJobSet=False") },
		JobSetNotFound, Error, "the cluster has no JobSet controller", updates + "installJobSet=True"},
	"JobSet found": {func(_ *Subject, f *Facts) {
		f.Groups[jobSetGroup] = []string{"v1alpha2"}
		f.Workloads = []Workload{workload("Deployment", "jobset-system", "jobset-controller-manager", "registry.k8s.io/jobset/jobset:v0.9.0", true)}
	}, ComponentFound, Information, "Deployment jobset-system/jobset-controller-manager is a JobSet controller, and jobs use it; it is left alone", ""},
	"JobSet not ready": {func(_ *Subject, f *Facts) {
		f.Workloads = []Workload{workload("Deployment", "jobset-system", "jobset", "mirror.example:5000/jobset@sha256:0", false)}
	}, ComponentNotReady, Warning, "Deployment jobset-system/jobset is not ready", "kubectl rollout restart -n jobset-system deployment/jobset"},
	"Kueue found": {func(_ *Subject, f *Facts) {
		f.Workloads = []Workload{workload("Deployment", "kueue-system", "kueue", "registry.k8s.io/kueue/kueue:v0.12", true)}
	}, ComponentFound, Information, "is Kueue; it is left alone", ""},
	"Kueue manages all": {func(_ *Subject, f *Facts) {
		f.Workloads = []Workload{workload("Deployment", "kueue-system", "kueue", "registry.k8s.io/kueue/kueue:v0.12", true)}
		f.Kueue = "kind: Configuration\nmanageJobsWithoutQueueName: true\n"
	}, KueueManagesAll, Warning, "it suspends jobs that name no queue", "kubectl edit configmap kueue-manager-config -n kueue-system"},
	"Prometheus operator found": {func(_ *Subject, f *Facts) {
		f.Workloads = []Workload{workload("Deployment", "monitoring", "prom", "quay.io/prometheus-operator/prometheus-operator:v0.80.0", true)}
	}, PrometheusConflict, Warning, "Deployment monitoring/prom is a Prometheus operator; it is left alone, and none is installed beside it", updates + "installPromOp=False"},
	"Prometheus operator of other namespaces": {func(s *Subject, f *Facts) {
		s.set("installPromOp=False")
		w := workload("Deployment", "monitoring", "prom", "quay.io/prometheus-operator/prometheus-operator:v0.80.0", true)
		w.Args = []string{"--namespaces=monitoring,web"}
		f.Workloads = []Workload{w}
	}, PrometheusConflict, Warning, "the cluster has no Prometheus operator to use: Deployment monitoring/prom does not watch namespace azureml", updates + "installPromOp=True"},
	"Prometheus operator missing": {func(s *Subject, _ *Facts) { s.set("installPromOp=False") },
		PrometheusConflict, Warning, "the cluster has no Prometheus operator to use", updates + "installPromOp=True"},
	"device plugin found": {func(_ *Subject, f *Facts) {
		f.Workloads = []Workload{workload("DaemonSet", "kube-system", "nvdp", "nvcr.io/nvidia/k8s-device-plugin:v0.17", true)}
	}, ComponentFound, Information, "DaemonSet kube-system/nvdp registers nvidia.com/gpu; it is left alone", ""},
	"device plugin in the node": {func(_ *Subject, f *Facts) {
		f.Nodes[1].Status.Allocatable["nvidia.com/gpu"] = resource.MustParse("8")
	}, ComponentFound, Information, "node n2 offers nvidia.com/gpu already, by a plugin that is part of the node; it is left alone", ""},
	"device plugin not ready": {func(_ *Subject, f *Facts) {
		f.Workloads = []Workload{workload("DaemonSet", "gpu-operator", "nvidia-device-plugin-daemonset", "mirror:5000/x@sha256:0", false)}
	}, ComponentNotReady, Warning, "DaemonSet gpu-operator/nvidia-device-plugin-daemonset is not ready", "kubectl rollout restart -n gpu-operator daemonset/nvidia-device-plugin-daemonset"},
	"DCGM exporter found": {func(s *Subject, f *Facts) {
		s.set("installDcgmExporter=True")
		f.Workloads = []Workload{workload("DaemonSet", "gpu-operator", "nvidia-dcgm-exporter", "nvcr.io/nvidia/k8s/dcgm-exporter:4.4.2-4.7.0-distroless", true)}
	}, ComponentFound, Information, "DaemonSet gpu-operator/nvidia-dcgm-exporter is a DCGM exporter; it is left alone", ""},
	"runtime class": {func(_ *Subject, f *Facts) { f.NvidiaRuntime = true },
		ComponentFound, Information, "RuntimeClass nvidia is that of NVIDIA's pods; it is left alone", ""},
	"node feature discovery found": {func(_ *Subject, f *Facts) {
		f.Workloads = []Workload{workload("DaemonSet", "nfd", "worker", "registry.k8s.io/nfd/node-feature-discovery:v0.17", true)}
	}, ComponentFound, Information, "DaemonSet nfd/worker is node feature discovery; it is left alone", ""},
	"OpenShift asked for": {func(s *Subject, _ *Facts) { s.set("openshift=True") },
		OpenShiftNotFound, Error, "the cluster serves no security.openshift.io", updates + "openshift=False"},
	"OpenShift found": {func(_ *Subject, f *Facts) { f.Groups[openshiftGroup] = []string{"v1"} },
		OpenShiftFound, Information, "it is set up for as if openshift were True", ""},
	"OpenShift refused": {func(s *Subject, f *Facts) {
		s.set("openshift=False")
		f.Groups[openshiftGroup] = []string{"v1"}
	}, OpenShiftFound, Warning, "openshift is False: its pods may be refused", updates + "openshift=True"},
}

var routerFaults = map[string]fault{
	"no load balancer": {func(s *Subject, f *Facts) {
		s.serve()
		s.set("inferenceRouterServiceType=loadBalancer")
		f.TLS = goodTLS()
	}, LoadBalancerNotSupport, Error, "nothing in the cluster gives a Service a load balancer", updates + "inferenceRouterServiceType=nodePort"},
	"internal load balancer elsewhere": {func(s *Subject, f *Facts) {
		s.serve()
		s.set("inferenceRouterServiceType=loadBalancer", "internalLoadBalancerProvider=azure")
		f.TLS, f.Balancers = goodTLS(), true
	}, InternalNotSupport, Error, "no node of the cluster is Azure's", updates + "internalLoadBalancerProvider="},
	"too few nodes for three routers": {func(s *Subject, f *Facts) {
		s.serve()
		f.TLS, f.Nodes = goodTLS(), f.Nodes[:2]
	}, InsufficientNode, Warning, "inferenceRouterHA wants 3 nodes, and the extension's pods can go to 2: one router is made", updates + "inferenceRouterHA=False"},
	"TLS secret missing": {func(s *Subject, _ *Facts) { s.serve() },
		InvalidTLS, Error, `sslSecret="tls": Secret azureml/tls is not there`, renew},
	"TLS secret without key": {func(s *Subject, f *Facts) {
		s.serve()
		f.TLS = goodTLS()
		delete(f.TLS.Data, "key.pem")
	}, InvalidTLS, Error, "has not both cert.pem and key.pem", renew},
	"TLS secret expired": {func(s *Subject, f *Facts) {
		s.serve()
		f.TLS = secret(pair("ml.example.com", now.Add(-time.Hour)))
	}, InvalidTLS, Error, `in Secret azureml/tls the certificate expired at 2026-05-06T06:08:09Z`, renew},
	"TLS secret expired before an upgrade": {func(s *Subject, f *Facts) {
		s.serve()
		s.Phase, f.TLS = PreUpgrade, secret(pair("ml.example.com", now.Add(-time.Hour)))
	}, InvalidTLS, Warning, "the certificate expired at", renew},
	"TLS secret of another name": {func(s *Subject, f *Facts) {
		s.serve()
		f.TLS = secret(pair("other.example.com", now.Add(time.Hour)))
	}, InvalidTLS, Error, `the certificate is for other.example.com and not for sslCname="ml.example.com"`, renew},
	"TLS secret of two pairs": {func(s *Subject, f *Facts) {
		s.serve()
		f.TLS = goodTLS()
		_, f.TLS.Data["key.pem"] = pair("ml.example.com", now.Add(time.Hour))
	}, InvalidTLS, Error, "the key does not fit the certificate", renew},
	"certificate given and expired": {func(s *Subject, _ *Facts) {
		s.serve()
		s.set("sslSecret=")
		cert, key := pair("ml.example.com", now.Add(-time.Hour))
		s.Settings.Protected["scoringFe.sslCert"], s.Settings.Protected["scoringFe.sslKey"] = base64.StdEncoding.EncodeToString(cert), base64.StdEncoding.EncodeToString(key)
	}, InvalidTLS, Error, "scoringFe.sslCert (sslCertPemFile) expired at", "--configuration-protected-settings sslCertPemFile=cert.pem sslKeyPemFile=key.pem"},
	"another router": {func(s *Subject, f *Facts) {
		s.serve()
		f.TLS, f.Existing = goodTLS(), []Object{{Kind: "Deployment", Namespace: "azureml", Name: "azureml-fe"}}
	}, RouterConflict, Warning, "Deployment azureml/azureml-fe belongs to another installation", "kubectl annotate deployment azureml-fe -n azureml"},
	"another router's role": {func(s *Subject, f *Facts) {
		s.serve()
		f.TLS, f.Existing = goodTLS(), []Object{{Kind: "ClusterRole", Name: "azureml-fe"}}
	}, RouterRoleConflict, Warning, "ClusterRole azureml-fe belongs to another installation", "kubectl annotate clusterrole azureml-fe --overwrite"},
}

func goodTLS() *corev1.Secret { return secret(pair("ml.example.com", now.Add(time.Hour))) }

func TestFaults(t *testing.T) {
	seen := map[Code]bool{CheckerPanic: true}
	for _, table := range []map[string]fault{clusterFaults, namespaceFaults, componentFaults, routerFaults} {
		for name, c := range table {
			seen[c.code] = true
			t.Run(name, func(t *testing.T) {
				s, f := subject(), healthy()
				c.make(&s, &f)
				expect(t, Findings(Run(s, f)), c)
			})
		}
	}
	for _, code := range Codes {
		if !seen[code] {
			t.Errorf("no fault shows %s %s", code, code.Name)
		}
	}
}

// mends are the programs, and their verbs, that change something.
var mends = map[string][]string{
	"kubectl":     {"annotate", "apply", "create", "delete", "edit", "label", "patch", "rollout", "set", "taint", "uncordon"},
	"fairlead":    {"aks", "connectedk8s", "k8s-extension"},
	"helm":        {"uninstall"},
	"kubeadm":     {"token", "upgrade"},
	"systemctl":   {"restart"},
	"timedatectl": {"set-ntp"},
}

// TestFixes: what is no mere information ends in a command that changes something, in all faults and for both kinds of clusters.
func TestFixes(t *testing.T) {
	for _, table := range []map[string]fault{clusterFaults, namespaceFaults, componentFaults, routerFaults} {
		for name, c := range table {
			for _, id := range []string{clusterID, strings.Replace(clusterID, "Microsoft.Kubernetes/connectedClusters", "Microsoft.ContainerService/managedClusters", 1), ""} {
				s, f := subject(), healthy()
				c.make(&s, &f)
				s.ClusterID = id
				for _, found := range Findings(Run(s, f)) {
					if found.Level != Information && !mended(found.Fix) || strings.Contains(id, "managed") && strings.Contains(found.Fix, "connected") {
						t.Errorf("%s: no command that mends it ends %q", name, found.Fix)
					}
				}
			}
		}
	}
	broken := guarded(check{name: "broken", decide: func(Subject, Facts) []Finding { panic("index out of range") }}, subject(), healthy())
	if !mended(broken[0].Fix) {
		t.Errorf("a check that breaks off: no command that mends it ends %q", broken[0].Fix)
	}
}

// mended reports whether a fix ends in a command that changes something; a command that only looks may be its first half ("a | xargs b").
func mended(fix string) bool {
	last := fix
	for _, end := range []string{": ", "; "} {
		last = last[strings.LastIndex(last, end)+1:]
	}
	for command := range strings.SplitSeq(strings.TrimSpace(last), " | ") {
		words := strings.Fields(strings.TrimPrefix(command, "xargs "))
		if len(words) > 1 && slices.Contains(mends[words[0]], words[1]) {
			return true
		}
	}
	return false
}

// TestNothingFound: what looks like a fault and is none.
func TestNothingFound(t *testing.T) {
	for name, change := range map[string]func(*Subject, *Facts){
		"a healthy cluster": func(*Subject, *Facts) {},
		"no namespace yet":  func(_ *Subject, f *Facts) { f.Namespace = nil },
		"a tolerated taint": eachNode(func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "ml.azure.com/amlarc", Value: "true", Effect: "NoSchedule"}}
		}),
		"a quota with room": func(_ *Subject, f *Facts) { f.Quotas = []corev1.ResourceQuota{quota(corev1.ResourcePods, "4", "1")} },
		"a quota when it is installed": func(s *Subject, f *Facts) {
			s.Phase, f.Quotas = PreUpgrade, []corev1.ResourceQuota{quota(corev1.ResourcePods, "4", "4")}
		},
		"its own JobSet controller": func(_ *Subject, f *Facts) {
			w := workload("StatefulSet", "azureml", "frameworkcontroller", "registry.k8s.io/jobset/jobset:v0.10.1", true)
			w.Release = "arcml"
			f.Workloads = []Workload{w}
		},
		"its own objects": func(_ *Subject, f *Facts) {
			f.Existing = []Object{{Kind: "ClusterRole", Name: "azureml-gateway", Release: "arcml", ReleaseNamespace: "azureml", Alive: true}}
		},
		"its own webhook": func(_ *Subject, f *Facts) { f.Webhooks = []Webhook{{Release: "arcml", Service: "azureml/x"}} },
		"a policy opened again": func(_ *Subject, f *Facts) {
			f.Policies = append(deny(networkingv1.PolicyTypeEgress), networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{
				PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}, Egress: []networkingv1.NetworkPolicyEgressRule{{}},
			}})
		},
		"a level that all pods keep": func(_ *Subject, f *Facts) { f.Namespace.Labels = map[string]string{enforce: "restricted"} },
		"a load balancer by MetalLB": func(s *Subject, f *Facts) {
			s.serve()
			s.set("inferenceRouterServiceType=loadBalancer")
			f.TLS = goodTLS()
			f.Workloads = []Workload{workload("Deployment", "metallb-system", "controller", "quay.io/metallb/controller:v0.15", true)}
		},
		"an internal one on Azure": func(s *Subject, f *Facts) {
			s.serve()
			s.set("inferenceRouterServiceType=loadBalancer", "internalLoadBalancerProvider=azure")
			f.TLS = goodTLS()
			f.Nodes[0].Spec.ProviderID = "azure:///subscriptions/x"
		},
		"a Secret of type tls": func(s *Subject, f *Facts) {
			s.serve()
			good := goodTLS()
			f.TLS = &corev1.Secret{Data: map[string][]byte{"tls.crt": good.Data["cert.pem"], "tls.key": good.Data["key.pem"]}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, f := subject(), healthy()
			change(&s, &f)
			if got := Findings(Run(s, f)); len(got) > 0 {
				t.Errorf("found %v", got)
			}
		})
	}
}

// TestAdopted: what is found is used, and the chart does not bring another.
func TestAdopted(t *testing.T) {
	s, f := subject(), healthy()
	for _, name := range []string{"JobSet found", "Prometheus operator found", "device plugin found", "node feature discovery found", "DCGM exporter found", "OpenShift found"} {
		before := f.Workloads
		componentFaults[name].make(&s, &f)
		f.Workloads = append(before, f.Workloads...)
	}
	got := map[string]any{}
	for _, finding := range Findings(Run(s, f)) {
		for name, value := range finding.Values {
			got[name] = value
		}
	}
	for _, name := range []string{"installJobSet", "installPromOp", "installNvidiaDevicePlugin", "installNfd", "installDcgmExporter"} {
		if got[name] != "False" {
			t.Errorf("%s is %v", name, got[name])
		}
	}
	if got["openshift"] != "True" {
		t.Errorf("openshift is %v", got["openshift"])
	}
}

// TestRegisters: device plugins are known by image, name or label; those of other resources and other kinds are not meant.
func TestRegisters(t *testing.T) {
	labelled := func(key, value string) Workload {
		return Workload{Kind: "DaemonSet", Name: "x", Images: []string{"mirror.example/y@sha256:0"}, Labels: map[string]string{key: value}}
	}
	for name, c := range map[string]struct {
		workload Workload
		want     bool
	}{
		"NVIDIA's chart":        {workload("DaemonSet", "nvdp", "nvdp-nvidia-device-plugin", "nvcr.io/nvidia/k8s-device-plugin:v0.17.4", true), true},
		"NVIDIA's operator":     {labelled("app", "nvidia-device-plugin-daemonset"), true},
		"NVIDIA's manifest":     {labelled("name", "nvidia-device-plugin-ds"), true},
		"its chart's label":     {labelled("app.kubernetes.io/name", "nvidia-device-plugin"), true},
		"Azure's mirror":        {workload("DaemonSet", "gpu", "dp", "mcr.microsoft.com/oss/v2/nvidia/k8s-device-plugin:v0.17.1", true), true},
		"Google's":              {workload("DaemonSet", "kube-system", "gke", "gcr.io/gke-release/nvidia-gpu-device-plugin@sha256:0", true), true},
		"Google's by its label": {labelled("k8s-app", "nvidia-gpu-device-plugin"), true},
		"HAMi":                  {workload("DaemonSet", "kube-system", "hami-device-plugin", "projecthami/hami:v2.7.0", true), true},
		"AMD's":                 {workload("DaemonSet", "kube-system", "amdgpu", "rocm/k8s-device-plugin:1.31", true), false},
		"a Deployment":          {workload("Deployment", "kube-system", "hami-scheduler", "projecthami/hami:v2.7.0", true), false},
		"another DaemonSet":     {workload("DaemonSet", "gpu-operator", "nvidia-dcgm-exporter", "nvcr.io/nvidia/k8s/dcgm-exporter:4", true), false},
	} {
		if got := registers(c.workload); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestDevicePluginOfTheSameName: NVIDIA's manifest in the release namespace is no leftover of a former installation.
func TestDevicePluginOfTheSameName(t *testing.T) {
	s, f := subject(), healthy()
	f.Workloads = []Workload{workload("DaemonSet", "azureml", devicePlugin, "nvcr.io/nvidia/k8s-device-plugin:v0.17.4", true)}
	for _, release := range []string{"", "other"} {
		f.Existing = []Object{{Kind: "DaemonSet", Namespace: "azureml", Name: devicePlugin, Release: release, ReleaseNamespace: "azureml", Alive: release != ""}}
		if got := checkOwnership(s, f); len(got) > 0 {
			t.Errorf("of release %q: found %v", release, got)
		}
	}
}

func TestWatches(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		want bool
	}{
		"all":                       {[]string{"--log-level=debug"}, true},
		"all, said so":              {[]string{"--namespaces="}, true},
		"it among others":           {[]string{"--namespaces=monitoring,azureml"}, true},
		"others":                    {[]string{"--namespaces=monitoring"}, false},
		"others, in two words":      {[]string{"operator", "-namespaces", "monitoring"}, false},
		"all but it":                {[]string{"--deny-namespaces=kube-system,azureml"}, false},
		"all but others":            {[]string{"--deny-namespaces=kube-system"}, true},
		"its own Prometheuses":      {[]string{"--prometheus-instance-namespaces=monitoring"}, false},
		"Prometheuses there too":    {[]string{"--prometheus-instance-namespaces=monitoring,azureml"}, true},
		"somebody else's flag":      {[]string{"--alertmanager-instance-namespaces=monitoring"}, true},
		"a flag without its value":  {[]string{"--namespaces"}, true},
		"Prometheuses, no monitors": {[]string{"--prometheus-instance-namespaces=azureml", "--namespaces=web"}, false},
	} {
		w := workload("Deployment", "monitoring", "prom", "prometheus-operator", true)
		w.Args = c.args
		if got := watches(w, "azureml"); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	s, f := subject(), healthy()
	w := workload("Deployment", "monitoring", "prom", "quay.io/prometheus-operator/prometheus-operator:v0.80.0", true)
	w.Args = []string{"--namespaces=monitoring"}
	f.Workloads = []Workload{w}
	if got := checkPrometheus(s, f); len(got) > 0 {
		t.Errorf("beside an operator that looks elsewhere: %v", got)
	}
}

func TestSuspendsAll(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                     false,
		"manageJobsWithoutQueueName: true":     true,
		"manageJobsWithoutQueueName:   true\n": true,
		"#manageJobsWithoutQueueName: true\nmanageJobsWithoutQueueName: false":                                              false,
		"{manageJobsWithoutQueueName: true}":                                                                                true,
		"manageJobsWithoutQueueName: true\nintegrations:\n  frameworks: [batch/job]":                                        false,
		"manageJobsWithoutQueueName: true\nintegrations:\n  frameworks:\n  - \"batch/job\"\n  - \"jobset.x-k8s.io/jobset\"": true,
		"manageJobsWithoutQueueName: [":                                                                                     false,
	} {
		if got := suspendsAll(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

// TestOwnDevicePlugin: what the extension installed is not another's, also when the GPUs that it registered are seen.
func TestOwnDevicePlugin(t *testing.T) {
	s, f := subject(), healthy()
	s.Phase = PreUpgrade
	own := workload("DaemonSet", "azureml", "nvidia-device-plugin-daemonset", "nvcr.io/nvidia/k8s-device-plugin:v0.17.4", true)
	own.Release = "arcml"
	f.Workloads = []Workload{own}
	f.Nodes[0].Status.Allocatable["nvidia.com/gpu"] = resource.MustParse("1")
	if got := checkDevicePlugin(s, f); len(got) > 0 {
		t.Errorf("found %v", got)
	}
}

func TestPanicOfACheck(t *testing.T) {
	got := guarded(check{name: "broken", decide: func(Subject, Facts) []Finding { panic("index out of range") }}, subject(), healthy())
	if len(got) != 1 || got[0].Code != CheckerPanic || got[0].Level != Warning || !strings.Contains(got[0].Message, "check broken broke off: index out of range") {
		t.Errorf("found %v", got)
	}
}

func TestReport(t *testing.T) {
	s, f := subject(), healthy()
	clusterFaults["old Kubernetes"].make(&s, &f)
	text := Report(now, Run(s, f))
	for _, want := range []string{
		"Time: 2026-05-06T07:08:09Z\n", "Status: Succeeded Name: nodes\n",
		"Status: Failed Name: kubernetes-version ErrorCode: E44001 ErrorMessage: KUBERNETES_VERSION_NOT_SUPPORTED: the cluster runs Kubernetes v1.29.4",
		" Remedy: upgrade the cluster to Kubernetes 1.30",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
