package gateway

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
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

// apply writes the object, then the Secret that it owns. Pods that are quicker than the Secret wait for it.
func (g *Gateway) apply(ctx context.Context, i item) error {
	uid, gone, err := g.uid(ctx, i)
	if err != nil {
		return err
	}
	if gone {
		return g.mourn(i)
	}
	if err := g.leave(ctx, i); err != nil {
		return err
	}
	object, err := objectOf(i)
	if err != nil {
		return g.reject(ctx, i, err)
	}
	object.SetUID(uid) // with a UID the API server changes that object and makes none
	if err := g.write(ctx, object); err != nil {
		if uid != "" && (apierrors.IsConflict(err) || namespaceMissing(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)) {
			return g.mourn(i)
		}
		return g.explain(ctx, i, err)
	}
	g.mu.Lock()
	if i.kind.once {
		g.uids[i.id()] = object.GetUID()
	}
	delete(g.missed, i.id())
	g.mu.Unlock()
	g.cfg.Forget(i.key) // from here on it is the reporter who tells of it
	if i.secretName == "" {
		return nil
	}
	secret := secretOf(i, object)
	if err := g.write(ctx, secret); err != nil {
		return fmt.Errorf("applying Secret %s/%s: %w", i.namespace, secret.GetName(), err)
	}
	return nil
}

// leave deletes the object of a name in another namespace, when what is served has moved.
func (g *Gateway) leave(ctx context.Context, i item) error {
	g.mu.Lock()
	was := g.where[i.id()]
	g.mu.Unlock()
	if !i.kind.once && was != "" && was != i.namespace {
		if err := g.drop(ctx, i.kind, was, i.name); err != nil {
			return err
		}
	}
	g.mu.Lock()
	g.where[i.id()] = i.namespace // not before: what could not be deleted is not forgotten
	g.mu.Unlock()
	return nil
}

// uid is the UID of a job's AmlJob if it was ever seen, or gone if it was and is not there any more. Others are made again.
func (g *Gateway) uid(ctx context.Context, i item) (uid types.UID, gone bool, err error) {
	if !i.kind.once {
		return "", false, nil
	}
	g.mu.Lock()
	uid, seen := g.uids[i.id()]
	g.mu.Unlock()
	if seen || !i.started {
		return uid, false, nil
	}
	o, err := g.look(ctx, i)
	if apierrors.IsNotFound(err) {
		return "", true, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("reading %s %s/%s: %w", i.kind.object, i.namespace, i.name, err)
	}
	return o.UID, false, nil
}

// mourn ends a job whose AmlJob somebody deleted, unless the control plane has heard of its end meanwhile and drops it.
func (g *Gateway) mourn(i item) error {
	g.mu.Lock()
	since, again := g.missed[i.id()]
	if !again {
		since = time.Now()
		g.missed[i.id()] = since
	}
	g.mu.Unlock()
	if left := g.cfg.Mourning - time.Since(since); left > 0 {
		g.queue.AddAfter(i.id(), left)
		return nil
	}
	return g.cfg.Observe(i.key, link.AmlJobDeleted(i.namespace, i.name))
}

func (g *Gateway) write(ctx context.Context, o *unstructured.Unstructured) error {
	return g.cfg.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner(FieldManager), client.ForceOwnership)
}

// remove deletes an object that is not desired any more; all that belongs to it follows.
func (g *Gateway) remove(ctx context.Context, id string) error {
	g.mu.Lock()
	namespace := g.where[id]
	g.mu.Unlock()
	k, name := g.kindOf(id)
	if namespace == "" || k == nil {
		return nil // never seen
	}
	if err := g.drop(ctx, k, namespace, name); err != nil {
		return err
	}
	g.mu.Lock()
	if _, again := g.items[id]; !again {
		delete(g.where, id)
		delete(g.uids, id)
		delete(g.missed, id)
	}
	g.mu.Unlock()
	return nil
}

func (g *Gateway) drop(ctx context.Context, k *kind, namespace, name string) error {
	var o metav1.PartialObjectMetadata
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(k.object))
	o.SetNamespace(namespace)
	o.SetName(name)
	err := g.cfg.Client.Delete(ctx, &o, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting %s %s/%s: %w", k.object, namespace, name, err)
	}
	return nil
}

// objectOf makes the object to apply. It holds the specification as it came, so that a field this version does not know still
// arrives, or is refused by the API server.
func objectOf(i item) (*unstructured.Unstructured, error) {
	var spec map[string]any
	if err := json.Unmarshal(i.spec, &spec); err != nil {
		return nil, fmt.Errorf("reading the %s's specification: %w", i.kind.noun, err)
	}
	o := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(i.kind.object))
	o.SetNamespace(i.namespace)
	o.SetName(i.name)
	labels := map[string]string{}
	maps.Copy(labels, i.labels)
	labels[LabelManagedBy] = FieldManager
	if i.revision != "" {
		labels[v1alpha1.LabelRevision] = i.revision
	}
	o.SetLabels(labels)
	return o, nil
}

func secretOf(i item, owner *unstructured.Unstructured) *unstructured.Unstructured {
	data := make(map[string]any, len(i.secret))
	for k, v := range i.secret {
		data[k] = base64.StdEncoding.EncodeToString([]byte(v))
	}
	o := &unstructured.Unstructured{Object: map[string]any{"data": data}}
	o.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
	o.SetNamespace(i.namespace)
	o.SetName(i.secretName)
	o.SetLabels(map[string]string{LabelManagedBy: FieldManager, i.kind.secretLabel: i.name})
	o.SetOwnerReferences([]metav1.OwnerReference{{
		APIVersion: owner.GetAPIVersion(), Kind: owner.GetKind(), Name: owner.GetName(), UID: owner.GetUID(),
	}})
	return o
}
