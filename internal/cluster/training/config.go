// Package training is aml-operator: it turns every AmlJob into a JobSet and tells in the AmlJob's status how far it is and
// why it waits. Observing reads the cluster, deciding is a pure function, acting writes what it says and the status once.
//
//	AmlJob ─▶ ConfigMap <id> (job.json), Service job-<id>-svc (gangs), NetworkPolicy <id>, JobSet job-<id> ─▶ Job job-<id>-worker-0 ─▶ pods
//
//	Queued ─▶ Preparing ─▶ Running ─▶ Finalizing ─▶ Completed │ Failed │ Canceled
//	  ▲──────── a node was lost and restarts are left ────┘
package training

import (
	"errors"
	"fmt"
	"time"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

// Config says how pods are made.
type Config struct {
	// RuntimeImage holds fairlead-runtime; an init container copies it from there into the user's image.
	RuntimeImage string
	// PullSecret names a Secret in jobs' namespaces by which their images are pulled; empty for none.
	PullSecret string
	// RuntimePath is the binary's path in RuntimeImage; default /fairlead-runtime.
	RuntimePath string
	// RelayNamespace and RelayLabels name the pods that may read live logs; default namespace azureml, label app.kubernetes.io/name=relayserver.
	RelayNamespace string
	RelayLabels    map[string]string
	// Proxy are the outbound proxy variables (HTTPS_PROXY, HTTP_PROXY, NO_PROXY) that jobs get too; see component.ProxyFromEnvironment.
	Proxy map[string]string
	// NodeLostAfter is how long a node may be away before its pods are given up; default a minute.
	NodeLostAfter time.Duration
	// NodeSelector is the extension's: nodes of jobs must match it besides what the instance type asks for.
	NodeSelector map[string]string
	// CustomCA is the PEM of CAs that jobs shall trust besides public ones and the control plane's, such as that of a proxy.
	CustomCA string
	// BlobMounts tells that nodes have the CSI driver, so that inputs and outputs can be mounted.
	BlobMounts bool
	// NamespaceUsers leaves users of pods to the cluster, which has ranges for each namespace (OpenShift).
	NamespaceUsers bool
	// Workers is how many jobs are reconciled at once; default 8.
	Workers int
	// Clock tells the time; default time.Now.
	Clock func() time.Time
}

func (c Config) withDefaults() (Config, error) {
	if c.RuntimeImage == "" {
		return c, errors.New("training: Config.RuntimeImage is empty; it is the image that holds fairlead-runtime")
	}
	if c.RuntimePath == "" {
		c.RuntimePath = "/fairlead-runtime"
	}
	if c.RelayNamespace == "" {
		c.RelayNamespace = "azureml"
	}
	if c.RelayLabels == nil {
		c.RelayLabels = map[string]string{"app.kubernetes.io/name": "relayserver"}
	}
	if c.NodeLostAfter == 0 {
		c.NodeLostAfter = time.Minute
	}
	if c.NodeLostAfter < time.Second {
		return c, fmt.Errorf("training: Config.NodeLostAfter is %s; it must be a second or more", c.NodeLostAfter)
	}
	if c.Workers == 0 {
		c.Workers = 8
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	return c, nil
}

// States of a job, the reference's words.
const (
	StateQueued     = "Queued"
	StatePreparing  = "Preparing"
	StateRunning    = "Running"
	StateFinalizing = "Finalizing"
	StateCompleted  = "Completed"
	StateFailed     = "Failed"
	StateCanceled   = "Canceled"
)

// Reasons that a job waits, failed or was canceled for. Codes of the runtime's result are reasons too.
const (
	ReasonPodPending          = "PodPending"
	ReasonUnschedulable       = "Unschedulable"
	ReasonSuspended           = "Suspended"
	ReasonImagePull           = "ImagePull"
	ReasonContainerConfig     = "ContainerConfig"
	ReasonUnknownInstanceType = "UnknownInstanceType"
	ReasonInvalidVolume       = "InvalidVolume"
	ReasonInvalidJob          = "InvalidJob"
	ReasonQuotaExceeded       = "QuotaExceeded"
	ReasonForbidden           = "Forbidden"
	ReasonPodCreation         = "PodCreationFailed"
	ReasonCanceling           = "Canceling"
	ReasonNonZeroExit         = "NonZeroExit"
	ReasonOOMKilled           = "OOMKilled"
	ReasonTimeout             = "Timeout"
	ReasonPodDeleted          = "PodDeleted"
	ReasonNodeLost            = "NodeLost"
	ReasonEvicted             = "Evicted"
	ReasonPreempted           = "Preempted"
	ReasonStartError          = "StartError"
	ReasonJobSetDeleted       = "JobSetDeleted"
	ReasonJobFailed           = "JobFailed"
	ReasonCanceled            = "Canceled"
)

// Labels and names that others rely on.
const (
	// LabelJobID is on every object of a job, LabelRank on every pod of it.
	LabelJobID = v1alpha1.LabelJobID
	LabelRank  = v1alpha1.LabelRank
	// labelAttempt counts the gang's restarts, from 0.
	labelAttempt = "jobset.sigs.k8s.io/restart-attempt"
	// workerJob is the JobSet's only replicated job, mainContainer the container that runs the user's image.
	workerJob     = "worker"
	mainContainer = "main"
	initContainer = "runtime"
)

func terminal(state string) bool {
	return state == StateCompleted || state == StateFailed || state == StateCanceled
}
