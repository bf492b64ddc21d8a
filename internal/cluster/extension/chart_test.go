package extension

import (
	"strings"
	"testing"

	"fairlead.dev/fairlead/charts"
	"fairlead.dev/fairlead/internal/cluster/extension/helm"
	"fairlead.dev/fairlead/internal/link"
)

func TestChartOfAVersion(t *testing.T) {
	chart, err := helm.LoadChart(charts.FS, charts.AzureML)
	if err != nil {
		t.Fatal(err)
	}
	m := New(Config{Charts: map[string]*helm.Chart{"microsoft.azureml.kubernetes": chart}})
	for version, want := range map[string]string{
		"": "", chart.Version(): "",
		"9.9.9": `Failed in download the Chart path not found: version "9.9.9" of Microsoft.AzureML.Kubernetes is not in this agent, which has ` + chart.Version() + ";",
	} {
		got, err := m.chart(link.Extension{ExtensionType: "Microsoft.AzureML.Kubernetes", Version: version})
		if want == "" && (err != nil || got != chart) || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("version %q: chart %v, error %v", version, got, err)
		}
	}
}
