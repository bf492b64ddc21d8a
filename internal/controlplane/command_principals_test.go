package controlplane

import (
	"path/filepath"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/authz"
	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
)

// TestPrincipalsRemove: a principal goes with its roles, and the administrator does not go.
func TestPrincipalsRemove(t *testing.T) {
	cfg := Config{DataDir: t.TempDir(), Store: "sqlite"}
	st, err := sqlite.Open(t.Context(), filepath.Join(cfg.DataDir, "fairlead.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := seal.LoadOrCreate(filepath.Join(cfg.DataDir, "seal.key")); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if _, _, err := bootstrap(t.Context(), st, cfg.DataDir, Admin{}, now); err != nil {
		t.Fatal(err)
	}
	const object = "a7c0ce3b-0000-4000-8000-000000000000"
	if err := st.Update(t.Context(), func(tx store.Tx) error {
		_, err := issuer.CreateServicePrincipal(t.Context(), tx, issuer.ServicePrincipal{DisplayName: "trainer", ObjectID: object}, now)
		if err != nil {
			return err
		}
		scope := "/subscriptions/s"
		rec := store.Record{Key: scope + "/providers/microsoft.authorization/roleassignments/r", Type: authz.TypeAssignment, Parent: scope, Name: "r", CreatedAt: now, UpdatedAt: now,
			Body: []byte(`{"properties":{"principalId":"` + object + `","scope":"` + scope + `"}}`)}
		_, err = tx.Put(t.Context(), rec)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	remove := func(name string) error {
		c := principalsCommand()
		c.SetArgs([]string{"remove", name, "--data-dir", cfg.DataDir})
		c.SilenceErrors = true
		return c.ExecuteContext(t.Context())
	}
	if err := remove("admin"); err == nil {
		t.Error("the administrator was removed")
	}
	if err := remove("trainer"); err != nil {
		t.Fatal(err)
	}
	left, err := st.List(t.Context(), store.Query{Type: authz.TypeAssignment, AnyParent: true, Limit: 10})
	if err != nil || len(left) != 1 {
		t.Errorf("%d assignments are left, %v; want the administrator's", len(left), err)
	}
	all, err := issuer.ServicePrincipals(t.Context(), st)
	if err != nil || len(all) != 1 || all[0].DisplayName != "admin" {
		t.Errorf("principals %+v, %v", all, err)
	}
}
