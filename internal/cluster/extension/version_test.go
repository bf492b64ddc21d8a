package extension

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"fairlead.dev/fairlead/charts"
	"fairlead.dev/fairlead/internal/cluster/extension/helm"
	"fairlead.dev/fairlead/internal/link"
)

var chartVersion = regexp.MustCompile(`(?m)^version: .*$`)

// chartOf is the extension's chart under another version, "" for its own.
func chartOf(t *testing.T, version string) *helm.Chart {
	t.Helper()
	files := fstest.MapFS{}
	err := fs.WalkDir(charts.FS, charts.AzureML, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(charts.FS, path)
		if version != "" && strings.HasSuffix(path, "Chart.yaml") {
			data = chartVersion.ReplaceAll(data, []byte("version: "+version))
		}
		files[path] = &fstest.MapFile{Data: data}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	chart, err := helm.LoadChart(files, charts.AzureML)
	if err != nil {
		t.Fatal(err)
	}
	return chart
}

func TestChoose(t *testing.T) {
	for name, c := range map[string]struct {
		version        string
		pinned         bool
		agent, running string
		stay           bool
		note, err      string
	}{
		"first installation":                {agent: "1.2.0"},
		"as it is":                          {agent: "1.2.0", running: "1.2.0"},
		"newer minor":                       {agent: "1.3.0", running: "1.2.9"},
		"newer patch":                       {agent: "1.2.1", running: "1.2.0"},
		"newer major":                       {agent: "2.0.0", running: "1.2.0", stay: true, note: "major versions are not upgraded by themselves. To upgrade: k8s-extension update --auto-upgrade-minor-version false --version 2.0.0"},
		"older agent":                       {agent: "1.1.0", running: "1.2.0", stay: true, note: "this agent has 1.1.0, which is older"},
		"pinned, first installation":        {version: "1.2.0", pinned: true, agent: "1.2.0"},
		"pinned, newer agent":               {version: "1.2.0", pinned: true, agent: "1.3.0", running: "1.2.0", stay: true, note: "version 1.2.0 is pinned and stays; this agent has 1.3.0"},
		"pinned to the agent's":             {version: "1.3.0", pinned: true, agent: "1.3.0", running: "1.2.0"},
		"pinned to the agent's newer major": {version: "2.0.0", pinned: true, agent: "2.0.0", running: "1.2.0"},
		"pinned to the agent's older one":   {version: "1.1.0", pinned: true, agent: "1.1.0", running: "1.2.0"},
		"pinned without a version":          {pinned: true, agent: "1.3.0", running: "1.2.0", stay: true, note: "version 1.2.0 is pinned"},
		"pinned to what nobody has":         {version: "9.9.9", pinned: true, agent: "1.3.0", running: "1.2.0", err: `Failed in download the Chart path not found: version "9.9.9" of T is not in this agent, which has 1.3.0 and runs 1.2.0; leave version out`},
		"a first one that nobody has":       {version: "9.9.9", pinned: true, agent: "1.3.0", err: "which has 1.3.0; leave version out"},
	} {
		t.Run(name, func(t *testing.T) {
			stay, note, err := choose(link.Extension{ExtensionType: "T", Version: c.version, Pinned: c.pinned}, c.agent, c.running)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || stay != c.stay || !strings.Contains(note, c.note) || (note == "") != (c.note == "") {
				t.Errorf("stay %v, note %q, error %v", stay, note, err)
			}
		})
	}
}
