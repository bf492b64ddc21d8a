package extension

import (
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.dev/fairlead/charts"
	"fairlead.dev/fairlead/internal/cluster/extension/helm"
	"fairlead.dev/fairlead/internal/cluster/preflight"
	"fairlead.dev/fairlead/internal/extensionsettings"
	"fairlead.dev/fairlead/internal/testing/certtest"
	"fairlead.dev/fairlead/internal/testing/rows"
)

// combination is one cell of the matrix.
type combination struct {
	scenario string // T, I or T+I
	service  string // loadBalancer, internal, nodePort or clusterIP
	https    bool
	ha       bool
	nodes    int
}

func (c combination) String() string {
	return fmt.Sprintf("%s/%s/https=%v/ha=%v/%d nodes", c.scenario, c.service, c.https, c.ha, c.nodes)
}

// certificate is one for all.
var certificate = sync.OnceValues(func() (cert, key []byte) {
	cert, key, err := certtest.Pair(time.Now().Add(-time.Hour), time.Now().Add(time.Hour), "ml.example.com")
	if err != nil {
		panic(err)
	}
	return cert, key
})

func (c combination) training() bool  { return strings.Contains(c.scenario, "T") }
func (c combination) inference() bool { return strings.Contains(c.scenario, "I") }

// settings are those of the 2021 preview, or those of GA.
func (c combination) settings(ga bool) extensionsettings.Settings {
	plain, protected := map[string]string{}, map[string]string{}
	if c.training() {
		plain["enableTraining"] = "True"
	}
	if !c.inference() {
		return extensionsettings.Settings{Plain: plain, Protected: protected}
	}
	plain["enableInference"] = "True"
	if c.https {
		cert, key := certificate()
		protected["scoringFe.sslCert"], protected["scoringFe.sslKey"] = base64.StdEncoding.EncodeToString(cert), base64.StdEncoding.EncodeToString(key)
	} else {
		plain["allowInsecureConnections"] = "True"
	}
	said := map[string]map[string]string{
		"loadBalancer": {"inferenceRouterServiceType": "loadBalancer"},
		"internal":     {"inferenceRouterServiceType": "LoadBalancer", "internalLoadBalancerProvider": "azure"},
		"nodePort":     {"inferenceRouterServiceType": "NodePort"},
		"clusterIP":    {"inferenceRouterServiceType": "ClusterIP"},
	}[c.service]
	ha := "inferenceRouterHA"
	if preview, ok := map[string]map[string]string{"loadBalancer": {}, "internal": {"privateEndpointILB": "True"}, "nodePort": {"privateEndpointNodeport": "True"}}[c.service]; ok && !ga {
		said, ha = preview, "inferenceLoadBalancerHA"
	}
	maps.Copy(plain, said)
	if !c.ha {
		plain[ha] = "False"
	}
	return extensionsettings.Settings{Plain: plain, Protected: protected}
}

// facts are of a cluster that can take every combination.
func (c combination) facts() preflight.Facts {
	f := preflight.Facts{Version: "v1.36.3", Major: 1, Minor: 36, Allowed: true, Balancers: true, Groups: map[string][]string{}}
	for i := range c.nodes {
		f.Nodes = append(f.Nodes, corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i)},
			Spec:       corev1.NodeSpec{ProviderID: "azure:///x"},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
		})
	}
	return f
}

func combinations() []combination {
	var out []combination
	for _, nodes := range []int{1, 3} {
		out = append(out, combination{scenario: "T", nodes: nodes})
		for _, scenario := range []string{"I", "T+I"} {
			for _, service := range []string{"loadBalancer", "internal", "nodePort", "clusterIP"} {
				for _, https := range []bool{false, true} {
					for _, ha := range []bool{false, true} {
						out = append(out, combination{scenario, service, https, ha, nodes})
					}
				}
			}
		}
	}
	return out
}

// rendered goes the way of an installation: settings become values, the preflight changes some of them, the chart is rendered.
func rendered(t *testing.T, chart *helm.Chart, s extensionsettings.Settings, f preflight.Facts) (manifests string, effective map[string]string, findings []preflight.Finding) {
	t.Helper()
	given, err := values(map[string]any{"image": map[string]any{"agent": "a:1", "router": "f:1", "runtime": "r:1"}}, s.Plain, s.Protected)
	if err != nil {
		t.Fatal(err)
	}
	effective = s.Effective()
	findings = preflight.Findings(preflight.Run(preflight.Subject{Phase: preflight.PreInstall, Release: "arcml", Namespace: "azureml", Settings: s, Now: time.Now()}, f))
	for _, found := range findings {
		if found.Level == preflight.Error {
			t.Fatal(found)
		}
		merge(given, found.Values)
		for name, value := range found.Values {
			if text, ok := value.(string); ok {
				effective[name] = text
			}
		}
	}
	digest := chart.Digest(given)
	if known, ok := renderings[digest]; ok {
		return known, effective, findings
	}
	if manifests, err = chart.Render("azureml", "arcml", given); err != nil {
		t.Fatal(err)
	}
	renderings[digest] = manifests
	return manifests, effective, findings
}

// renderings are by the digest of their values: each takes a moment, because the chart makes a certificate, and many are the same.
var renderings = map[string]string{}

// workloadsOf lists "Kind name" of what manifests run, and of what operators make of them.
func workloadsOf(t *testing.T, manifests string) []string {
	t.Helper()
	f, err := preflight.FootprintOf(manifests)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, o := range f.Objects {
		switch o.Kind {
		case "Deployment", "DaemonSet", "StatefulSet", "Job", "CronJob", "Pod":
			out = append(out, o.Kind+" "+o.Name)
		case "Prometheus":
			out = append(out, "StatefulSet prometheus-"+o.Name)
		}
	}
	slices.Sort(out)
	return out
}

// TestMatrix: every combination of settings comes to exactly the rows of its scenario, in both vocabularies.
func TestMatrix(t *testing.T) {
	chart, err := helm.LoadChart(charts.FS, charts.AzureML)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range combinations() {
		for vocabulary, ga := range map[string]bool{"2021": false, "GA": true} {
			t.Run(c.String()+"/"+vocabulary, func(t *testing.T) { testCombination(t, chart, c, ga) })
		}
	}
}

func testCombination(t *testing.T, chart *helm.Chart, c combination, ga bool) {
	manifests, effective, findings := rendered(t, chart, c.settings(ga), c.facts())
	if diff := rows.Diff(rows.Of("arcml", effective), workloadsOf(t, manifests)); diff != "" {
		t.Error(diff)
	}
	few := slices.ContainsFunc(findings, func(f preflight.Finding) bool { return f.Code == preflight.InsufficientNode })
	if want := c.inference() && c.ha && c.nodes < 3; few != want {
		t.Errorf("told that nodes are too few: %v, want %v", few, want)
	}
	if !c.inference() {
		return
	}
	want := map[string]string{
		"inferenceRouterHA":        map[bool]string{true: "True", false: "False"}[c.ha && c.nodes >= 3],
		"allowInsecureConnections": map[bool]string{true: "False", false: "True"}[c.https],
		"inferenceRouterServiceType": map[string]string{
			"loadBalancer": "loadBalancer", "internal": "loadBalancer", "nodePort": "nodePort", "clusterIP": "clusterIP"}[c.service],
		"internalLoadBalancerProvider": map[bool]string{true: "azure", false: ""}[c.service == "internal"],
	}
	for name, value := range want {
		if effective[name] != value {
			t.Errorf("%s is %q, want %q", name, effective[name], value)
		}
	}
}

// TestScenariosKeepToThemselves: nothing of training is in inference alone, of any kind, nor the other way round.
func TestScenariosKeepToThemselves(t *testing.T) {
	chart, err := helm.LoadChart(charts.FS, charts.AzureML)
	if err != nil {
		t.Fatal(err)
	}
	objects := func(scenario string) map[string]bool {
		c := combination{scenario: scenario, service: "nodePort", nodes: 1}
		manifests, _, _ := rendered(t, chart, c.settings(true), c.facts())
		f, err := preflight.FootprintOf(manifests)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]bool{}
		for _, o := range f.Objects {
			out[o.String()] = true
		}
		return out
	}
	training, inference, both := objects("T"), objects("I"), objects("T+I")
	for o := range both {
		if !training[o] && !inference[o] {
			t.Errorf("%s is in T+I and in neither alone", o)
		}
	}
	for _, r := range rows.Table {
		for scenario, has := range map[string]map[string]bool{"training": training, "inference": inference} {
			mine := scenario == "training" && r.Training || scenario == "inference" && r.Inference
			if mine {
				continue
			}
			for o := range has {
				if kind, name, _ := strings.Cut(o, " "); strings.HasSuffix(name, "/"+r.Name) || strings.TrimPrefix(name, "azureml-") == r.Name {
					t.Errorf("%s alone has %s %s of %s", scenario, kind, name, r.Name)
				}
			}
		}
	}
	if o := "ValidatingAdmissionPolicy azureml-aml-operator-pods"; inference[o] || !training[o] {
		t.Errorf("%s: in training %v, in inference %v", o, training[o], inference[o])
	}
}

// TestSettingsOfRows: a row that hangs on a setting is there with it and away without.
func TestSettingsOfRows(t *testing.T) {
	chart, err := helm.LoadChart(charts.FS, charts.AzureML)
	if err != nil {
		t.Fatal(err)
	}
	c := combination{scenario: "T+I", service: "nodePort", nodes: 3}
	for _, r := range rows.Table {
		for _, value := range []string{"True", "False"} {
			if r.When == "" {
				continue
			}
			s, f := c.settings(true), c.facts()
			s.Plain[r.When] = value
			if r.When == "openshift" && value == "True" {
				f.Groups["security.openshift.io"] = []string{"v1"}
			}
			if r.When == "installJobSet" && value == "False" {
				f.Workloads = []preflight.Workload{{Kind: "Deployment", Namespace: "jobset-system", Name: "jobset", Images: []string{"registry.k8s.io/jobset/jobset:v0.10.1"}, Ready: true}}
			}
			manifests, effective, _ := rendered(t, chart, s, f)
			if diff := rows.Diff(rows.Of("arcml", effective), workloadsOf(t, manifests)); diff != "" {
				t.Errorf("%s=%s: %s", r.When, value, diff)
			}
		}
	}
}
