package extensionsettings

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write golden files")

// TestBodies: bodies as clients of both vocabularies send them are valid, and come to the chart values in the golden files.
func TestBodies(t *testing.T) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, ".values.json") {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			got, err := json.MarshalIndent(read(t, file).Values(), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".json") + ".values.json"
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.TrimSpace(string(want)), string(got)); diff != "" {
				t.Errorf("values (-want +got):\n%s", diff)
			}
		})
	}
}

func read(t *testing.T, file string) Settings {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var body struct {
		Properties struct{ ConfigurationSettings, ConfigurationProtectedSettings map[string]any }
	}
	if err := json.Unmarshal(data, &body); err != nil {
		t.Fatal(err)
	}
	plain, bad := Texts(body.Properties.ConfigurationSettings, false)
	protected, worse := Texts(body.Properties.ConfigurationProtectedSettings, true)
	s := Settings{Plain: plain, Protected: protected}
	if ps := append(append(bad, worse...), s.Validate(Options{Now: now})...); len(ps) > 0 {
		t.Fatal(ps)
	}
	return s
}

func TestEffective(t *testing.T) {
	for line, want := range map[string]string{
		"enableTraining=tRUE":                                                      "enableTraining=True enableInference=False installNvidiaDevicePlugin=True inferenceRouterServiceType=loadBalancer",
		"privateEndpointNodeport=true":                                             "inferenceRouterServiceType=nodePort privateEndpointNodeport= internalLoadBalancerProvider=",
		"privateEndpointILB=true":                                                  "inferenceRouterServiceType=loadBalancer internalLoadBalancerProvider=azure",
		"inferenceLoadBalancerHA=false":                                            "inferenceRouterHA=False inferenceLoadBalancerHA=",
		"clusterPurpose=DevTest":                                                   "inferenceRouterHA=False clusterPurpose=",
		"clusterPurpose=DevTest inferenceRouterHA=True":                            "inferenceRouterHA=True",
		"clusterPurpose=FastProd inferenceLoadBalancerHA=False":                    "inferenceRouterHA=False",
		"scoringFe.serviceType.nodePort=True":                                      "inferenceRouterServiceType=nodePort",
		"scoringFe.serviceType.nodePort=True inferenceRouterServiceType=clusterip": "inferenceRouterServiceType=clusterIP",
		"inferenceRouterServiceType=CLUSTERIP internalLoadBalancerProvider=azure":  "inferenceRouterServiceType=clusterIP internalLoadBalancerProvider=",
		"scoringFe.sslSecret=a":                                                    "sslSecret=a", "scoringFe.sslSecret=a sslSecret=b": "sslSecret=b",
		`nodeSelector.a\.b/c=x`: "nodeSelector.a.b/c=x", "sslCname=ML.example.com": "sslCname=ml.example.com",
		"cluster_name=x location=y":                    "cluster_name= location=",
		"installPromOp= gateway.resources.limits.cpu=": "installPromOp=True gateway.resources.limits.cpu=",
	} {
		got := settings(line).Effective()
		for _, kv := range strings.Fields(want) {
			k, v, _ := strings.Cut(kv, "=")
			if got[k] != v {
				t.Errorf("%s: %s is %q, want %q", line, k, got[k], v)
			}
		}
	}
}

func TestValuesAreNested(t *testing.T) {
	got := settings("enableTraining=true nodeSelector.a.b/c.d= gateway.resources.limits.cpu=1 gateway.resources.limits.memory=").Values()
	if diff := cmp.Diff(map[string]any{"a.b/c.d": ""}, got["nodeSelector"]); diff != "" {
		t.Errorf("nodeSelector (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"resources": map[string]any{"limits": map[string]any{"cpu": "1"}}}, got["gateway"]); diff != "" {
		t.Errorf("gateway (-want +got):\n%s", diff)
	}
}

func TestChanges(t *testing.T) {
	for _, c := range []struct {
		old, updated string
		workloads    Workloads
		lines        string
	}{
		{"enableTraining=True", "enableTraining=true", 0, ""},
		{"enableTraining=True", "enableTraining=True logAnalyticsWS=True openshift=True", 0, ""},
		{"enableTraining=True enableInference=True", "enableTraining=False enableInference=True", Jobs, "enableTraining from True to False"},
		{"enableTraining=True enableInference=True", "enableTraining=True", Endpoints, "enableInference from True to False"},
		{"enableTraining=True", "enableTraining=True enableInference=True allowInsecureConnections=True", 0, ""},
		{"enableTraining=True", "enableTraining=True installNvidiaDevicePlugin=False", Jobs, "installNvidiaDevicePlugin from True to False"},
		{"enableTraining=True installNvidiaDevicePlugin=False", "enableTraining=True", 0, ""},
		{"enableTraining=True enableInference=True", "enableTraining=True enableInference=True nodeSelector.a=b", Jobs | Endpoints, "nodeSelector.a from nothing to b. " + textKeepsLabels},
		{"enableInference=True", "enableInference=True privateEndpointNodeport=True", Endpoints, "inferenceRouterServiceType from loadBalancer to nodePort"},
		{"enableInference=True privateEndpointNodeport=True", "enableInference=True inferenceRouterServiceType=NodePort", 0, ""},
		{"enableInference=True allowInsecureConnections=True", "enableInference=True sslCname=a.b", Endpoints, "allowInsecureConnections from True to False,sslCname from nothing to a.b"},
	} {
		got := Changes(settings(c.old).Plain, settings(c.updated).Plain)
		if got.Workloads != c.workloads || strings.Join(got.Changes, ",") != c.lines {
			t.Errorf("%s → %s: %+v", c.old, c.updated, got)
		}
	}
	want := "The following configuration update will IMPACT your active Machine Learning jobs, online endpoints and deployments. It will be the safe update " +
		"if the cluster doesn't have active Machine Learning jobs, online endpoints and deployments.\n\na,\nb"
	if got := (Impact{Jobs | Endpoints, []string{"a", "b"}}).Text(); got != want {
		t.Errorf("text %q", got)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add("enableTraining", "True", "nodeSelector.a.b", "x")
	f.Add(`image\.agent`, "", `nodeSelector\.`, "")
	f.Add("gateway.resources.limits.cpu", "1", "gateway.resources", "{}")
	f.Add("scoringFe.sslCert", "LS0tLS1CRUdJTg==", "scoringFe.sslKey", "")
	f.Fuzz(func(t *testing.T, key, value, secret, hidden string) {
		s := Settings{Plain: map[string]string{"enableTraining": "True", key: value}, Protected: map[string]string{secret: hidden}}
		if len(s.Validate(Options{Now: now})) > 0 {
			return
		}
		if s.Values()["enableTraining"] == nil {
			t.Fatal("a setting was lost")
		}
		if row, _ := find(spell(key)); row.Chart != "" && value != "" && row.Name != "internalLoadBalancerProvider" && s.Effective()[spell(key)] == "" {
			t.Fatalf("%q=%q was lost", key, value)
		}
	})
}
