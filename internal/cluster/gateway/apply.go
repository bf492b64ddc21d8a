package gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/link"
)

// apply writes the AmlJob, then the Secret that it owns. Pods that are quicker than the Secret wait for it.
func (g *Gateway) apply(ctx context.Context, job link.Job) error {
	uid, gone, err := g.uid(ctx, job)
	if err != nil {
		return err
	}
	if gone {
		return g.mourn(job)
	}
	object, err := amlJob(job)
	if err != nil {
		return g.reject(ctx, job, err)
	}
	object.SetUID(uid) // with a UID the API server changes that object and makes none
	if err := g.write(ctx, object); err != nil {
		if uid != "" && (apierrors.IsConflict(err) || namespaceMissing(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)) {
			return g.mourn(job)
		}
		return g.explain(ctx, job, err)
	}
	g.mu.Lock()
	g.uids[job.ID] = object.GetUID()
	delete(g.missed, job.ID)
	g.mu.Unlock()
	g.cfg.Forget(link.PrefixJob + job.ID) // from here on it is the reporter who tells of the job
	secret := runSecret(job, object)
	if err := g.write(ctx, secret); err != nil {
		return fmt.Errorf("applying Secret %s/%s: %w", job.Namespace, secret.GetName(), err)
	}
	return nil
}

// uid is the UID of a job's AmlJob if it was ever seen, or gone if it was and is not there any more.
func (g *Gateway) uid(ctx context.Context, job link.Job) (uid types.UID, gone bool, err error) {
	g.mu.Lock()
	uid, seen := g.uids[job.ID]
	g.mu.Unlock()
	if seen || !job.Started {
		return uid, false, nil
	}
	var o metav1.PartialObjectMetadata
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AmlJob"))
	err = g.cfg.Client.Get(ctx, client.ObjectKey{Namespace: job.Namespace, Name: job.ID}, &o)
	if apierrors.IsNotFound(err) {
		return "", true, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("reading AmlJob %s/%s: %w", job.Namespace, job.ID, err)
	}
	return o.UID, false, nil
}

// mourn ends a job whose AmlJob somebody deleted, unless the control plane has heard of its end meanwhile and drops it.
func (g *Gateway) mourn(job link.Job) error {
	g.mu.Lock()
	since, again := g.missed[job.ID]
	if !again {
		since = time.Now()
		g.missed[job.ID] = since
	}
	g.mu.Unlock()
	if left := g.cfg.Mourning - time.Since(since); left > 0 {
		g.queue.AddAfter(job.ID, left)
		return nil
	}
	return g.cfg.Observe(link.PrefixJob+job.ID, link.AmlJobDeleted(job.Namespace, job.ID))
}

func (g *Gateway) write(ctx context.Context, o *unstructured.Unstructured) error {
	return g.cfg.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner(FieldManager), client.ForceOwnership)
}

// remove deletes the AmlJob; all that belongs to it follows.
func (g *Gateway) remove(ctx context.Context, namespace, id string) error {
	if namespace == "" {
		return nil // never seen
	}
	object := &v1alpha1.AmlJob{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: id}}
	err := g.cfg.Client.Delete(ctx, object, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting AmlJob %s/%s: %w", namespace, id, err)
	}
	g.mu.Lock()
	if _, again := g.jobs[id]; !again {
		delete(g.where, id)
		delete(g.uids, id)
		delete(g.missed, id)
	}
	g.mu.Unlock()
	return nil
}

// amlJob makes the object to apply. It holds the specification as it came, so that a field this version does not know still
// arrives, or is refused by the API server.
func amlJob(job link.Job) (*unstructured.Unstructured, error) {
	var spec map[string]any
	if err := json.Unmarshal(job.Spec, &spec); err != nil {
		return nil, fmt.Errorf("reading the job's specification: %w", err)
	}
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("AmlJob"))
	o.SetNamespace(job.Namespace)
	o.SetName(job.ID)
	labels := map[string]string{}
	for k, v := range job.Labels {
		labels[k] = v
	}
	labels[LabelManagedBy] = FieldManager
	o.SetLabels(labels)
	return o, nil
}

func runSecret(job link.Job, owner *unstructured.Unstructured) *unstructured.Unstructured {
	data := make(map[string]any, len(job.Secret))
	for k, v := range job.Secret {
		data[k] = base64.StdEncoding.EncodeToString([]byte(v))
	}
	o := &unstructured.Unstructured{Object: map[string]any{"data": data}}
	o.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	o.SetNamespace(job.Namespace)
	o.SetName(job.ID + v1alpha1.RunSecretSuffix)
	o.SetLabels(map[string]string{LabelManagedBy: FieldManager, v1alpha1.LabelJobID: job.ID})
	o.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: owner.GetAPIVersion(), Kind: owner.GetKind(), Name: owner.GetName(), UID: owner.GetUID(),
	}})
	return o
}
