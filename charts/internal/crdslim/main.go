// Command crdslim brings the custom resource definitions of the projects that the extension installs into its chart, without the
// descriptions, which are nine tenths of them: a chart is kept in a Secret and read in memory as a whole.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/internal/local/component"
)

// sources are the files of a module that hold the definitions that its program does not start without.
var sources = []struct {
	module, folder string
	files          []string
	// leave are definitions in these files that nothing here uses.
	leave []string
}{{
	module: "github.com/prometheus-operator/prometheus-operator", folder: "example/prometheus-operator-crd",
	files: []string{"monitoring.coreos.com_prometheuses.yaml", "monitoring.coreos.com_servicemonitors.yaml", "monitoring.coreos.com_podmonitors.yaml",
		"monitoring.coreos.com_probes.yaml", "monitoring.coreos.com_prometheusrules.yaml"},
}, {
	module: "sigs.k8s.io/node-feature-discovery", folder: "deployment/base/nfd-crds", files: []string{"nfd-api-crds.yaml"},
	leave: []string{"nodefeaturegroups.nfd.k8s-sigs.io"},
}}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: crdslim <folder>")
		os.Exit(2)
	}
	for _, s := range sources {
		dir, err := download(s.module)
		for _, file := range s.files {
			if err == nil {
				err = slim(filepath.Join(dir, s.folder, file), os.Args[1], s.leave)
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "crdslim:", err)
			os.Exit(1)
		}
	}
}

// download gives the folder of a module in the version that the local cluster builds.
func download(module string) (string, error) {
	i := slices.IndexFunc(component.Upstreams, func(u component.Upstream) bool { return u.Module == module })
	if i < 0 {
		return "", fmt.Errorf("module %s is not in the catalogue of upstream images", module)
	}
	cmd := exec.Command("go", "mod", "download", "-json", module+"@"+component.Upstreams[i].Version)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("downloading %s: %w", module, err)
	}
	var answer struct{ Dir string }
	if err := json.Unmarshal(out, &answer); err != nil {
		return "", fmt.Errorf("downloading %s: %w", module, err)
	}
	return answer.Dir, nil
}

// slim writes each definition of a file into a file of its own, named <group>_<plural>.yaml.
func slim(path, to string, leave []string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	for doc := range bytes.SplitSeq(append([]byte("\n"), data...), []byte("\n---\n")) {
		var crd map[string]any
		if err := yaml.Unmarshal(doc, &crd); err != nil {
			return fmt.Errorf("reading %s: %w", path, err)
		}
		if crd == nil {
			continue
		}
		name := crd["metadata"].(map[string]any)["name"].(string)
		if slices.Contains(leave, name) {
			continue
		}
		out, err := yaml.Marshal(withoutDescriptions(crd))
		if err != nil {
			return err
		}
		plural, group, _ := strings.Cut(name, ".")
		if err := os.WriteFile(filepath.Join(to, group+"_"+plural+".yaml"), append([]byte("---\n"), out...), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// withoutDescriptions drops them at any depth; a property that has the name is a map, not a text.
func withoutDescriptions(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, below := range v {
			if _, text := below.(string); text && key == "description" {
				delete(v, key)
				continue
			}
			v[key] = withoutDescriptions(below)
		}
	case []any:
		for i := range v {
			v[i] = withoutDescriptions(v[i])
		}
	}
	return v
}
