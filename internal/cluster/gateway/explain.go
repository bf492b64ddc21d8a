package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/link"
)

// Reasons that the gateway reports for jobs that have no AmlJob yet.
const (
	ReasonNamespaceNotFound    = "NamespaceNotFound"
	ReasonNamespaceTerminating = "NamespaceTerminating"
	ReasonInvalidJob           = "InvalidJob"
)

// explain tells the control plane why a job could not be applied, and returns an error when it is to be tried again.
func (g *Gateway) explain(ctx context.Context, job link.Job, cause error) error {
	status, again := classify(job, cause)
	if status != nil && status.Terminal() {
		if err := g.absent(ctx, job, cause); err != nil {
			return err
		}
	}
	if status != nil {
		if err := g.cfg.Observe(link.PrefixJob+job.ID, *status); err != nil {
			return err
		}
	}
	if again {
		return fmt.Errorf("applying AmlJob %s/%s: %w", job.Namespace, job.ID, cause)
	}
	return nil
}

// reject ends a job whose specification nobody could apply.
func (g *Gateway) reject(ctx context.Context, job link.Job, cause error) error {
	if err := g.absent(ctx, job, cause); err != nil {
		return err
	}
	return g.cfg.Observe(link.PrefixJob+job.ID, link.JobStatus{ID: job.ID, State: "Failed", Reason: ReasonInvalidJob, Message: cause.Error()})
}

// absent is an error unless there is no AmlJob of the job: one that is there goes on, whatever was refused now, and only its own
// status may end it.
func (g *Gateway) absent(ctx context.Context, job link.Job, cause error) error {
	var o metav1.PartialObjectMetadata
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AmlJob"))
	err := g.cfg.Client.Get(ctx, client.ObjectKey{Namespace: job.Namespace, Name: job.ID}, &o)
	switch {
	case err == nil:
		return fmt.Errorf("changing AmlJob %s/%s, which goes on as it is: %w", job.Namespace, job.ID, cause)
	case apierrors.IsNotFound(err):
		return nil
	}
	return errors.Join(cause, fmt.Errorf("reading AmlJob %s/%s: %w", job.Namespace, job.ID, err))
}

// classify words a failure to apply an AmlJob; a nil status means that there is nothing a user could do about it.
func classify(job link.Job, cause error) (status *link.JobStatus, again bool) {
	waiting := func(reason, message string) (*link.JobStatus, bool) {
		if canceled(job) { // it has never been in the cluster, so there is nothing to end
			return &link.JobStatus{ID: job.ID, State: "Canceled", Reason: "Canceled", Message: "canceled before it was started"}, false
		}
		return &link.JobStatus{ID: job.ID, State: "Queued", Reason: reason, Message: message}, true
	}
	switch {
	case namespaceMissing(cause):
		return waiting(ReasonNamespaceNotFound, fmt.Sprintf("Namespace %q does not exist in the cluster. The job starts when it does: kubectl create namespace %s", job.Namespace, job.Namespace))
	case apierrors.HasStatusCause(cause, corev1.NamespaceTerminatingCause):
		return waiting(ReasonNamespaceTerminating, fmt.Sprintf("Namespace %q is being deleted. The job starts when it exists again: kubectl create namespace %s", job.Namespace, job.Namespace))
	case apierrors.IsInvalid(cause) || apierrors.IsBadRequest(cause):
		return &link.JobStatus{ID: job.ID, State: "Failed", Reason: ReasonInvalidJob, Message: "The cluster does not accept the job: " + cause.Error()}, false
	}
	return nil, true
}

// namespaceMissing tells a missing namespace from a missing custom resource definition.
func namespaceMissing(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsNotFound(err) {
		return false
	}
	d := status.Status().Details
	return d != nil && d.Kind == "namespaces"
}

func canceled(job link.Job) bool {
	var spec v1alpha1.AmlJobSpec
	return json.Unmarshal(job.Spec, &spec) == nil && spec.Job.Cancel
}
