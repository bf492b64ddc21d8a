package extension

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	pollInterval = time.Second
	// logLines and logBytes bound what is quoted of a container that crashes.
	logLines, logBytes = 8, 1500
	// maxProblems bounds how many problems an error lists.
	maxProblems = 3
)

// errNotReady is the cause of a release that was applied and did not become ready; its text says why.
type errNotReady struct{ text string }

// Error implements error.
func (e *errNotReady) Error() string { return e.text }

// waiter waits for a release's pods and can say why they are not ready.
type waiter struct {
	kube     kubernetes.Interface
	deadline time.Duration
}

// ready waits until every workload labelled as the release's is ready. Progress is told in sentences, each once. The error is
// *errNotReady when waiting is pointless or the deadline has passed, else ctx's or the API server's.
func (w waiter) ready(ctx context.Context, namespace, release string, progress func(string)) error {
	timeout, cancel := context.WithTimeout(ctx, w.deadline)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	told := ""
	var last workloads
	seen := false
	for {
		now, err := w.list(timeout, namespace, release)
		if err == nil {
			last, seen = now, true
			missing := now.unready()
			if len(missing) == 0 {
				return nil
			}
			problems := now.problems()
			if len(problems) > 0 && problems[0].fatal {
				return &errNotReady{w.explain(ctx, missing, problems)}
			}
			if text := waitingFor(missing, problems); text != told {
				told = text
				progress(text)
			}
		}
		select {
		case <-timeout.Done():
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !seen {
				return fmt.Errorf("looking at the pods of release %s/%s: %w", namespace, release, cmp.Or(err, timeout.Err()))
			}
			why := w.explain(ctx, last.unready(), last.problems())
			return &errNotReady{fmt.Sprintf("timed out waiting for the condition after %s: %s", w.deadline, why)}
		case <-tick.C:
		}
	}
}

// gone waits until no pod of the release is left, so that a new installation does not meet the old one's pods.
func (w waiter) gone(ctx context.Context, namespace, release string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		pods, err := w.kube.CoreV1().Pods(namespace).List(ctx, selector(release))
		if err == nil && len(pods.Items) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the pods of release %s/%s to end: %w", namespace, release, ctx.Err())
		case <-tick.C:
		}
	}
}

func waitingFor(missing []string, problems []problem) string {
	text := "waiting for " + strings.Join(missing, ", ")
	for _, p := range problems {
		if p.reason != reasonNotReady {
			return text + ": " + p.String()
		}
	}
	return text
}

func selector(release string) metav1.ListOptions {
	return metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + release}
}

func (w waiter) list(ctx context.Context, namespace, release string) (workloads, error) {
	var out workloads
	apps, ours := w.kube.AppsV1(), selector(release)
	deployments, err := apps.Deployments(namespace).List(ctx, ours)
	if err != nil {
		return out, err
	}
	statefulSets, err := apps.StatefulSets(namespace).List(ctx, ours)
	if err != nil {
		return out, err
	}
	daemonSets, err := apps.DaemonSets(namespace).List(ctx, ours)
	if err != nil {
		return out, err
	}
	pods, err := w.kube.CoreV1().Pods(namespace).List(ctx, ours)
	if err != nil {
		return out, err
	}
	replicaSets, err := apps.ReplicaSets(namespace).List(ctx, ours)
	if err != nil {
		return out, err
	}
	revisions, err := apps.ControllerRevisions(namespace).List(ctx, ours)
	if err != nil {
		return out, err
	}
	lost, err := w.lost(ctx)
	if err != nil {
		return out, err
	}
	return workloads{
		deployments: deployments.Items, statefulSets: statefulSets.Items, daemonSets: daemonSets.Items, pods: pods.Items,
		replicaSets: replicaSets.Items, revisions: revisions.Items, lost: lost,
	}, nil
}

// lost reads which nodes are not ready, and that not only for a moment.
func (w waiter) lost(ctx context.Context) (map[string]bool, error) {
	nodes, err := w.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	lost := map[string]bool{}
	for i := range nodes.Items {
		if down(&nodes.Items[i], time.Now()) {
			lost[nodes.Items[i].Name] = true
		}
	}
	return lost, nil
}

// explain says what hinders the release, with the last lines of containers that crash.
func (w waiter) explain(ctx context.Context, missing []string, problems []problem) string {
	text := "not ready: " + strings.Join(missing, ", ")
	for i, p := range problems {
		if i == maxProblems {
			text += fmt.Sprintf("; and %d more", len(problems)-i)
			break
		}
		text += "; " + p.String()
		if p.logs {
			if lines := w.logs(ctx, p); lines != "" {
				text += "; its last output: " + lines
			}
		}
	}
	return text
}

// logs returns the last lines of a container joined by " | ", or nothing when they cannot be had.
func (w waiter) logs(ctx context.Context, p problem) string {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	namespace, pod, _ := strings.Cut(p.pod, "/")
	lines := int64(logLines)
	stream, err := w.kube.CoreV1().Pods(namespace).GetLogs(pod, &corev1.PodLogOptions{
		Container: p.container, Previous: p.previous, TailLines: &lines,
	}).Stream(ctx)
	if err != nil {
		return ""
	}
	defer stream.Close()
	text, _ := io.ReadAll(io.LimitReader(stream, 64<<10))
	if len(text) > logBytes {
		text = text[len(text)-logBytes:]
	}
	return strings.Join(strings.Split(strings.TrimSpace(strings.ToValidUTF8(string(text), "")), "\n"), " | ")
}

// WaitReady waits until every workload labelled as the release's is ready, at most for limit; the error says what hinders it.
func WaitReady(ctx context.Context, kube kubernetes.Interface, namespace, release string, limit time.Duration, progress func(string)) error {
	return waiter{kube: kube, deadline: limit}.ready(ctx, namespace, release, progress)
}
