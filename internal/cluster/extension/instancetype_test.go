package extension

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

// testInstanceTypes holds the custom resource definition, as the API server enforces it, against the reference's rules.
func testInstanceTypes(t *testing.T, config *rest.Config) {
	client := dynamic.NewForConfigOrDie(config).Resource(v1alpha1.GroupVersion.WithResource("instancetypes"))
	cases := map[string]struct{ spec, err string }{
		"reference's example": {spec: `{nodeSelector: {mylabel: mylabelvalue}, resources: {limits: {cpu: "1", nvidia.com/gpu: 1, memory: 2Gi}, requests: {cpu: 700m, memory: 1500Mi}}}`},
		"numbers":             {spec: `{resources: {limits: {cpu: 2, memory: 2147483648}, requests: {cpu: 1, memory: 1073741824}}}`},
		"tolerations":         {spec: `{tolerations: [{key: gpu, operator: Exists, effect: NoSchedule}], resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1, memory: 1Gi}}}`},
		"no resources":        {spec: `{nodeSelector: {a: b}}`, err: "spec.resources: Required"},
		"no requests":         {spec: `{resources: {limits: {cpu: 1, memory: 1Gi}}}`, err: "requests.cpu and requests.memory are both required"},
		"no memory request":   {spec: `{resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1}}}`, err: "requests.cpu and requests.memory are both required"},
		"no cpu limit":        {spec: `{resources: {limits: {memory: 1Gi}, requests: {cpu: 1, memory: 1Gi}}}`, err: "limits.cpu and limits.memory are both required"},
		"zero":                {spec: `{resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: "0", memory: 1Gi}}}`, err: "must be greater than zero"},
		"negative limit":      {spec: `{resources: {limits: {cpu: 1, memory: "-1Gi"}, requests: {cpu: 1, memory: "-2Gi"}}}`, err: "must be greater than zero"},
		"empty":               {spec: `{resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: "", memory: 1Gi}}}`, err: "spec.resources.requests.cpu"},
		"request above limit": {spec: `{resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1, memory: 2Gi}}}`, err: "a request must not be greater than its limit"},
		"gpu in requests":     {spec: `{resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1, memory: 1Gi, nvidia.com/gpu: 1}}}`, err: "belong in limits"},
		"half a gpu":          {spec: `{resources: {limits: {cpu: 1, memory: 1Gi, nvidia.com/gpu: "0.5"}, requests: {cpu: 1, memory: 1Gi}}}`, err: "whole numbers"},
		"selector of a list":  {spec: `{nodeSelector: {a: [b]}, resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 1, memory: 1Gi}}}`, err: "spec.nodeSelector.a"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := &unstructured.Unstructured{Object: map[string]any{}}
			var spec map[string]any
			if err := yaml.Unmarshal([]byte(c.spec), &spec); err != nil {
				t.Fatal(err)
			}
			o.Object["spec"] = spec
			o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("InstanceType"))
			o.SetName(strings.NewReplacer(" ", "-", "'", "").Replace(name))
			_, err := client.Create(t.Context(), o, metav1.CreateOptions{})
			switch {
			case c.err == "" && err != nil:
				t.Error(err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)):
				t.Errorf("error %v\nwant one with %q", err, c.err)
			}
		})
	}
}
