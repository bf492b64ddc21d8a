package helm

import (
	"fmt"

	"helm.sh/helm/v4/pkg/chart/loader/archive"
	"sigs.k8s.io/yaml"
)

// Running is the version of the chart of the newest revision that works, or, when none was ever seen to, of the newest: the installation that
// is under way. It is "" when there is none.
func (r *Release) Running() string {
	if r == nil {
		return ""
	}
	return r.running.Chart.Metadata.Version
}

// RunningValues are what that revision was made with, without the chart's own.
func (r *Release) RunningValues() map[string]any {
	if r == nil {
		return nil
	}
	return r.running.Config
}

// Chart is the chart of that revision, as Helm keeps it with the release: an extension whose version is pinned is upgraded with it
// even when nothing else has this version any more.
func (r *Release) Chart() (*Chart, error) {
	stored := r.running.Chart
	c := &Chart{name: stored.Metadata.Name, version: stored.Metadata.Version, digest: r.running.Labels[labelChart]}
	for name, part := range map[string]any{"Chart.yaml": stored.Metadata, "values.yaml": stored.Values} {
		data, err := yaml.Marshal(part)
		if err != nil {
			return nil, fmt.Errorf("reading the chart of release %s/%s: %w", r.Namespace, r.Name, err)
		}
		c.files = append(c.files, &archive.BufferedFile{Name: name, Data: data})
	}
	for _, f := range append(stored.Templates, stored.Files...) {
		c.files = append(c.files, &archive.BufferedFile{Name: f.Name, Data: f.Data})
	}
	for _, crd := range stored.CRDObjects() {
		c.crds = append(c.crds, crd.File.Data)
	}
	return c, nil
}
