package extension

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// revisionAnnotation is where the controller of Deployments keeps which ReplicaSet is of the newest template.
const revisionAnnotation = "deployment.kubernetes.io/revision"

// current reports whether a pod is of its workload's newest template. An earlier one goes when that is ready, so what ails it is
// what an update mends and no sign that the update fails. Until a workload's controller has seen the newest template, none of its pods is.
func (w workloads) current(p corev1.Pod) bool {
	owner := metav1.GetControllerOf(&p)
	if owner == nil {
		return true
	}
	hash := p.Labels[appsv1.ControllerRevisionHashLabelKey]
	switch owner.Kind {
	case "ReplicaSet":
		return w.newest(owner)
	case "StatefulSet":
		for _, s := range w.statefulSets {
			if s.UID == owner.UID {
				return s.Status.ObservedGeneration >= s.Generation && hash == s.Status.UpdateRevision
			}
		}
	case "DaemonSet":
		for _, d := range w.daemonSets {
			if d.UID == owner.UID {
				return d.Status.ObservedGeneration >= d.Generation && hash == w.newestHash(d)
			}
		}
	}
	return true
}

// newest reports whether a ReplicaSet is the one that its Deployment grows. One that was removed after the pod was read is not.
func (w workloads) newest(ref *metav1.OwnerReference) bool {
	for _, r := range w.replicaSets {
		if r.UID != ref.UID {
			continue
		}
		for _, d := range w.deployments {
			if metav1.IsControlledBy(&r, &d) {
				return d.Status.ObservedGeneration >= d.Generation && r.Annotations[revisionAnnotation] == d.Annotations[revisionAnnotation]
			}
		}
		return true
	}
	return false
}

// newestHash is the label of a DaemonSet's pods that are of its newest template.
func (w workloads) newestHash(d appsv1.DaemonSet) string {
	number, hash := int64(-1), ""
	for _, r := range w.revisions {
		if metav1.IsControlledBy(&r, &d) && r.Revision > number {
			number, hash = r.Revision, r.Labels[appsv1.ControllerRevisionHashLabelKey]
		}
	}
	return hash
}
