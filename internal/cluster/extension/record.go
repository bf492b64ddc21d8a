package extension

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"fairlead.dev/fairlead/internal/link"
)

// recordsName is the ConfigMap in the agent's namespace that remembers what was reported of each extension, so that a restarted
// agent neither repeats an installation that failed nor forgets to say that an extension is gone.
const recordsName = "fairlead-extensions"

// record is what is remembered of one extension.
type record struct {
	Status link.ExtensionStatus `json:"status"`
	// Digest is the release's digest that Status speaks of.
	Digest string `json:"digest,omitempty"`
	// Namespace is the release's, "" when nothing of it is left.
	Namespace string `json:"namespace,omitempty"`
}

// records keeps the ConfigMap. Extension names are valid ConfigMap keys.
type records struct {
	kube      kubernetes.Interface
	namespace string
	mu        sync.Mutex
	byName    map[string]record
}

// load reads what an earlier process left.
func (r *records) load(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byName = map[string]record{}
	cm, err := r.kube.CoreV1().ConfigMaps(r.namespace).Get(ctx, recordsName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading ConfigMap %s/%s: %w", r.namespace, recordsName, err)
	}
	for name, doc := range cm.Data {
		var rec record
		if json.Unmarshal([]byte(doc), &rec) == nil { // an unreadable record is as good as none
			r.byName[name] = rec
		}
	}
	return nil
}

func (r *records) get(name string) *record {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rec, ok := r.byName[name]; ok {
		return &rec
	}
	return nil
}

func (r *records) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	names := make([]string, 0, len(r.byName))
	for name := range r.byName {
		names = append(names, name)
	}
	return names
}

// put stores a record; an equal one costs nothing.
func (r *records) put(ctx context.Context, name string, rec record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	doc, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	if old, ok := r.byName[name]; ok {
		if before, err := json.Marshal(old); err == nil && string(before) == string(doc) {
			return nil
		}
	}
	if err := r.write(ctx, name, string(doc)); err != nil {
		return fmt.Errorf("writing ConfigMap %s/%s: %w", r.namespace, recordsName, err)
	}
	r.byName[name] = rec
	return nil
}

func (r *records) write(ctx context.Context, name, doc string) error {
	maps := r.kube.CoreV1().ConfigMaps(r.namespace)
	cm, err := maps.Get(ctx, recordsName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		cm = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: recordsName}, Data: map[string]string{name: doc}}
		_, err = maps.Create(ctx, cm, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	if cm.Data == nil {
		cm.Data = map[string]string{}
	}
	cm.Data[name] = doc
	_, err = maps.Update(ctx, cm, metav1.UpdateOptions{})
	return err
}
