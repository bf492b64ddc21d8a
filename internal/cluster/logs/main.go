package logs

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// Labels of workloads' pods.
const (
	labelPrefix    = "ml.azure.com/"
	labelRun       = labelPrefix + "run-id"
	labelWorkspace = labelPrefix + "workspace"
)

// PodsOf lists a node's pods.
func PodsOf(config *rest.Config, node string) (func(context.Context) (map[string]Pod, error), error) {
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	return func(ctx context.Context) (map[string]Pod, error) {
		list, err := kube.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
		if err != nil {
			return nil, err
		}
		out := make(map[string]Pod, len(list.Items))
		for _, p := range list.Items {
			out[string(p.UID)] = podOf(p.Labels)
		}
		return out, nil
	}, nil
}

func podOf(labels map[string]string) Pod {
	p := Pod{Job: labels[labelRun], Workspace: labels[labelWorkspace]}
	for name := range labels {
		p.Workload = p.Workload || strings.HasPrefix(name, labelPrefix)
	}
	return p
}

// Main runs a collector that is ready once it can see the kubelet's logs.
func Main(cfg Config) func(ctx context.Context, ready func()) error {
	return func(ctx context.Context, ready func()) error {
		c := New(cfg)
		if err := c.scan(ctx); err != nil {
			return err
		}
		ready()
		return c.Run(ctx)
	}
}
