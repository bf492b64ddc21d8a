// Command crdbounds bounds the resource maps in the generated InstanceType definition. The API server prices validation rules by the
// largest object a schema admits and refuses rules over unbounded maps; the Go type is Kubernetes' own, so the bound has no
// marker to be written in.
package main

import (
	"fmt"
	"os"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// maxResources is how many resources a request or limit may name.
const maxResources = 6

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: crdbounds <instancetypes.yaml>")
		os.Exit(2)
	}
	if err := bound(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "crdbounds:", err)
		os.Exit(1)
	}
}

func bound(path string) error {
	doc, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var crd map[string]any
	if err := yaml.UnmarshalStrict(doc, &crd); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	if err := yaml.UnmarshalStrict(doc, &apiextensionsv1.CustomResourceDefinition{}); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	version := crd["spec"].(map[string]any)["versions"].([]any)[0].(map[string]any)
	resources := properties(version["schema"].(map[string]any)["openAPIV3Schema"], "spec", "resources")
	fields := properties(resources)
	delete(fields, "claims")
	for _, name := range []string{"requests", "limits"} {
		fields[name].(map[string]any)["maxProperties"] = maxResources
	}
	out, err := yaml.Marshal(crd)
	if err != nil {
		return err
	}
	return os.WriteFile(path, append([]byte("---\n"), out...), 0o644)
}

// properties walks down the properties of a schema; the shape is controller-gen's, and another one is a bug that panics.
func properties(schema any, path ...string) map[string]any {
	fields := schema.(map[string]any)["properties"].(map[string]any)
	for _, name := range path {
		schema = fields[name]
		fields = schema.(map[string]any)["properties"].(map[string]any)
	}
	if len(path) > 0 {
		return schema.(map[string]any)
	}
	return fields
}
