package authz

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
)

const (
	group = "/subscriptions/s/resourcegroups/g"
	box   = group + "/providers/n/boxes/b"
)

func open(t *testing.T) (*Authorizer, store.Store) {
	t.Helper()
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return New(st), st
}

// put stores an assignment as another replica would: without telling the authorizer.
func put(t *testing.T, st store.Store, principal, scope string, r Role) string {
	t.Helper()
	key := scope + "/providers/microsoft.authorization/roleassignments/" + principal
	err := st.Update(t.Context(), func(tx store.Tx) error {
		_, err := tx.Put(t.Context(), store.Record{Key: key, ID: key, Type: TypeAssignment, Parent: scope, Name: principal, CreatedAt: time.Unix(0, 0).UTC(), UpdatedAt: time.Unix(0, 0).UTC(),
			Body: []byte(`{"properties":{"principalId":"` + principal + `","scope":"` + scope + `","roleDefinitionId":"` + r.ID + `"}}`)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestCheck(t *testing.T) {
	a, st := open(t)
	put(t, st, "reader", group, Reader)
	put(t, st, "contributor", group, Contributor)
	put(t, st, "owner", group, Owner)
	if err := st.Update(t.Context(), func(tx store.Tx) error { return AssignRoot(t.Context(), tx, "ROOT", Owner, time.Unix(0, 0)) }); err != nil {
		t.Fatal(err)
	}
	user := func(id string) resource.Principal { return resource.Principal{ID: id, Kind: "User"} }
	var made store.Record
	if err := st.Update(t.Context(), func(tx store.Tx) (err error) {
		made, err = tx.Put(t.Context(), store.Record{Key: box, ID: box, Type: "n/boxes", Parent: group, Name: "b"})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	agent := resource.Principal{ID: "a", Kind: "Agent", Scope: box, ScopeSeq: made.Seq}
	earlier := agent
	earlier.ScopeSeq--
	for _, c := range []struct {
		who           resource.Principal
		action, scope string
		want          bool
	}{
		{user("reader"), "N/boxes/read", box, true},
		{user("Reader"), "read", strings.ToUpper(box), true},
		{user("reader"), "N/boxes/write", box, false},
		{user("reader"), "N/boxes/listKeys/action", box, false},
		{user("reader"), "secret", box, false},
		{user("reader"), "read", "/subscriptions/s", false},
		{user("reader"), "read", group + "2/providers/n/boxes/b", false},
		{user("contributor"), "N/boxes/delete", box, true},
		{user("contributor"), "N/boxes/listKeys/action", box, true},
		{user("contributor"), "Microsoft.Authorization/roleAssignments/write", group, false},
		{user("contributor"), "Microsoft.Authorization/roleAssignments/delete", group, false},
		{user("contributor"), "Microsoft.Authorization/roleAssignments/read", group, true},
		{user("owner"), "Microsoft.Authorization/roleAssignments/write", group, true},
		{user("owner"), "write", "/subscriptions/s", false},
		{user("root"), "write", "/subscriptions/other", true},
		{user("nobody"), "read", box, false},
		{user(""), "read", box, false},
		{agent, "N/boxes/read", box, true},
		{earlier, "N/boxes/read", box, false},
		{agent, "read", box + "/children/c", false},
		{agent, "N/boxes/write", box, false},
		{resource.Principal{ID: "reader", Kind: "Extension", Scope: "/other"}, "read", box, false},
		{resource.Principal{ID: "reader", Kind: "Agent"}, "read", "", false},
		{resource.Principal{ID: "owner", Kind: "Run", Scope: box}, "read", box, false},
	} {
		err := a.Check(t.Context(), c.who, c.action, c.scope)
		if (err == nil) != c.want {
			t.Errorf("%s %q: %s on %s: %v", c.who.Kind, c.who.ID, c.action, c.scope, err)
		}
		if ae, ok := errors.AsType[*arm.Error](err); err != nil && (!ok || ae.Status != 403 || ae.Code != "AuthorizationFailed" || !strings.Contains(ae.Message, c.action)) {
			t.Errorf("error %v", err)
		}
	}
}

func TestSees(t *testing.T) {
	a, st := open(t)
	put(t, st, "reader", box, Reader)
	for scope, want := range map[string]bool{"/subscriptions/s": true, group: true, box: true, "/subscriptions/x": false, group + "2": false} {
		if got, err := a.Sees(t.Context(), resource.Principal{ID: "reader", Kind: "User"}, scope); err != nil || got != want {
			t.Errorf("%s: %t, %v", scope, got, err)
		}
	}
}

func TestFollowsOtherReplicas(t *testing.T) {
	a, st := open(t)
	user := resource.Principal{ID: "reader", Kind: "User"}
	if a.Check(t.Context(), user, "read", box) == nil {
		t.Fatal("allowed before the assignment")
	}
	last, err := a.follow(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	key := put(t, st, "reader", group, Reader)
	if last, err = a.follow(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if err := a.Check(t.Context(), user, "read", box); err != nil {
		t.Errorf("after the assignment: %v", err)
	}
	if err := st.Update(t.Context(), func(tx store.Tx) error { return tx.Delete(t.Context(), key) }); err != nil {
		t.Fatal(err)
	}
	if _, err = a.follow(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	if a.Check(t.Context(), user, "read", box) == nil {
		t.Error("allowed after the assignment was deleted")
	}
}

// TestUnassign: who is removed has no role anywhere, and others keep theirs.
func TestUnassign(t *testing.T) {
	a, st := open(t)
	put(t, st, "gone", group, Owner)
	put(t, st, "gone", box, Reader)
	put(t, st, "stays", group, Reader)
	if err := st.Update(t.Context(), func(tx store.Tx) error { return Unassign(t.Context(), tx, "GONE") }); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{"gone": false, "stays": true} {
		if got := a.Check(t.Context(), resource.Principal{ID: id, Kind: "User"}, "read", box) == nil; got != want {
			t.Errorf("%s may read: %v", id, got)
		}
	}
}
