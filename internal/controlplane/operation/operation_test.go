package operation

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// begin stores a record with two unfinished operations.
func begin(t *testing.T) (store.Store, store.Record, []store.Operation) {
	t.Helper()
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	var rec store.Record
	err = st.Update(t.Context(), func(tx store.Tx) error {
		rec, err = tx.Put(t.Context(), store.Record{Key: "/k", ID: "/K", Type: "n/t", Name: "K", Body: json.RawMessage(`{"properties":{"a":1}}`), CreatedAt: now, UpdatedAt: now})
		if err != nil {
			return err
		}
		for i := range 2 {
			if err := tx.PutOperation(t.Context(), New("/k", arm.StateCreating, now.Add(time.Duration(i)*time.Second))); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ops, err := Pending(t.Context(), st, "/k")
	if err != nil || len(ops) != 2 {
		t.Fatalf("pending: %v %v", ops, err)
	}
	return st, rec, ops
}

func TestFinish(t *testing.T) {
	for name, c := range map[string]struct {
		one    bool
		status string
		cause  error
		left   int
		want   string
	}{
		"all succeed":     {false, arm.StateSucceeded, nil, 0, ""},
		"one succeeds":    {true, arm.StateSucceeded, nil, 1, ""},
		"fails in public": {true, arm.StateFailed, arm.Errorf(400, "Bad", "it is bad"), 1, `{"error":{"code":"Bad","message":"it is bad"}}`},
		"fails":           {true, arm.StateFailed, errors.New("no chart"), 1, `{"error":{"code":"OperationFailed","message":"no chart"}}`},
		"canceled":        {true, arm.StateCanceled, nil, 1, `{"error":{"code":"OperationFailed","message":"The operation did not complete."}}`},
	} {
		t.Run(name, func(t *testing.T) {
			st, rec, ops := begin(t)
			id := ""
			if c.one {
				id = ops[0].ID
			}
			err := st.Update(t.Context(), func(tx store.Tx) error {
				_, err := FinishAt(t.Context(), tx, rec, id, c.status, c.cause, now.Add(time.Minute))
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			got, err := st.Get(t.Context(), "/k")
			if err != nil || State(got.Body) != c.status || !got.UpdatedAt.Equal(now.Add(time.Minute)) {
				t.Errorf("record %s %v %v", got.Body, got.UpdatedAt, err)
			}
			op, err := st.Operation(t.Context(), ops[0].ID)
			if err != nil || op.Status != c.status || string(op.Error) != c.want || op.EndedAt.IsZero() {
				t.Errorf("operation %+v %v", op, err)
			}
			if left, err := Pending(t.Context(), st, "/k"); err != nil || len(left) != c.left {
				t.Errorf("left %v %v", left, err)
			}
		})
	}
}

func TestFinishIsAllOrNothing(t *testing.T) {
	st, rec, ops := begin(t)
	rec.Version++
	err := st.Update(t.Context(), func(tx store.Tx) error {
		_, err := Finish(t.Context(), tx, rec, "", arm.StateSucceeded, nil)
		return err
	})
	if !errors.Is(err, store.ErrConflict) {
		t.Errorf("a stale record: %v", err)
	}
	if op, _ := st.Operation(t.Context(), ops[0].ID); op.Status != arm.StateCreating {
		t.Errorf("operation %+v", op)
	}
	err = st.Update(t.Context(), func(tx store.Tx) error {
		_, err := Finish(t.Context(), tx, rec, "", arm.StateUpdating, nil)
		return err
	})
	if err == nil {
		t.Error("finished with a state that is not final")
	}
}

func TestFinishDelete(t *testing.T) {
	st, rec, ops := begin(t)
	if err := st.Update(t.Context(), func(tx store.Tx) error { return FinishDelete(t.Context(), tx, rec) }); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Get(t.Context(), "/k"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("record: %v", err)
	}
	if op, err := st.Operation(t.Context(), ops[1].ID); err != nil || op.Status != arm.StateSucceeded {
		t.Errorf("operation %+v %v", op, err)
	}
}

func TestSetState(t *testing.T) {
	for in, want := range map[string]string{
		``:                              `{"properties":{"provisioningState":"Failed"}}`,
		`{"properties":null,"x":1e400}`: `{"properties":{"provisioningState":"Failed"},"x":1e400}`,
		`{"properties":{"a":12345678901234567890,"provisioningState":"Creating"}}`: `{"properties":{"a":12345678901234567890,"provisioningState":"Failed"}}`,
	} {
		got, err := SetState(json.RawMessage(in), arm.StateFailed)
		if err != nil || string(got) != want {
			t.Errorf("%s: %s %v", in, got, err)
		}
	}
	if _, err := SetState(json.RawMessage(`{"properties":[]}`), arm.StateFailed); err == nil {
		t.Error("an array of properties accepted")
	}
}
