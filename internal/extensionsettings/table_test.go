package extensionsettings

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range Table {
		if seen[s.Name] {
			t.Errorf("%s is there twice", s.Name)
		}
		seen[s.Name] = true
		if found, _ := find(strings.Replace(s.Name, "*", "x", 1)); found.Name != s.Name {
			t.Errorf("%s is found as %q", s.Name, found.Name)
		}
		if _, ok := s.Kind.canonical(s.Default); s.Default != "" && !ok {
			t.Errorf("%s: default %q is not %s", s.Name, s.Default, s.Kind.Name)
		}
		if s.From == 0 || s.Kind.Name == "" || !strings.HasSuffix(s.Help, ".") {
			t.Errorf("%s: incomplete: %+v", s.Name, s)
		}
		uses := 0
		for _, used := range []bool{s.Chart != "", s.Stands != nil, s.Unused != "", s.Kind.Name == pemFile.Name} {
			if used {
				uses++
			}
		}
		if uses != 1 {
			t.Errorf("%s has %d of chart value, stands, unused; want one", s.Name, uses)
		}
		for _, st := range s.Stands {
			if to, ok := find(st.name); !ok || to.From&GA == 0 {
				t.Errorf("%s stands for %s, which GA does not have", s.Name, st.name)
			}
		}
	}
}

// TestDocumentedSettings holds every name and default of the reference's two tables. Defaults of the preview win, but where it has
// another name.
func TestDocumentedSettings(t *testing.T) {
	for name, want := range map[string]string{
		"enableTraining": "False", "logAnalyticsWS": "False", "installNvidiaDevicePlugin": "True", "enableInference": "False",
		"allowInsecureConnections": "False", "privateEndpointNodeport": "False", "privateEndpointILB": "False", "inferenceLoadBalancerHA": "True",
		"openshift": "False", "inferenceRouterServiceType": "loadBalancer", "internalLoadBalancerProvider": "", "sslSecret": "", "sslCname": "",
		"inferenceRouterHA": "True", "nodeSelector.*": "", "installPromOp": "True", "installVolcano": "True", "installDcgmExporter": "False",
		"sslCertPemFile": "", "sslKeyPemFile": "",
	} {
		s, ok := find(name)
		if !ok || s.From&(Preview|GA) == 0 || s.Default != want {
			t.Errorf("%s: %v, default %q; want it, default %q", name, ok, s.Default, want)
		}
	}
}

// TestChart: the chart's own defaults are those of the table, and each of its parts has its figures in it.
func TestChart(t *testing.T) {
	data, err := os.ReadFile("../../charts/azureml/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(data, &values); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, s := range Table {
		if v, ok := values[s.Chart]; ok && s.family() == "" {
			compared++
			if v != s.Default {
				t.Errorf("%s is %v in charts/azureml/values.yaml and %q in the table", s.Name, v, s.Default)
			}
		}
	}
	if compared == 0 {
		t.Error("no setting of the table is in charts/azureml/values.yaml")
	}
	for _, part := range slices.Sorted(maps.Keys(values)) {
		below, _ := values[part].(map[string]any)
		if _, ok := find(part + ".resources.limits.cpu"); below["resources"] != nil && !ok {
			t.Errorf("add %s.resources.* to the table: charts/azureml/values.yaml has it", part)
		}
	}
}

func TestGuideIsWritten(t *testing.T) {
	data, err := os.ReadFile("../../docs/guides/extension-settings.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != Guide() {
		t.Error("docs/guides/extension-settings.md is not what the table says; run go generate ./internal/extensionsettings")
	}
}

func TestHelp(t *testing.T) {
	for _, s := range Table {
		if want := s.From&(Preview|GA|Own) != 0; strings.Contains(Help(), "\n  "+s.Name+" ") != want {
			t.Errorf("%s in the help: want %v", s.Name, want)
		}
	}
}
