package rollout

import (
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/types/clusterstate"
	"fairlead.dev/fairlead/internal/link"
)

func TestPlan(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	said := func(revision, state, reason, message string) *link.ServingStatus {
		return &link.ServingStatus{Revision: revision, State: state, Reason: reason, Message: message}
	}
	good := func() input {
		return input{now: now, what: "deployment", state: "Creating", since: now.Add(-10 * time.Second), revision: "r1", observedAt: now,
			facts: clusterstate.Facts{Exists: true, Name: "edge", Key: "/x/edge", Connectivity: "Connected", LastSeen: now, Extension: clusterstate.Extension{Exists: true, Name: "arcml", Inference: true}}}
	}
	for name, c := range map[string]struct {
		change              func(*input)
		state, reason, text string
		again               time.Duration
		ends                bool
	}{
		"nothing said":          {func(*input) {}, "Creating", "", "", patience - 10*time.Second, false},
		"of an older revision":  {func(in *input) { in.observed = said("r0", "Succeeded", "", "") }, "Creating", "", "", patience - 10*time.Second, false},
		"coming":                {func(in *input) { in.observed = said("r1", "Pending", "ImagePull", "pulling") }, "Creating", "ImagePull", "pulling", patience - 10*time.Second, false},
		"up":                    {func(in *input) { in.observed = said("r1", "Succeeded", "", "") }, "Succeeded", "", "", 0, false},
		"failed":                {func(in *input) { in.observed = said("r1", "Failed", "ImagePullLoopBackOff", "no image") }, "Failed", "ImagePullLoopBackOff", "no image", 0, true},
		"failed without reason": {func(in *input) { in.observed = said("r1", "Failed", "", "x") }, "Failed", "InternalServerError", "x", 0, true},
		"failed before":         {func(in *input) { in.observed = said("r1", "Failed", "E", "old"); in.observedAt = now.Add(-time.Hour) }, "Creating", "E", "old", grace - 10*time.Second, false},
		"failed before, still does": {func(in *input) {
			in.observed = said("r1", "Failed", "E", "old")
			in.observedAt = now.Add(-time.Hour)
			in.since = now.Add(-grace)
		}, "Failed", "E", "old", 0, true},
		"mended later": {func(in *input) { in.state = "Failed"; in.observed = said("r1", "Succeeded", "", "") }, "Succeeded", "", "", 0, false},
		"ill later": {func(in *input) {
			in.state = "Succeeded"
			in.observed = said("r1", "Failed", "DeploymentCrashLoopBackOff", "crashes")
		}, "Succeeded", "DeploymentCrashLoopBackOff", "crashes", 0, false},
		"offline":          {func(in *input) { in.facts.Connectivity = "Offline" }, "Creating", "KubernetesUnaccessible", "cluster edge is offline since 2026-01-02T03:04:05Z", patience - 10*time.Second, false},
		"offline for long": {func(in *input) { in.facts.Connectivity = "Offline"; in.since = now.Add(-patience) }, "Failed", "KubernetesUnaccessible", "did not come up in 20m0s: cluster edge is offline", 0, true},
		"silent for long":  {func(in *input) { in.since = now.Add(-patience) }, "Failed", "KubernetesUnaccessible", "has not said anything of it", 0, true},
		"slow for long": {func(in *input) {
			in.since = now.Add(-patience)
			in.observed = said("r1", "Pending", "PodUnschedulable", "0/1 nodes")
		}, "Failed", "PodUnschedulable", "20m0s: 0/1 nodes", 0, true},
		"cluster deleted":       {func(in *input) { in.facts = clusterstate.Facts{Key: "/x/edge"} }, "Failed", "KubernetesUnaccessible", "does not exist any more", 0, true},
		"cluster deleted later": {func(in *input) { in.state = "Succeeded"; in.facts = clusterstate.Facts{Key: "/x/edge"} }, "Succeeded", "KubernetesUnaccessible", "does not exist any more", 0, false},
		"extension deleted":     {func(in *input) { in.facts.Extension = clusterstate.Extension{} }, "Creating", "ExtensionMissing", "enableInference=True", patience - 10*time.Second, false},
		"inference taken away":  {func(in *input) { in.facts.Extension.Inference = false }, "Creating", "InferenceDisabled", "set it to True", patience - 10*time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			in := good()
			c.change(&in)
			out := plan(in)
			if out.state != c.state || out.reason != c.reason || !strings.Contains(out.message, c.text) || c.text == "" && out.message != "" || out.again != c.again || (out.cause != nil) != c.ends {
				t.Errorf("%+v", out)
			}
			in.state = out.state
			if again := plan(in); again.state != out.state || again.reason != out.reason && !again.keep {
				t.Errorf("a second step goes on to %+v", again)
			}
		})
	}
}
