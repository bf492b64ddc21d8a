package extension

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/version"

	"fairlead.dev/fairlead/internal/cluster/extension/helm"
	"fairlead.dev/fairlead/internal/extensionsettings"
	"fairlead.dev/fairlead/internal/link"
)

// basis is what an extension is made from: the agent's chart, or the one that is running.
type basis struct {
	chart *helm.Chart
	// defaults are the values below the extension's settings.
	defaults map[string]any
	// note says why the agent's chart is not taken, "" when it is.
	note string
}

// basis finds the chart for an extension; the error tells a user what may be asked for.
func (m *Manager) basis(ext link.Extension, release *helm.Release) (basis, error) {
	chart, ok := m.cfg.Charts[strings.ToLower(ext.ExtensionType)]
	if !ok {
		return basis{}, fmt.Errorf("extensionType %q is not known to this agent; use Microsoft.AzureML.Kubernetes", ext.ExtensionType)
	}
	stay, note, err := choose(ext, chart.Version(), release.Running())
	if err != nil || !stay {
		return basis{chart: chart, defaults: m.cfg.Values}, err
	}
	out := basis{note: note, defaults: clone(m.cfg.Values)}
	// A version is chart and images: this agent's images are of its own version.
	if image, ok := release.RunningValues()["image"].(map[string]any); ok {
		out.defaults["image"] = image
	}
	out.chart, err = release.Chart()
	return out, err
}

// choose decides between the agent's version and the one that is running, "" for none. Without a version that is pinned, newer
// ones of the same major version are taken.
func choose(ext link.Extension, agent, running string) (stay bool, note string, err error) {
	switch {
	case ext.Version != "" && ext.Version != agent && ext.Version != running:
		has := agent
		if running != "" && running != agent {
			has += " and runs " + running
		}
		return false, "", fmt.Errorf("Failed in download the Chart path not found: version %q of %s is not in this agent, which has %s; leave version out or give that one", ext.Version, ext.ExtensionType, has)
	case running == "" || running == agent || ext.Version == agent:
		return false, "", nil
	case ext.Version != "" || ext.Pinned:
		return true, fmt.Sprintf("version %s is pinned and stays; this agent has %s. To upgrade: k8s-extension update --auto-upgrade-minor-version true", running, agent), nil
	}
	from, errFrom := version.ParseSemantic(running)
	to, errTo := version.ParseSemantic(agent)
	switch {
	case errFrom != nil || errTo != nil:
		return false, "", nil
	case to.LessThan(from):
		return true, fmt.Sprintf("version %s stays; this agent has %s, which is older. To go back: k8s-extension update --auto-upgrade-minor-version false --version %s", running, agent, agent), nil
	case from.Major() != to.Major():
		return true, fmt.Sprintf("version %s stays; this agent has %s, and major versions are not upgraded by themselves. To upgrade: k8s-extension update --auto-upgrade-minor-version false --version %s", running, agent, agent), nil
	}
	return false, "", nil
}

// noted is what the statuses say of a version that stays, and of settings that have no effect because this agent does not know them.
func (j *job) noted() []link.Status {
	var out []link.Status
	now := time.Now().UTC().Format(time.RFC3339)
	if j.note != "" {
		out = append(out, link.Status{Code: "VersionKept", Level: "Information", Message: j.note, Time: now})
	}
	for _, key := range (extensionsettings.Settings{Plain: j.ext.Settings, Protected: j.ext.ProtectedSettings}).Unknown() {
		out = append(out, link.Status{Code: "SettingUnknown", Level: "Warning", Time: now,
			Message: key + " is not a setting of this agent's release and has no effect. Upgrade the agent with 'connectedk8s update', or take the setting away"})
	}
	return out
}
