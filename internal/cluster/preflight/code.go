package preflight

import "fmt"

// Code is a health code.
type Code struct {
	Number int
	Name   string
	// Means is a line for the guide.
	Means string
}

// String is the code as the reference writes it.
func (c Code) String() string { return fmt.Sprintf("E%d", c.Number) }

// Critical codes keep an extension from being installed; the others are told and nothing more, as is what could not be read:
// what is truly missing shows when the chart is applied.
func (c Code) Critical() bool { return c.Number < 45000 && c != UnknownError }

// Passes reports whether what is wrong often goes away by itself: a critical operation then waits for it instead of failing.
func (c Code) Passes() bool { return c == NamespaceTerminating || c == WebhookNotAnswering }

// Codes of the reference.
var (
	UnknownError           = Code{40000, "UNKNOWN_ERROR", "A fact could not be read, and the checks that need it know nothing."}
	LoadBalancerNotSupport = Code{40001, "LOAD_BALANCER_NOT_SUPPORT", "The inference router shall have a load balancer, and nothing in the cluster gives one."}
	InsufficientNode       = Code{40002, "INSUFFICIENT_NODE", "No node can take the extension's pods; a warning where there are fewer than three nodes for three routers, of which one is made then."}
	InternalNotSupport     = Code{40003, "INTERNAL_LOAD_BALANCER_NOT_SUPPORT", "An internal load balancer of Azure is asked for elsewhere than on Azure."}
	InvalidTLS             = Code{40007, "INVALID_SSL_SETTING", "The certificate or key that endpoints shall be served with is missing, out of date, of another key or for another name."}
	AgentUnhealthy         = Code{45001, "AGENT_UNHEALTHY", "The agent itself restarts again and again."}
	PrometheusConflict     = Code{45002, "PROMETHEUS_CONFLICT", "The cluster has a Prometheus operator; it is left alone and no second one installed. Or it has none, and shall."}
	BadNetwork             = Code{45003, "BAD_NETWORK_CONNECTIVITY", "The control plane cannot be reached, or network policies keep the extension's pods from it."}
	RouterRoleConflict     = Code{45004, "AZUREML_FE_ROLE_CONFLICT", "A cluster role azureml-fe belongs to another installation."}
	RouterConflict         = Code{45005, "AZUREML_FE_DEPLOYMENT_CONFLICT", "A Deployment azureml-fe belongs to another installation."}
	CheckerPanic           = Code{49999, "CHECKER_PANIC", "A check broke off; the others are not affected."}
)

// Codes that the reference does not have, from the ranges that it leaves free.
var (
	VersionNotSupported    = Code{44001, "KUBERNETES_VERSION_NOT_SUPPORTED", "The cluster's Kubernetes is too old."}
	InsufficientRights     = Code{44002, "INSUFFICIENT_RIGHTS", "The agent may not do what it must."}
	WebhookNotAnswering    = Code{44003, "WEBHOOK_NOT_ANSWERING", "An admission webhook that must be asked has nobody behind it, so that no pod can be made."}
	NamespaceTerminating   = Code{44004, "NAMESPACE_TERMINATING", "The release namespace is being deleted."}
	QuotaExceeded          = Code{44005, "QUOTA_EXCEEDED", "A ResourceQuota of the release namespace leaves too little."}
	LimitRangeConflict     = Code{44006, "LIMIT_RANGE_CONFLICT", "A LimitRange of the release namespace forbids what a component asks for."}
	PodSecurityConflict    = Code{44007, "POD_SECURITY_CONFLICT", "The release namespace enforces a Pod Security level that a component cannot keep."}
	OwnedByAnotherRelease  = Code{44008, "OWNED_BY_ANOTHER_RELEASE", "Objects with names of the extension's belong to another Helm release that is there, or were made by something else (\"invalid ownership metadata\")."}
	CustomResourceConflict = Code{44009, "CUSTOM_RESOURCE_CONFLICT", "A custom resource definition of another installation does not serve the version that is needed."}
	JobSetNotFound         = Code{44010, "JOBSET_NOT_FOUND", "installJobSet is False, and the cluster has no JobSet controller."}
	OpenShiftNotFound      = Code{44011, "OPENSHIFT_NOT_FOUND", "openshift is True, and the cluster is none."}
	VersionNotTested       = Code{48001, "KUBERNETES_VERSION_NOT_TESTED", "The cluster's Kubernetes is newer than any that this agent was tested with."}
	InsufficientCapacity   = Code{48002, "INSUFFICIENT_CAPACITY", "The nodes have too little left for the extension's pods."}
	ComponentFound         = Code{48003, "COMPONENT_FOUND", "The cluster has a component that the extension would install; it is used and left alone."}
	ComponentNotReady      = Code{48004, "COMPONENT_NOT_READY", "A component that the extension uses and did not install is not ready."}
	KueueManagesAll        = Code{48005, "KUEUE_MANAGES_ALL", "Kueue suspends jobs without a queue's name, those of the extension among them."}
	LeftoversAdopted       = Code{48006, "LEFTOVERS_ADOPTED", "Objects of a former installation are there and become this one's."}
	ClockSkew              = Code{48007, "CLOCK_SKEW", "The clocks of cluster and control plane differ, and tokens may be refused."}
	PullSecretNotFound     = Code{48008, "PULL_SECRET_NOT_FOUND", "The Secret for pulling images is not in the release namespace; images are pulled without it."}
	OpenShiftFound         = Code{48009, "OPENSHIFT_FOUND", "The cluster is OpenShift: it is set up for, unless openshift is False."}
)

// Codes lists every code that checks use, in order.
var Codes = []Code{
	UnknownError, LoadBalancerNotSupport, InsufficientNode, InternalNotSupport, InvalidTLS,
	VersionNotSupported, InsufficientRights, WebhookNotAnswering, NamespaceTerminating, QuotaExceeded, LimitRangeConflict,
	PodSecurityConflict, OwnedByAnotherRelease, CustomResourceConflict, JobSetNotFound, OpenShiftNotFound,
	AgentUnhealthy, PrometheusConflict, BadNetwork, RouterRoleConflict, RouterConflict,
	VersionNotTested, InsufficientCapacity, ComponentFound, ComponentNotReady, KueueManagesAll, LeftoversAdopted, ClockSkew,
	PullSecretNotFound, OpenShiftFound, CheckerPanic,
}
