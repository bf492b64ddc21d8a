package relayserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/link"
)

const (
	// maxLogPods is how many pods of a deployment are read, the newest first.
	maxLogPods = 20
	// maxLogBytes bounds what is read of each.
	maxLogBytes = 1 << 20
)

// logs sends what a container has written in each pod of a deployment.
func (s *Server) logs(ctx context.Context, t link.Target, stream net.Conn) error {
	pods, err := s.podsOf(ctx, t)
	if err == nil && len(pods) == 0 {
		err = fmt.Errorf("deployment %s has no pod in namespace %s", t.Deployment, t.Namespace)
	}
	if answerErr := link.AnswerTarget(stream, err); err != nil || answerErr != nil {
		return errors.Join(err, answerErr)
	}
	for _, pod := range pods[:min(len(pods), maxLogPods)] {
		if _, err := fmt.Fprintf(stream, "==> pod %s <==\n", pod.Name); err != nil {
			return err
		}
		if err := s.podLog(ctx, t, pod.Name, stream); err != nil {
			return err
		}
	}
	return nil
}

// podsOf are a deployment's pods, the newest first.
func (s *Server) podsOf(ctx context.Context, t link.Target) ([]corev1.Pod, error) {
	pods, err := s.kube.CoreV1().Pods(t.Namespace).List(ctx, metav1.ListOptions{LabelSelector: labels.Set{v1alpha1.LabelDeployment: t.Deployment}.String()})
	if err != nil {
		return nil, fmt.Errorf("finding the pods of deployment %s: %w", t.Deployment, err)
	}
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return pods.Items, nil
}

// podLog sends one pod's part. What the API server says in the place of a log, such as that the container waits for its image, is
// worth reading too.
func (s *Server) podLog(ctx context.Context, t link.Target, pod string, stream net.Conn) error {
	tail, limit := int64(t.Tail), int64(maxLogBytes)
	log, err := s.openLog(ctx, t.Namespace, pod, &corev1.PodLogOptions{Container: t.Container, TailLines: &tail, LimitBytes: &limit})
	if err != nil {
		_, err := fmt.Fprintln(stream, "no log:", err)
		return err
	}
	defer log.Close()
	_, err = io.Copy(stream, log)
	return err
}
