package training

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	jobset "sigs.k8s.io/jobset/api/jobset/v1alpha2"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/cluster/workload"
)

// observe reads all that decide looks at; world.job is nil when there is nothing to decide.
func (r *reconciler) observe(ctx context.Context, key types.NamespacedName) (world, error) {
	w := world{now: r.cfg.Clock()}
	var job v1alpha1.AmlJob
	if err := r.client.Get(ctx, key, &job); err != nil {
		return w, client.IgnoreNotFound(err)
	}
	if job.DeletionTimestamp != nil || terminal(job.Status.State) {
		return w, nil // what it owns goes with it, or stays as it ended
	}
	w.job = &job
	var err error
	if w.itype, err = workload.Read(ctx, r.client, instanceTypeName(&job), r.cfg.NodeSelector); err != nil {
		return w, err
	}
	if w.jobSet, err = r.jobSet(ctx, key, job.Status.JobSetCreated || job.Spec.Job.Cancel); err != nil {
		return w, err
	}
	if w.jobSet == nil && !job.Status.JobSetCreated {
		if w.around, err = r.surroundings(ctx, key.Namespace); err != nil {
			return w, err
		}
	}
	of := []client.ListOption{client.InNamespace(key.Namespace), client.MatchingLabels{LabelJobID: key.Name}}
	var jobs batchv1.JobList
	var pods corev1.PodList
	var from client.Reader = r.client
	if w.jobSet != nil && condition(w.jobSet, jobset.JobSetFailed) {
		from = r.live // the cache of pods may be behind that of JobSets, and this time it is judged for good
	}
	if err := from.List(ctx, &jobs, of...); err != nil {
		return w, fmt.Errorf("listing Jobs of %s: %w", key, err)
	}
	if err := from.List(ctx, &pods, of...); err != nil {
		return w, fmt.Errorf("listing pods of %s: %w", key, err)
	}
	w.jobs, w.pods = jobs.Items, pods.Items
	if w.nodes, err = r.troubles(ctx, w.pods); err != nil {
		return w, err
	}
	return w, r.events(ctx, &w)
}

// jobSet reads from the cache, and asks the API server when the cache lacks a JobSet and the job would end for that: the cache may be
// behind, so that a JobSet made a moment ago is missed, and a job must neither fail nor count as canceled while it has one.
func (r *reconciler) jobSet(ctx context.Context, key types.NamespacedName, judged bool) (*jobset.JobSet, error) {
	key.Name = jobSetName(key.Name)
	var js jobset.JobSet
	err := r.client.Get(ctx, key, &js)
	if apierrors.IsNotFound(err) && judged {
		err = r.live.Get(ctx, key, &js)
	}
	switch {
	case err == nil:
		return &js, nil
	case apierrors.IsNotFound(err):
		return nil, nil
	}
	return nil, fmt.Errorf("reading JobSet %s: %w", key, err)
}

// events reads what was said about the JobSet and its Jobs while pods are missing, and about pods that take long to start.
// That is seldom and short, so no cache of events is kept.
func (r *reconciler) events(ctx context.Context, w *world) error {
	if w.jobSet == nil {
		return nil
	}
	var names []string
	if len(w.pods) < int(w.job.Spec.Job.InstanceCount) {
		names = append(names, w.jobSet.Name)
		for _, j := range w.jobs {
			names = append(names, j.Name)
		}
	}
	for _, p := range w.pods {
		if startsSlowly(p, w.now) && len(names) < maxEventReads {
			names = append(names, p.Name)
		}
	}
	for _, n := range names {
		var list corev1.EventList
		err := r.live.List(ctx, &list, client.InNamespace(w.job.Namespace), client.Limit(50),
			client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("involvedObject.name", n)})
		if err != nil {
			return fmt.Errorf("listing events of %s/%s: %w", w.job.Namespace, n, err)
		}
		w.events = append(w.events, list.Items...)
	}
	return nil
}

// maxEventReads bounds the reads of events in one reconcile, slowStart is when a pod on a node takes long to start.
const (
	maxEventReads = 8
	slowStart     = 5 * time.Second
)

func startsSlowly(p corev1.Pod, now time.Time) bool {
	return p.Status.Phase == corev1.PodPending && p.Spec.NodeName != "" && now.Sub(p.CreationTimestamp.Time) > slowStart
}

// instanceTypeName is the type that a job names, or the default.
func instanceTypeName(job *v1alpha1.AmlJob) string {
	if n := job.Spec.Job.InstanceType; n != "" {
		return n
	}
	return v1alpha1.DefaultInstanceType
}
