package training

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	jobset "sigs.k8s.io/jobset/api/jobset/v1alpha2"
)

// TestCancelAsksTheAPIServer: a JobSet that neither the cache nor the status tells of yet keeps a job from counting as canceled.
func TestCancelAsksTheAPIServer(t *testing.T) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	job := aJob(canceled)
	cached := fake.NewClientBuilder().WithScheme(scheme).WithObjects(job).Build()
	for name, c := range map[string]struct {
		live *jobset.JobSet
		want string
	}{
		"made a moment ago": {aJobSet(), ""},
		"never made":        {nil, StateCanceled},
	} {
		t.Run(name, func(t *testing.T) {
			live := fake.NewClientBuilder().WithScheme(scheme)
			if c.live != nil {
				live = live.WithObjects(c.live)
			}
			r := &reconciler{cfg: Config{Clock: func() time.Time { return t0 }}, client: cached, live: live.WithIndex(&corev1.Event{}, "involvedObject.name", noIndex).Build()}
			w, err := r.observe(t.Context(), types.NamespacedName{Namespace: job.Namespace, Name: job.Name})
			if err != nil {
				t.Fatal(err)
			}
			if d := decide(w); d.status.State != c.want || (d.action == actDelete) != (c.live != nil) {
				t.Errorf("state %q action %v", d.status.State, d.action)
			}
		})
	}
}

func noIndex(client.Object) []string { return nil }
