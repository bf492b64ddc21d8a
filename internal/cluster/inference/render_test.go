package inference

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

var update = flag.Bool("update", false, "write golden files")

func TestRenderGolden(t *testing.T) {
	for name, tt := range map[string]struct {
		od  *v1alpha1.OnlineDeployment
		cfg func(*Config)
	}{
		"script": {aDeployment(asks(limits, "memory", "1Gi")), func(*Config) {}},
		"custom": {aDeployment(custom), func(c *Config) {
			c.ModelCache, c.CustomCA, c.Proxy = false, "PROXYCA\n", map[string]string{"HTTPS_PROXY": "http://proxy:3128"}
		}},
		"image-only": {aDeployment(custom, func(od *v1alpha1.OnlineDeployment) {
			od.Spec.Model, od.Spec.LivenessProbe, od.Spec.Routes.LivenessPath = nil, nil, ""
		}), func(*Config) {}},
		"identity": {aDeployment(custom, speaks), func(c *Config) { c.CustomCA = "PROXYCA\n" }},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			tt.cfg(&cfg)
			w := world{now: t0, od: tt.od, itype: defaultType(), pullSecrets: []corev1.LocalObjectReference{{Name: "registry"}}}
			if name == "custom" {
				w.itype.Spec.RuntimeClassName = "nvidia"
			}
			if tt.od.Spec.Identity != nil {
				w.beside = []client.Object{ready(tt.od)}
			}
			d := decide(w, cfg)
			if d.deployment == nil {
				t.Fatalf("decision %+v", d)
			}
			var got bytes.Buffer
			for _, o := range append([]client.Object{d.deployment}, d.beside...) {
				b, err := yaml.Marshal(o)
				if err != nil {
					t.Fatal(err)
				}
				got.WriteString("---\n")
				got.Write(b)
			}
			path := filepath.Join("testdata", name+".golden.yaml")
			if *update {
				if err := os.WriteFile(path, got.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got.String()); diff != "" {
				t.Errorf("%s (-want +got; -update writes it):\n%s", path, diff)
			}
		})
	}
}

func TestConfigNeedsImage(t *testing.T) {
	if _, err := (Config{}).withDefaults(); err == nil {
		t.Error("a Config without RuntimeImage was accepted")
	}
}
