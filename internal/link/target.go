package link

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// Kinds of targets.
const (
	// KindRun is a job's pod: its runtime's file server. Relays of a cluster's extension serve it.
	KindRun = "run"
	// KindKube is the cluster's API server, used in the name of a person or program. Relays of the agent serve it.
	KindKube = "kube"
	// KindLog is what a container of an online deployment's pods has written. Relays of a cluster's extension serve it: the stream
	// carries the text and ends.
	KindLog = "log"
	// KindFollow is the same as it is written, by all pods that the deployment has and gets: the stream carries a PodLine in each line
	// and goes on until one side closes it.
	KindFollow = "follow"
)

// Groups that a caller of the API server may be in, by the roles they have on the connected cluster's resource. The cluster's
// RBAC says what each may do; the agent may impersonate no other group.
const (
	GroupOwners       = "fairlead:owners"       // may assign roles on the cluster
	GroupContributors = "fairlead:contributors" // may change the cluster
	GroupReaders      = "fairlead:readers"      // may read the cluster
)

// ExtraKind is the key under which the API server and its audit log learn a caller's UserKind.
const ExtraKind = "fairlead.dev/kind"

// Target is the first line (JSON, newline-terminated) on every relay stream: what the control plane wants to reach.
// The cluster's end answers with one line, Opened, and then the stream is a byte pipe.
type Target struct {
	// Kind is one of the Kind constants; nothing else can be reached.
	Kind string `json:"kind"`
	// Namespace, JobID and Rank name the pod of a run.
	Namespace string `json:"namespace,omitempty"`
	JobID     string `json:"jobId,omitempty"`
	Rank      int    `json:"rank,omitempty"`
	// Deployment (v1alpha1.DeploymentObjectName) and Container name, with Namespace, whose log is read; Tail is how many lines of
	// each pod, Since from when on they are followed.
	Deployment string    `json:"deployment,omitempty"`
	Container  string    `json:"container,omitempty"`
	Tail       int       `json:"tail,omitempty"`
	Since      time.Time `json:"since,omitzero"`
	// User (an object id), UserKind and Groups are in whose name the API server is used.
	User     string   `json:"user,omitempty"`
	UserKind string   `json:"userKind,omitempty"`
	Groups   []string `json:"groups,omitempty"`
}

// Opened is the cluster's answer to a Target. An empty Error means the pipe is open.
type Opened struct {
	Error string `json:"error,omitempty"`
}

var (
	jobIDRule     = regexp.MustCompile(`^[0-9a-f]{32}$`)
	namespaceRule = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	objectIDRule  = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	objectRule    = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	containers    = []string{"inference-server", "storage-initializer"}
	groups        = []string{GroupOwners, GroupContributors, GroupReaders}
	userKinds     = []string{"User", "ServicePrincipal", "ManagedIdentity"}
)

// Validate checks that a target is of an allow-listed kind and its fields are well formed.
func (t Target) Validate() error {
	switch t.Kind {
	case KindRun:
		return t.validateRun()
	case KindKube:
		return t.validateKube()
	case KindLog, KindFollow:
		return t.validateLog()
	}
	return fmt.Errorf("relay target kind %.40q is not allowed; only %q, %q, %q and %q are", t.Kind, KindRun, KindKube, KindLog, KindFollow)
}

// MaxTail is how many lines of a pod a relay sends at most.
const MaxTail = 10_000

func (t Target) validateLog() error {
	switch {
	case !namespaceRule.MatchString(t.Namespace):
		return fmt.Errorf("relay target namespace %.80q is not the name of a namespace", t.Namespace)
	case !objectRule.MatchString(t.Deployment):
		return fmt.Errorf("relay target deployment %.80q is not the name of an object", t.Deployment)
	case !slices.Contains(containers, t.Container):
		return fmt.Errorf("relay target container %.80q is none of %q", t.Container, containers)
	case t.Tail < 0 || t.Tail > MaxTail || t.Tail == 0 && t.Kind == KindLog:
		return fmt.Errorf("relay target tail %d is not 1 to %d", t.Tail, MaxTail)
	case !t.Since.IsZero() && t.Kind == KindLog:
		return errors.New("a relay target of kind log has no since")
	case t.JobID != "" || t.Rank != 0 || t.User != "" || t.UserKind != "" || len(t.Groups) > 0:
		return errors.New("a relay target of kind log names a deployment only")
	}
	return nil
}

func (t Target) validateRun() error {
	switch {
	case !namespaceRule.MatchString(t.Namespace):
		return fmt.Errorf("relay target namespace %.80q is not the name of a namespace", t.Namespace)
	case !jobIDRule.MatchString(t.JobID):
		return fmt.Errorf("relay target jobId %.80q is not 32 hex digits", t.JobID)
	case t.Rank < 0 || t.Rank > 100_000:
		return fmt.Errorf("relay target rank %d is out of range", t.Rank)
	case t.User != "" || t.UserKind != "" || len(t.Groups) > 0 || t.hasLog():
		return errors.New("a relay target of kind run has no user and no deployment")
	}
	return nil
}

// validateKube lets only object ids be users: every name that means something to Kubernetes ("system:admin") is refused.
func (t Target) validateKube() error {
	switch {
	case !objectIDRule.MatchString(t.User):
		return fmt.Errorf("relay target user %.80q is not an object id", t.User)
	case !slices.Contains(userKinds, t.UserKind):
		return fmt.Errorf("relay target userKind %.40q is none of %q", t.UserKind, userKinds)
	case t.Namespace != "" || t.JobID != "" || t.Rank != 0 || t.hasLog():
		return errors.New("a relay target of kind kube names no pod")
	}
	for _, g := range t.Groups {
		if !slices.Contains(groups, g) {
			return fmt.Errorf("relay target group %.80q is none of %q", g, groups)
		}
	}
	return nil
}

func (t Target) hasLog() bool {
	return t.Deployment != "" || t.Container != "" || t.Tail != 0 || !t.Since.IsZero()
}

// String says for people what a target is.
func (t Target) String() string {
	if t.Kind == KindKube {
		return "the API server"
	}
	if t.Kind == KindLog || t.Kind == KindFollow {
		return fmt.Sprintf("the log of %s of deployment %s", t.Container, t.Deployment)
	}
	return fmt.Sprintf("rank %d of run %s", t.Rank, t.JobID)
}

// ParseTarget reads and validates the first line of a stream.
func ParseTarget(line []byte) (Target, error) {
	var t Target
	if err := json.Unmarshal(line, &t); err != nil {
		return Target{}, fmt.Errorf("reading relay target: %w", err)
	}
	return t, t.Validate()
}
