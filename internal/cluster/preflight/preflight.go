// Package preflight says whether a cluster can take an extension, before anything is applied.
//
//	gather (one pass over the API) ──▶ Facts ──┐
//	what is about to be done ───────▶ Subject ─┴─▶ Run ──▶ []Result ──▶ ConfigMap arcml-healthcheck, the extension's statuses
//
// A check is a pure function of subject and facts. What it finds carries a code of the reference (E40000 to E49999), what is
// wrong, and the command that mends it. Most codes below E45000 are critical: an installation with one of them is not begun.
package preflight

import (
	"fmt"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/extensionsettings"
)

// Phase is when checks run, in the words of the report's keys.
type Phase string

// Phases.
const (
	PreInstall  Phase = "pre-install"
	PreUpgrade  Phase = "pre-upgrade"
	PreRollback Phase = "pre-rollback"
	PreDelete   Phase = "pre-delete"
)

// Subject is what is about to be done.
type Subject struct {
	Phase Phase
	// Release is the extension's name and its Helm release's, Namespace where it goes.
	Release, Namespace string
	// ClusterID is the cluster's resource id, for commands that name it.
	ClusterID string
	// AgentNamespace is where the agent runs.
	AgentNamespace string
	Settings       extensionsettings.Settings
	// PullSecret is the name of the Secret for pulling images, "" for none.
	PullSecret string
	// Footprint is what the chart will run.
	Footprint Footprint
	Now       time.Time
}

// on reports whether a setting is True in effect.
func (s Subject) on(name string) bool { return s.Settings.On(name) }

// update is the command that changes a setting.
func (s Subject) update(setting string) string {
	return s.command() + " --configuration-settings " + setting
}

// protect is the command that replaces protected settings.
func (s Subject) protect(settings string) string {
	return s.command() + " --configuration-protected-settings " + settings
}

func (s Subject) command() string {
	cluster, group, managed := s.cluster()
	typ := "connectedClusters"
	if managed {
		typ = "managedClusters"
	}
	return fmt.Sprintf("fairlead k8s-extension update -n %s -c %s -t %s -g %s", s.Release, cluster, typ, group)
}

// agent is a command that changes the cluster's agent; the verbs are those for connected and for managed clusters.
func (s Subject) agent(connected, managed string) string {
	cluster, group, is := s.cluster()
	verb := "connectedk8s " + connected
	if is {
		verb = "aks " + managed
	}
	noun, flags, _ := strings.Cut(verb, " --")
	if flags != "" {
		flags = " --" + flags
	}
	return fmt.Sprintf("fairlead %s -n %s -g %s%s", noun, cluster, group, flags)
}

func (s Subject) cluster() (name, group string, managed bool) {
	id, err := arm.ParseID(s.ClusterID)
	if err != nil {
		return "<cluster>", "<group>", false
	}
	return id.Name(), id.ResourceGroup, strings.Contains(strings.ToLower(s.ClusterID), "/managedclusters/")
}

// restartAgent is the command that starts the agent anew.
func (s Subject) restartAgent() string {
	return fmt.Sprintf("kubectl rollout restart -n %s deployment/fairlead-agent", s.AgentNamespace)
}

// Level is how much a finding matters.
type Level string

// Levels, as in an extension's statuses.
const (
	Error       Level = "Error"
	Warning     Level = "Warning"
	Information Level = "Information"
)

// Finding is something that a check found.
type Finding struct {
	Code  Code
	Level Level
	// Message is what is wrong. Fix ends with the command that mends it, after ": " or "; " where something stands before; it is "" for
	// Information, which needs no mending.
	Message, Fix string
	// Values change the chart's, so that the extension fits what was found.
	Values map[string]any
}

// String is the finding in one line.
func (f Finding) String() string {
	text := fmt.Sprintf("%s %s: %s", f.Code, f.Code.Name, f.Message)
	if f.Fix != "" {
		text += ". Fix: " + f.Fix
	}
	return text
}

// found makes a finding of the level that its code has.
func found(code Code, fix, format string, args ...any) Finding {
	f := Finding{Code: code, Level: Warning, Message: fmt.Sprintf(format, args...), Fix: fix}
	if code.Critical() {
		f.Level = Error
	}
	return f
}

// left is a component of somebody else's that is used as it is.
func left(values map[string]any, format string, args ...any) Finding {
	return Finding{Code: ComponentFound, Level: Information, Message: fmt.Sprintf(format, args...) + "; it is left alone", Values: values}
}

func one(f Finding) []Finding { return []Finding{f} }

// Result is what one check found; nothing when all is well.
type Result struct {
	Check    string
	Findings []Finding
}

// check is one question to the facts.
type check struct {
	name string
	// every says that it is asked in every phase, not only before something is applied.
	every  bool
	decide func(Subject, Facts) []Finding
}

var checks = []check{
	{"facts", true, checkFacts},
	{"rights", true, checkRights},
	{"kubernetes-version", false, checkVersion},
	{"nodes", true, checkNodes},
	{"capacity", false, checkCapacity},
	{"network", true, checkNetwork},
	{"agent", true, checkAgent},
	{"webhooks", true, checkWebhooks},
	{"namespace", true, checkNamespace},
	{"quota", false, checkQuota},
	{"limit-range", false, checkLimitRange},
	{"network-policy", false, checkPolicies},
	{"pod-security", false, checkPodSecurity},
	{"pull-secret", false, checkPullSecret},
	{"ownership", false, checkOwnership},
	{"custom-resources", false, checkCustomResources},
	{"jobset", false, checkJobSet},
	{"kueue", false, checkKueue},
	{"prometheus", false, checkPrometheus},
	{"device-plugin", false, checkDevicePlugin},
	{"dcgm-exporter", false, checkExporter},
	{"nvidia-runtime", false, checkRuntime},
	{"node-feature-discovery", false, checkFeatureDiscovery},
	{"openshift", false, checkOpenShift},
	{"load-balancer", false, checkLoadBalancer},
	{"router-replicas", false, checkReplicas},
	{"tls", false, checkTLS},
	{"inference-router", false, checkRouter},
}

// Run asks every check of the subject's phase.
func Run(s Subject, f Facts) []Result {
	applies := s.Phase == PreInstall || s.Phase == PreUpgrade
	var out []Result
	for _, c := range checks {
		if applies || c.every {
			out = append(out, Result{c.name, guarded(c, s, f)})
		}
	}
	return out
}

// guarded turns the panic of a check into a finding: an error of ours must not keep anybody from installing.
func guarded(c check, s Subject, f Facts) (out []Finding) {
	defer func() {
		if r := recover(); r != nil {
			out = one(found(CheckerPanic, fmt.Sprintf("kubectl logs -n %s deployment/fairlead-agent tells more; an agent without this mistake: %s", s.AgentNamespace, s.agent("connect", "update --kube-config <file>")), "check %s broke off: %v; the other checks are not affected", c.name, r))
		}
	}()
	return c.decide(s, f)
}

// Findings lists what the results hold.
func Findings(results []Result) []Finding {
	var out []Finding
	for _, r := range results {
		out = append(out, r.Findings...)
	}
	return out
}
