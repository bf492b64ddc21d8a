package preflight

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// manifest is what matters of any object of a chart.
type manifest struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Replicas *int32                  `json:"replicas"`
		Template *corev1.PodTemplateSpec `json:"template"`
	} `json:"spec"`
}

// FootprintOf reads what a chart will run from its rendered manifests.
func FootprintOf(manifests string) (Footprint, error) {
	var out Footprint
	for doc := range strings.SplitSeq(manifests, "\n---") {
		var m manifest
		if err := yaml.Unmarshal([]byte(doc), &m); err != nil {
			// Objects whose spec has another form than a workload's have a name all the same.
			var bare metav1.PartialObjectMetadata
			if err := yaml.Unmarshal([]byte(doc), &bare); err != nil {
				return out, fmt.Errorf("reading the chart's manifests: %w", err)
			}
			m = manifest{TypeMeta: bare.TypeMeta, ObjectMeta: bare.ObjectMeta}
		}
		if m.Kind == "" {
			continue
		}
		out.Objects = append(out.Objects, Object{APIVersion: m.APIVersion, Kind: m.Kind, Namespace: m.Namespace, Name: m.Name})
		if m.Spec.Template != nil {
			out.Pods = append(out.Pods, podsOf(m))
		}
	}
	return out, nil
}

func podsOf(m manifest) Pods {
	p := Pods{Workload: m.Kind + " " + m.Name, Count: 1, Host: host(m.Spec.Template.Spec)}
	if m.Spec.Replicas != nil {
		p.Count = int64(*m.Spec.Replicas)
	}
	for _, c := range m.Spec.Template.Spec.Containers {
		p.Requests = p.Requests.plus(amountOf(c.Resources.Requests))
		p.Limits = p.Limits.plus(amountOf(c.Resources.Limits))
	}
	return p
}

// host is what a pod needs of its node that no Pod Security level but "privileged" allows.
func host(spec corev1.PodSpec) string {
	for _, c := range append(spec.InitContainers, spec.Containers...) {
		if sc := c.SecurityContext; sc != nil && sc.Privileged != nil && *sc.Privileged {
			return "a privileged container"
		}
	}
	for _, v := range spec.Volumes {
		if v.HostPath != nil {
			return "folder " + v.HostPath.Path + " of its node"
		}
	}
	if spec.HostNetwork || spec.HostPID || spec.HostIPC {
		return "its node's network or processes"
	}
	return ""
}
