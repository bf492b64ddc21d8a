package extension

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/cluster/extension/helm"
	"fairlead.dev/fairlead/internal/cluster/preflight"
	"fairlead.dev/fairlead/internal/extensionsettings"
	"fairlead.dev/fairlead/internal/link"
)

// preflight looks at the cluster before the chart is applied. It reports whether the operation has ended: with an error it is
// tried again, without one it has failed and nothing was applied.
func (j *job) preflight(ctx context.Context, op operation) (ended bool, err error) {
	findings := j.m.look(ctx, j.subject(op), j.footprint)
	j.checks = statuses(findings)
	j.request.Values = clone(j.request.Values)
	var fatal, passing []string
	for _, f := range findings {
		merge(j.request.Values, f.Values)
		switch {
		case f.Level != preflight.Error:
		case f.Code.Passes():
			passing = append(passing, f.String())
		default:
			fatal = append(fatal, f.String())
		}
	}
	switch {
	case len(fatal) > 0:
		cause := fmt.Errorf("failed %s: %s. Nothing was changed", phaseOf(op), strings.Join(fatal, "; "))
		return true, j.failed(ctx, operationFailed(op, j.ext.Name, "the preflight found what must be mended first", cause, ""))
	case len(passing) > 0:
		text := strings.Join(passing, "; ")
		return true, errors.Join(j.pending(ctx, text), errors.New(text))
	}
	return false, nil
}

func phaseOf(op operation) preflight.Phase {
	if op == opUpdate {
		return preflight.PreUpgrade
	}
	return preflight.PreInstall
}

func (j *job) subject(op operation) preflight.Subject {
	s := j.m.subject(phaseOf(op), j.ext.ReleaseNamespace, j.ext.Name)
	s.Settings = extensionsettings.Settings{Plain: j.ext.Settings, Protected: j.ext.ProtectedSettings}
	if image, ok := j.request.Values["image"].(map[string]any); ok {
		s.PullSecret, _ = image["pullSecret"].(string)
	}
	return s
}

// footprint is what the chart makes with the values that findings give, over the request's.
func (j *job) footprint(given []map[string]any) preflight.Footprint {
	values := clone(j.request.Values)
	for _, v := range given {
		merge(values, v)
	}
	var out preflight.Footprint
	manifests, err := j.chart.Render(j.ext.ReleaseNamespace, j.ext.Name, values)
	if err == nil {
		out, err = preflight.FootprintOf(manifests)
	}
	if err != nil { // applying it will say the same, in its own place
		j.m.cfg.Log.Warn("the chart's manifests cannot be looked at", "extension", j.ext.Name, "error", err)
	}
	return out
}

func (m *Manager) subject(phase preflight.Phase, namespace, release string) preflight.Subject {
	return preflight.Subject{
		Phase: phase, Release: release, Namespace: namespace, ClusterID: m.cfg.ClusterID, AgentNamespace: m.cfg.Namespace, Now: time.Now(),
	}
}

// look gathers facts, asks the checks and keeps the report in the cluster. footprint is nil where nothing is made.
func (m *Manager) look(ctx context.Context, s preflight.Subject, footprint func(given []map[string]any) preflight.Footprint) []preflight.Finding {
	facts := preflight.Gather(ctx, m.cfg.Kube, s)
	if footprint != nil {
		s.Footprint = footprint(nil)
		var given []map[string]any
		for _, f := range preflight.Findings(preflight.Run(s, facts)) {
			given = append(given, f.Values)
		}
		s.Footprint = footprint(given) // without components of others that are left alone
	}
	var err error
	if facts.Existing, err = preflight.Existing(ctx, m.cfg.Metadata, s.Footprint.Objects); err != nil {
		facts.Unread = append(facts.Unread, preflight.Unread{What: "objects of the chart", Err: err})
	}
	if m.cfg.Reach != nil {
		facts.Ahead, facts.Unreachable = m.cfg.Reach(ctx)
	}
	results := preflight.Run(s, facts)
	if err := preflight.Write(ctx, m.cfg.Kube, s, results); err != nil {
		m.cfg.Log.Warn("the report of the checks was not kept", "extension", s.Release, "error", err)
	}
	return preflight.Findings(results)
}

// statuses are findings as an extension's statuses.
func statuses(findings []preflight.Finding) []link.Status {
	out := []link.Status{} // not nil: the checks were made
	for _, f := range findings {
		message := strings.TrimPrefix(f.String(), f.Code.String()+" ")
		out = append(out, link.Status{Code: f.Code.String(), Level: string(f.Level), Message: message, Time: time.Now().UTC().Format(time.RFC3339)})
	}
	return out
}

// findings are what was found before the newest revision was made, also by an earlier life of the agent.
func (j *job) findings() []link.Status {
	if j.checks != nil {
		return j.checks
	}
	var out []link.Status
	if recorded := j.m.records.get(j.ext.Name); recorded != nil {
		for _, c := range recorded.Status.Checks {
			if strings.HasPrefix(c.Code, "E4") {
				out = append(out, c)
			}
		}
	}
	return out
}

// lookBefore makes the checks of a phase that nothing keeps from happening, for the report alone.
func (m *Manager) lookBefore(ctx context.Context, phase preflight.Phase, ref helm.Ref) {
	m.look(context.WithoutCancel(ctx), m.subject(phase, ref.Namespace, ref.Name), nil)
}
