package extension

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// lostInterval is how often pods of lost nodes are looked for.
const lostInterval = 15 * time.Second

// removeLost takes away pods of extensions that were told to end on a node which cannot say that they did, until ctx ends. A
// StatefulSet makes no new pod before the old one is gone, so without it a dead node would keep frameworkcontroller down, and
// with it every new job. Its pods may meet for a while when the node lives on unseen: they keep no state but the API server's.
func (m *Manager) removeLost(ctx context.Context) {
	tick := time.NewTicker(lostInterval)
	defer tick.Stop()
	for {
		if err := m.removeLostOnce(ctx); err != nil && ctx.Err() == nil {
			m.cfg.Log.Warn("looking for pods of lost nodes", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (m *Manager) removeLostOnce(ctx context.Context) error {
	refs, err := m.cfg.Helm.Find(ctx, labelName)
	if err != nil {
		return err
	}
	namespaces := map[string]bool{}
	for _, ref := range refs {
		namespaces[ref.Namespace] = true
	}
	for _, name := range m.records.names() { // of a release that is gone pods may be left
		if rec := m.records.get(name); rec != nil && rec.Namespace != "" {
			namespaces[rec.Namespace] = true
		}
	}
	for ns := range namespaces {
		if err := m.removeLostIn(ctx, ns); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) removeLostIn(ctx context.Context, namespace string) error {
	pods, err := m.cfg.Kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/part-of=azureml"})
	if err != nil {
		return fmt.Errorf("listing the extension's pods: %w", err)
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		if !overdue(p, time.Now()) {
			continue
		}
		node, err := m.cfg.Kube.CoreV1().Nodes().Get(ctx, p.Spec.NodeName, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("reading node %s: %w", p.Spec.NodeName, err)
		}
		if err == nil && !silent(node) {
			continue
		}
		m.cfg.Log.Warn("removing a pod whose node is lost", "pod", p.Namespace+"/"+p.Name, "node", p.Spec.NodeName)
		now := int64(0)
		err = m.cfg.Kube.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &p.UID}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("removing pod %s/%s of a lost node: %w", p.Namespace, p.Name, err)
		}
	}
	return nil
}

// overdue is a pod whose time to end is over.
func overdue(p *corev1.Pod, now time.Time) bool {
	return p.Spec.NodeName != "" && p.DeletionTimestamp != nil && p.DeletionTimestamp.Before(&metav1.Time{Time: now})
}

// silent is a node that the API server no longer hears of.
func silent(n *corev1.Node) bool { return readiness(n).Status == corev1.ConditionUnknown }

// downAfter is how long a node may be not ready as one that is started again is.
const downAfter = time.Minute

// down is a node that has not been ready for longer than that.
func down(n *corev1.Node, now time.Time) bool {
	c := readiness(n)
	return c.Status != "" && c.Status != corev1.ConditionTrue && now.Sub(c.LastTransitionTime.Time) > downAfter
}

// readiness is what is known of a node, without a status when nothing is yet.
func readiness(n *corev1.Node) corev1.NodeCondition {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c
		}
	}
	return corev1.NodeCondition{}
}
