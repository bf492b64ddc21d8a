package cascade

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/reconcile"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
)

// TestGroupWithContent deletes a group that holds more than one transaction takes, with the real runner.
func TestGroupWithContent(t *testing.T) {
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	e := &engine.Engine{Store: st, Registry: resource.NewRegistry(
		&resource.Type{Namespace: "Microsoft.Resources", Name: "subscriptions", NoProvisioningState: true},
		&resource.Type{Namespace: "Microsoft.Resources", Name: "resourceGroups"},
		&resource.Type{Namespace: "N", Name: "boxes"},
		&resource.Type{Namespace: "N", Name: "boxes/parts"},
	)}
	put := func(id string) {
		t.Helper()
		if _, err := e.Put(t.Context(), engine.PutRequest{ID: arm.MustParseID(id), Body: []byte(`{}`)}); err != nil {
			t.Fatal(err)
		}
	}
	group := "/subscriptions/s/resourceGroups/g"
	put("/subscriptions/s")
	put(group)
	put(group + "/providers/N/boxes/b")
	for i := range 700 {
		put(group + "/providers/N/boxes/b/parts/p" + string(rune('a'+i%26)) + string(rune('a'+i/26)))
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- reconcile.NewRunner(st, nil, New(e)).Run(ctx) }()
	res, err := e.Delete(t.Context(), engine.DeleteRequest{ID: arm.MustParseID(group)})
	if err != nil || res.Operation == nil {
		t.Fatalf("%+v %v", res, err)
	}
	for seq := int64(0); ; {
		if _, err := st.Get(t.Context(), arm.MustParseID(group).Key()); errors.Is(err, store.ErrNotFound) {
			break
		}
		if seq, err = st.LastChange(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := st.Get(t.Context(), arm.MustParseID(group).Key()); errors.Is(err, store.ErrNotFound) {
			break
		}
		if err := st.Wait(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if op, err := st.Operation(t.Context(), res.Operation.ID); err != nil || op.Status != arm.StateSucceeded {
		t.Errorf("operation %+v %v", op, err)
	}
	left, err := st.List(t.Context(), store.Query{Type: "n/boxes/parts", AnyParent: true, Limit: 10})
	if err != nil || len(left) != 0 {
		t.Errorf("left: %v %v", left, err)
	}
}
