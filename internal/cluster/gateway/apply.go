package gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/link"
)

// SecretSuffix follows the job id in the name of the Secret that a job's pods read.
const SecretSuffix = "-runtoken-secrets"

// apply writes the AmlJob, then the Secret that it owns. Pods that are quicker than the Secret wait for it.
func (g *Gateway) apply(ctx context.Context, job link.Job) error {
	object, err := amlJob(job)
	if err != nil {
		return g.reject(job, err)
	}
	if err := g.write(ctx, object); err != nil {
		return g.explain(job, err)
	}
	secret := runSecret(job, object)
	if err := g.write(ctx, secret); err != nil {
		return fmt.Errorf("applying Secret %s/%s: %w", job.Namespace, secret.GetName(), err)
	}
	return nil
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
	o.SetName(job.ID + SecretSuffix)
	o.SetLabels(map[string]string{LabelManagedBy: FieldManager, "amlarc.azureml.com/job-id": job.ID})
	o.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: owner.GetAPIVersion(), Kind: owner.GetKind(), Name: owner.GetName(), UID: owner.GetUID(),
	}})
	return o
}
