package extension

import (
	"fmt"
	"maps"
	"regexp"
	"strings"
	"testing"

	"fairlead.dev/fairlead/internal/cluster/extension/helm"
	"fairlead.dev/fairlead/internal/extensionsettings"
)

// random is what the chart makes anew on each rendering: keys and certificates.
var random = regexp.MustCompile(`(?m)(ca\.crt|tls\.crt|tls\.key|caBundle): [A-Za-z0-9+/=]{100,}`)

// everything switches on all that the chart has.
var everything = map[string]string{
	"enableTraining": "True", "enableInference": "True", "allowInsecureConnections": "True", "installDcgmExporter": "True", "openshift": "True", "logAnalyticsWS": "True",
}

// TestSettingsRender: every setting that has a value in the chart changes what the chart makes. A certificate pair does so in the
// chart's golden files, and sslCname is the control plane's and the preflight's.
func TestSettingsRender(t *testing.T) {
	chart := chartOf(t, "")
	// others have values that are not True or False; with is what they need beside them.
	others := map[string]struct{ value, with string }{
		"allowInsecureConnections":     {"False", "sslSecret=tls sslCname=ml.example.com"},
		"nodeLostSeconds":              {"61", ""},
		"nodeSelector.*":               {"pool=ml", ""},
		"inferenceRouterServiceType":   {"nodePort", ""},
		"internalLoadBalancerProvider": {"azure", ""},
		"sslSecret":                    {"tls", "sslCname=ml.example.com"},
		"corsOrigins":                  {"https://ml.example.com", ""},
		"image.*":                      {"agent=registry.example/agent:1", ""},
	}
	plain := manifestsOf(t, chart, everything)
	for _, row := range extensionsettings.Table {
		name, base, before := row.Name, maps.Clone(everything), plain
		if row.Chart == "" || row.Protected || name == "sslCname" || strings.HasSuffix(name, ".resources.*") {
			continue
		}
		other, special := others[name]
		switch {
		case special:
		case base[name] == "True", base[name] == "" && row.Default == "True":
			other.value = "False"
		default:
			other.value = "True"
		}
		if other.with != "" {
			for setting := range strings.FieldsSeq(other.with) {
				k, v, _ := strings.Cut(setting, "=")
				base[k] = v
			}
			before = manifestsOf(t, chart, base)
		}
		if family, ok := strings.CutSuffix(name, "*"); ok {
			below, value, _ := strings.Cut(other.value, "=")
			name, other.value = family+below, value
		}
		base[name] = other.value
		if manifestsOf(t, chart, base) == before {
			t.Errorf("%s=%s changes nothing", name, other.value)
		}
	}
}

// TestResourcesRender gives every component a limit that no other has.
func TestResourcesRender(t *testing.T) {
	settings, given := maps.Clone(everything), map[string]string{}
	for i, row := range extensionsettings.Table {
		if family, ok := strings.CutSuffix(row.Name, ".resources.*"); ok && row.Chart != "" {
			given[family] = fmt.Sprintf("%dMi", 1701+i)
			settings[family+".resources.limits.memory"] = given[family]
		}
	}
	text := manifestsOf(t, chartOf(t, ""), settings)
	for component, limit := range given {
		if !strings.Contains(text, limit) {
			t.Errorf("%s.resources.limits.memory=%s changes nothing", component, limit)
		}
	}
	if len(given) == 0 {
		t.Error("no component has resources")
	}
}

func manifestsOf(t *testing.T, chart *helm.Chart, settings map[string]string) string {
	t.Helper()
	v, err := values(map[string]any{"image": map[string]any{"agent": "a:1", "router": "f:1", "runtime": "r:1"}}, settings, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := chart.Render("azureml", "arcml", v)
	if err != nil {
		t.Fatal(err)
	}
	return random.ReplaceAllString(text, "$1")
}
