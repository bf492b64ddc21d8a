// Package inference is inference-operator: it makes pods of every OnlineDeployment, tells in its status how they do, and scales them by
// the load that the routers tell. Observing reads the cluster, deciding is a pure function, acting writes what it says and the status
// once.
//
//	OnlineDeployment ─▶ Deployment, headless Service (its EndpointSlices lead the router), PodDisruptionBudget, NetworkPolicy, and an
//	Identity where the pods speak as one; they are made when amlarc-identity-controller says that it is ready
//
//	Creating │ Updating ─▶ Succeeded │ Failed; an update that fails leaves the pods of before serving
//
//	routers :9001/load ─▶ autoscaler ─▶ number of pods
package inference

import (
	"errors"
	"net/http"
	"time"
)

// Config says how pods are made and where the routers are.
type Config struct {
	// RuntimeImage holds fairlead-runtime, which fetches models and code and runs scoring scripts.
	RuntimeImage string
	// RuntimePath is the binary's path in RuntimeImage; default /fairlead-runtime.
	RuntimePath string
	// PullSecret names a Secret in deployments' namespaces by which images are pulled; empty for none.
	PullSecret string
	// NodeSelector is the extension's: nodes must match it besides what the instance type asks for.
	NodeSelector map[string]string
	// CustomCA is the PEM of CAs that fetching trusts besides the deployment's own, such as that of a proxy.
	CustomCA string
	// Proxy are the outbound proxy variables for fetching.
	Proxy map[string]string
	// ModelCache tells that nodes have the CSI driver, which keeps models for the next pod.
	ModelCache bool
	// NamespaceUsers leaves users of pods to the cluster, which has ranges for each namespace (OpenShift).
	NamespaceUsers bool
	// RouterNamespace and RouterLabels name the routers' pods, which score and tell the load.
	RouterNamespace string
	RouterLabels    map[string]string
	// Workers is how many deployments are reconciled at once; default 4.
	Workers int
	// Clock tells the time; default time.Now. HTTP asks routers; default a client of two seconds' patience.
	Clock func() time.Time
	HTTP  *http.Client
}

// loadTimeout bounds how long one router may take to tell its load.
const loadTimeout = 2 * time.Second

func (c Config) withDefaults() (Config, error) {
	if c.RuntimeImage == "" {
		return c, errors.New("inference: Config.RuntimeImage is empty; it is the image that holds fairlead-runtime")
	}
	if c.RuntimePath == "" {
		c.RuntimePath = "/fairlead-runtime"
	}
	if c.RouterNamespace == "" {
		c.RouterNamespace = "azureml"
	}
	if c.RouterLabels == nil {
		c.RouterLabels = map[string]string{"app.kubernetes.io/name": "azureml-fe"}
	}
	if c.Workers == 0 {
		c.Workers = 4
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.HTTP == nil {
		c.HTTP = &http.Client{Timeout: loadTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute}}
	}
	return c, nil
}

// Reasons of a deployment that waits or failed: the reference's error codes. Codes of the scoring server are reasons too.
const (
	ReasonImagePull     = "ImagePullLoopBackOff"
	ReasonCrash         = "DeploymentCrashLoopBackOff"
	ReasonNotReady      = "KubernetesCrashLoopBackOff"
	ReasonUnschedulable = "PodUnschedulable"
	ReasonOutOfMemory   = "PodOutOfMemory"
	ReasonQuota         = "OutOfQuota"
	ReasonNoNamespace   = "NamespaceNotFound"
	ReasonInvalid       = "InvalidDeploymentSpec"
)

// labelTemplate tells which spec a pod was made from: a hash of what makes a new pod differ from an old one.
const labelTemplate = "amlarc.azureml.com/template"

// annotationSpec is a hash of what the operator wants of an object, so that it is written only when that changes.
const annotationSpec = "amlarc.azureml.com/spec"
