// Package link is the contract between a cluster and the control plane: two last-value maps and a relay, all carried by
// HTTPS connections that the cluster opens. It imports the standard library, one WebSocket and one multiplexing library.
//
//	cluster                                       control plane
//	   ── GET  /link/v1/desired?prefix=&after= ──▶   stream of Event, one JSON object a line
//	   ── POST /link/v1/observed ───────────────▶   {"values":[Value…]} → 204
//	   ── GET, POST /link/v1/metrics ───────────▶   what was measured of jobs → 204
//	   ── POST /link/v1/logs ───────────────────▶   lines of containers' logs → how far they are kept
//	   ── GET  /link/v1/relay (WebSocket) ──────▶   multiplexed streams, opened by the control plane
//
// Every request carries "Authorization: Bearer <token>"; the token's claims name the cluster, so no request names it.
package link

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
)

// Paths on the control plane.
const (
	DesiredPath  = "/link/v1/desired"
	ObservedPath = "/link/v1/observed"
	RelayPath    = "/link/v1/relay"
)

// Limits that both sides enforce.
const (
	// MaxValue bounds one value of either map, in bytes.
	MaxValue = 1 << 20
	// MaxBody bounds one observed request, in bytes.
	MaxBody = 8 << 20
)

// Event types of the desired stream. A stream begins with Reset when the receiver's sequence number is too old (or 0):
// then every current key follows as Put, then Bookmark; keys the receiver holds and did not see between Reset and
// that Bookmark are gone. After it come changes, and a Bookmark every 10 s that also keeps proxies awake.
const (
	EventReset    = "reset"
	EventPut      = "put"
	EventDelete   = "delete"
	EventBookmark = "bookmark"
)

// Event is one line of the desired stream.
type Event struct {
	Type string `json:"type"`
	// Seq is the sequence number to resume after once this event is applied. Inside a snapshot only Bookmark carries it.
	Seq   int64           `json:"seq,omitempty"`
	Key   string          `json:"key,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// Value is one observed value. Posting the same value again is harmless; only the newest per key is kept.
type Value struct {
	Key   string          `json:"key"`
	Value json.RawMessage `json:"value"`
}

// ObservedRequest is the body of a POST to ObservedPath.
type ObservedRequest struct {
	Values []Value `json:"values"`
}

// Keys of the two maps.
const (
	// KeyCluster (observed) is the heartbeat: ClusterStatus, posted every HeartbeatInterval by the agent.
	KeyCluster = "cluster"
	// KeyNodes (observed) is NodesStatus, posted by cluster-status-reporter.
	KeyNodes = "nodes"
	// PrefixExtension + extension name: Extension (desired), ExtensionStatus (observed).
	PrefixExtension = "extension/"
	// PrefixJob + 32-hex job id: Job (desired), JobStatus (observed).
	PrefixJob = "job/"
	// PrefixEndpoint + endpoint name in lower case: Endpoint (desired), ServingStatus (observed).
	PrefixEndpoint = "endpoint/"
	// PrefixDeployment + endpoint "/" deployment, both in lower case: Deployment (desired), ServingStatus (observed).
	PrefixDeployment = "deployment/"
	// KeyRouter (observed) is RouterStatus, posted by cluster-status-reporter where inference is installed.
	KeyRouter = "router"
)

// HeartbeatIntervalSeconds is how often the agent posts KeyCluster; three missed ones make a cluster Offline.
const HeartbeatIntervalSeconds = 10

// ClusterStatus is what the agent knows of its cluster.
type ClusterStatus struct {
	AgentVersion string `json:"agentVersion"`
	// AgentKey is the KeyID of the key by which the agent that speaks has its tokens.
	AgentKey          string `json:"agentKey,omitempty"`
	KubernetesVersion string `json:"kubernetesVersion"`
	Distribution      string `json:"distribution"`
	Infrastructure    string `json:"infrastructure"`
	TotalNodeCount    int    `json:"totalNodeCount"`
	TotalCoreCount    int    `json:"totalCoreCount"`
}

// KeyID is short for an agent's public key.
func KeyID(key *rsa.PublicKey) string {
	sum := sha256.Sum256(x509.MarshalPKCS1PublicKey(key))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// NodesStatus is what cluster-status-reporter sees: nodes, namespaces that jobs may name and instance types.
type NodesStatus struct {
	Nodes         []Node         `json:"nodes"`
	Namespaces    []string       `json:"namespaces"`
	InstanceTypes []InstanceType `json:"instanceTypes"`
}

// Node is one node's share of NodesStatus. Quantities are Kubernetes quantities ("2", "500m", "8Gi").
type Node struct {
	Name        string            `json:"name"`
	Ready       bool              `json:"ready"`
	Labels      map[string]string `json:"labels,omitempty"`
	Allocatable map[string]string `json:"allocatable,omitempty"`
}

// InstanceType is one InstanceType custom resource, or the implicit default.
type InstanceType struct {
	Name         string            `json:"name"`
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	Requests     map[string]string `json:"requests"`
	Limits       map[string]string `json:"limits"`
}

// Extension is a desired extension. A deleted extension is a deleted key.
type Extension struct {
	Name          string `json:"name"`
	ExtensionType string `json:"extensionType"`
	Version       string `json:"version,omitempty"`
	// Pinned keeps the version that runs: autoUpgradeMinorVersion is false.
	Pinned            bool              `json:"pinned,omitempty"`
	ReleaseNamespace  string            `json:"releaseNamespace"`
	Generation        int64             `json:"generation"`
	Settings          map[string]string `json:"settings,omitempty"`
	ProtectedSettings map[string]string `json:"protectedSettings,omitempty"`
}

// States of an extension in the cluster.
const (
	ExtensionPending   = "Pending"
	ExtensionInstalled = "Installed"
	ExtensionFailed    = "Failed"
	ExtensionRemoved   = "Removed"
)

// ExtensionStatus is an observed extension. Generation is the newest desired generation it speaks of.
type ExtensionStatus struct {
	Generation int64    `json:"generation"`
	State      string   `json:"state"`
	Version    string   `json:"version,omitempty"`
	Code       string   `json:"code,omitempty"`
	Message    string   `json:"message,omitempty"`
	Checks     []Status `json:"checks,omitempty"`
}

// Status is one line of an extension's statuses (ARM: statuses[]). Level is Error, Warning or Information.
type Status struct {
	Code    string `json:"code"`
	Level   string `json:"level"`
	Message string `json:"message"`
	Time    string `json:"time"`
}

// Job is a desired job. It stays in the map until the control plane has recorded its terminal state and its
// retention has passed; deleting the key deletes everything of the job in the cluster.
type Job struct {
	// ID is 32 hex digits derived from the job's resource id; it names the AmlJob.
	ID string `json:"id"`
	// Resource is the job's resource id; the control plane finds the job of an observed status by it.
	Resource string `json:"resource,omitempty"`
	// Namespace is the compute's namespace.
	Namespace string `json:"namespace"`
	// Labels go on the AmlJob and its pods (ml.azure.com/workspace, …).
	Labels map[string]string `json:"labels,omitempty"`
	// Spec is a v1alpha1.AmlJobSpec.
	Spec json.RawMessage `json:"spec"`
	// Started says that a pod of the job was seen to run: when its AmlJob is not there, it is not to be made again.
	Started bool `json:"started,omitempty"`
	// Secret becomes Secret <id>-runtoken-secrets, owned by the AmlJob (keys in package commonruntime).
	Secret map[string]string `json:"secret,omitempty"`
}

// ReasonAmlJobDeleted is the reason of a job that failed because its AmlJob was deleted in the cluster, other than by the gateway.
// There is nothing left of it to keep, and no component makes it again.
const ReasonAmlJobDeleted = "AmlJobDeleted"

// AmlJobDeleted is the status of a job whose AmlJob was deleted in a namespace of the cluster before the job had ended.
func AmlJobDeleted(namespace, id string) JobStatus {
	return JobStatus{ID: id, State: "Failed", Reason: ReasonAmlJobDeleted, Message: fmt.Sprintf(
		"AmlJob %s/%s was deleted in the cluster before the job had ended, by itself or with its namespace; its pods end with it. The job is not started again, so that its command does not run twice. Submit it anew; to end a job, cancel it instead", namespace, id)}
}

// JobStatus is an observed job: the AmlJob's status.
type JobStatus struct {
	ID string `json:"id"`
	// State is one of the JobStatus words of the reference: Queued, Preparing, Running, Finalizing, Completed, Failed, Canceled.
	State string `json:"state"`
	// Reason is a stable word (Unschedulable, ImagePull, NamespaceNotFound, NonZeroExit, Timeout, NodeLost, PodDeleted …).
	Reason string `json:"reason,omitempty"`
	// Message says it to a person, with the resource, image or namespace by name and the remedy.
	Message   string   `json:"message,omitempty"`
	ExitCode  *int     `json:"exitCode,omitempty"`
	Attempt   int      `json:"attempt"`
	StartTime string   `json:"startTime,omitempty"` // RFC 3339
	EndTime   string   `json:"endTime,omitempty"`   // RFC 3339
	Pods      []JobPod `json:"pods,omitempty"`
}

// JobPod is one pod of a job.
type JobPod struct {
	Name  string `json:"name"`
	Node  string `json:"node,omitempty"`
	Rank  int    `json:"rank"`
	Phase string `json:"phase"`
}

// Terminal reports whether no further state can follow.
func (s JobStatus) Terminal() bool {
	return s.State == "Completed" || s.State == "Failed" || s.State == "Canceled"
}
