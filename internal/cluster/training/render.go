package training

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	jobset "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/workload"
)

// render makes all objects of a job in the order in which they are created, the JobSet last.
func render(job *v1alpha1.AmlJob, it workload.InstanceType, around surroundings, cfg Config) ([]client.Object, error) {
	js, err := renderJobSet(job, it, around, cfg)
	if err != nil {
		return nil, err
	}
	objs := []client.Object{renderConfigMap(job, cfg), renderNetworkPolicy(job, cfg)}
	if job.Spec.Job.InstanceCount > 1 {
		objs = append(objs, renderService(job))
	}
	return append(objs, js), nil
}

func objectMeta(job *v1alpha1.AmlJob, name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: name, Namespace: job.Namespace, Labels: labels,
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(job, v1alpha1.GroupVersion.WithKind("AmlJob"))},
	}
}

// jobLabels are on every object of a job: those of the AmlJob, so that queues and schedulers see what the control plane
// set, and the job's own.
func jobLabels(job *v1alpha1.AmlJob) map[string]string {
	l := maps.Clone(job.Labels)
	if l == nil {
		l = map[string]string{}
	}
	l[LabelJobID] = job.Name
	return l
}

// podLabels adds the labels that the reference puts on a job's pods; those that tell whose job it is are the AmlJob's.
func podLabels(job *v1alpha1.AmlJob, it workload.InstanceType) map[string]string {
	l := map[string]string{
		"ml.azure.com/billing-category": "azureml-training",
		"ml.azure.com/scrape-metrics":   "true",
		"jobId":                         job.Name,
		"jobRole":                       workerJob,
		"jobScale":                      "regular",
		"jobsource":                     "aml",
		"gpu-request":                   strconv.FormatInt(it.GPUs(), 10),
		"controller":                    "aml-operator",
		"userName":                      "amluser",
		"vcName":                        "amldefaultvc",
	}
	maps.Copy(l, jobLabels(job))
	return l
}

func renderConfigMap(job *v1alpha1.AmlJob, cfg Config) *corev1.ConfigMap {
	immutable := true
	data := map[string]string{path.Base(commonruntime.SpecPath): string(job.Spec.Job.Options.CommonRuntimeJobSpec)}
	if cfg.CustomCA != "" {
		data[path.Base(commonruntime.CustomCAPath)] = cfg.CustomCA
	}
	return &corev1.ConfigMap{
		ObjectMeta: objectMeta(job, job.Name, jobLabels(job)),
		Immutable:  &immutable,
		Data:       data,
	}
}

// jobSetName is a DNS-1035 label, which JobSet and Service ask for: it begins with a letter, as an id may not.
func jobSetName(id string) string { return "job-" + id }

// serviceName is the headless Service that gives the pods of a gang their host names.
func serviceName(job *v1alpha1.AmlJob) string { return jobSetName(job.Name) + "-svc" }

func renderService(job *v1alpha1.AmlJob) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: objectMeta(job, serviceName(job), jobLabels(job)),
		Spec: corev1.ServiceSpec{
			ClusterIP:                corev1.ClusterIPNone,
			Selector:                 map[string]string{LabelJobID: job.Name},
			PublishNotReadyAddresses: true,
		},
	}
}

// renderNetworkPolicy lets in the job's own pods on every port, and the relay on the port of live logs.
func renderNetworkPolicy(job *v1alpha1.AmlJob, cfg Config) *networkingv1.NetworkPolicy {
	own := metav1.LabelSelector{MatchLabels: map[string]string{LabelJobID: job.Name}}
	tcp, port := corev1.ProtocolTCP, intstr.FromInt32(commonruntime.LogPort)
	return &networkingv1.NetworkPolicy{
		ObjectMeta: objectMeta(job, job.Name, jobLabels(job)),
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: own,
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{
				{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &own}}},
				{
					From: []networkingv1.NetworkPolicyPeer{{
						NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: cfg.RelayNamespace}},
						PodSelector:       &metav1.LabelSelector{MatchLabels: cfg.RelayLabels},
					}},
					Ports: []networkingv1.NetworkPolicyPort{{Protocol: &tcp, Port: &port}},
				},
			},
		},
	}
}

// renderJobSet makes the gang. A command is never run again because it failed; only a pod that Kubernetes took away
// (DisruptionTarget) starts the whole gang anew, up to maxRestarts times.
func renderJobSet(job *v1alpha1.AmlJob, it workload.InstanceType, around surroundings, cfg Config) (*jobset.JobSet, error) {
	spec := job.Spec.Job
	if spec.InstanceCount < 1 {
		return nil, fmt.Errorf("instanceCount is %d; it must be 1 or more", spec.InstanceCount)
	}
	pod, err := renderPod(job, it, around, cfg)
	if err != nil {
		return nil, err
	}
	var doc commonruntime.JobSpec
	if json.Unmarshal(spec.Options.CommonRuntimeJobSpec, &doc) != nil {
		doc = commonruntime.JobSpec{} // the runtime tells what is wrong with it
	}
	n, indexed, onFailed := spec.InstanceCount, batchv1.IndexedCompletion, batchv1.Failed
	gang, publish := n > 1, true
	network := &jobset.Network{EnableDNSHostnames: &gang}
	if gang {
		network.Subdomain, network.PublishNotReadyAddresses = serviceName(job), &publish
	}
	return &jobset.JobSet{
		ObjectMeta: objectMeta(job, jobSetName(job.Name), jobLabels(job)),
		Spec: jobset.JobSetSpec{
			Network:       network,
			SuccessPolicy: &jobset.SuccessPolicy{Operator: jobset.OperatorAll},
			FailurePolicy: &jobset.FailurePolicy{
				MaxRestarts:     spec.MaxRestarts,
				RestartStrategy: jobset.BlockingRecreate,
				Rules: []jobset.FailurePolicyRule{
					{Name: "restartDisrupted", Action: jobset.RestartJobSet, OnJobFailureReasons: []string{batchv1.JobReasonPodFailurePolicy}},
					{Name: "failOtherwise", Action: jobset.FailJobSet},
				},
			},
			ReplicatedJobs: []jobset.ReplicatedJob{{
				Name: workerJob, GroupName: "default", Replicas: 1,
				Template: batchv1.JobTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: jobLabels(job)},
					Spec: batchv1.JobSpec{
						Parallelism: &n, Completions: &n, CompletionMode: &indexed,
						BackoffLimit: new(int32), PodReplacementPolicy: &onFailed, SuccessPolicy: whenWorkersSucceed(doc, n),
						PodFailurePolicy: &batchv1.PodFailurePolicy{Rules: lostPod(doc)},
						Template:         pod,
					},
				},
			}},
		},
	}, nil
}

// lostPod is when a gang starts anew: Kubernetes took a pod away. Batch jobs know which of their work is done, so that one starts anew also
// when somebody else ended a pod, which its runtime tells by the exit code.
func lostPod(doc commonruntime.JobSpec) []batchv1.PodFailurePolicyRule {
	rules := []batchv1.PodFailurePolicyRule{{
		Action: batchv1.PodFailurePolicyActionFailJob,
		OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{
			{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue},
		},
	}}
	if doc.Batch != nil {
		rules = append(rules, batchv1.PodFailurePolicyRule{Action: batchv1.PodFailurePolicyActionFailJob,
			OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{commonruntime.ExitCanceled}}})
	}
	return rules
}

// whenWorkersSucceed ends a gang of n with parameter servers, which serve until they are told to stop, when its workers have ended well;
// nil where every pod counts.
func whenWorkersSucceed(doc commonruntime.JobSpec, n int32) *batchv1.SuccessPolicy {
	if doc.Distribution == nil {
		return nil
	}
	servers := doc.Distribution.ParameterServerCount
	workers := n - servers
	if servers < 1 || workers < 1 {
		return nil
	}
	indexes := "0"
	if workers > 1 { // the API server refuses 0-0
		indexes = fmt.Sprintf("0-%d", workers-1)
	}
	return &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: &indexes}}}
}
