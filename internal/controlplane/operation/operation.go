// Package operation begins and ends asynchronous operations. A reconciler ends one in the transaction that also writes what
// it did, so that an operation and its resource never disagree:
//
//	PUT ──▶ Creating|Updating ──▶ Succeeded | Failed | Canceled   (Finish: resource's provisioningState likewise)
//	DELETE ──▶ Deleting ──▶ Succeeded (FinishDelete: the resource is gone) | Failed (Finish)
package operation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// New is an operation on the record with this key, not stored yet. Status is Creating, Updating or Deleting.
func New(key, status string, now time.Time) store.Operation {
	return store.Operation{ID: uuid.NewString(), Key: key, Status: status, StartedAt: stamp(now)}
}

// Pending lists the unfinished operations of a record, oldest first.
func Pending(ctx context.Context, r store.Reader, key string) ([]store.Operation, error) {
	ops, err := r.OperationsOf(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("listing operations of %s: %w", key, err)
	}
	return ops, nil
}

// Finish writes rec with properties.provisioningState set to status (Succeeded, Failed or Canceled) and ends the operation
// opID with it, all in tx. An empty opID ends every unfinished operation of the record. Other changes the caller made to rec
// are written too. cause is told to the user when status is not Succeeded: an *arm.Error as it is, any other error as
// OperationFailed. It returns the record as written, or store.ErrConflict when rec is not the newest version.
func Finish(ctx context.Context, tx store.Tx, rec store.Record, opID, status string, cause error) (store.Record, error) {
	return FinishAt(ctx, tx, rec, opID, status, cause, time.Now())
}

// FinishAt is Finish with the clock of the caller.
func FinishAt(ctx context.Context, tx store.Tx, rec store.Record, opID, status string, cause error, now time.Time) (store.Record, error) {
	if !arm.Terminal(status) {
		return rec, fmt.Errorf("finishing operation of %s: %q is not a final state", rec.Key, status)
	}
	body, err := SetState(rec.Body, status)
	if err != nil {
		return rec, fmt.Errorf("setting provisioningState of %s: %w", rec.Key, err)
	}
	rec.Body = body
	rec.UpdatedAt = stamp(now)
	out, err := tx.Put(ctx, rec)
	if err != nil {
		return rec, fmt.Errorf("writing %s: %w", rec.Key, err)
	}
	return out, end(ctx, tx, rec.Key, opID, status, cause, now)
}

// FinishDelete removes rec and ends its unfinished operations with Succeeded.
func FinishDelete(ctx context.Context, tx store.Tx, rec store.Record) error {
	return FinishDeleteAt(ctx, tx, rec, time.Now())
}

// FinishDeleteAt is FinishDelete with the clock of the caller.
func FinishDeleteAt(ctx context.Context, tx store.Tx, rec store.Record, now time.Time) error {
	if err := tx.Delete(ctx, rec.Key); err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("deleting %s: %w", rec.Key, err)
	}
	return end(ctx, tx, rec.Key, "", arm.StateSucceeded, nil, now)
}

func end(ctx context.Context, tx store.Tx, key, opID, status string, cause error, now time.Time) error {
	ops, err := pick(ctx, tx, key, opID)
	if err != nil {
		return err
	}
	for _, op := range ops {
		op.Status, op.EndedAt = status, stamp(now)
		if status != arm.StateSucceeded {
			if op.Error, err = json.Marshal(arm.ErrorBody{Error: Public(cause)}); err != nil {
				return fmt.Errorf("encoding error of operation %s: %w", op.ID, err)
			}
		}
		if err := tx.PutOperation(ctx, op); err != nil {
			return fmt.Errorf("writing operation %s: %w", op.ID, err)
		}
	}
	return nil
}

func pick(ctx context.Context, tx store.Tx, key, opID string) ([]store.Operation, error) {
	if opID == "" {
		return Pending(ctx, tx, key)
	}
	op, err := tx.Operation(ctx, opID)
	if err != nil {
		return nil, fmt.Errorf("reading operation %s: %w", opID, err)
	}
	return []store.Operation{op}, nil
}

// Public is the error as the user sees it; the text of an error that is not an *arm.Error is passed on, since reconcilers
// fail for reasons in the user's cluster, which the user must see.
func Public(cause error) *arm.Error {
	if ae, ok := errors.AsType[*arm.Error](cause); ok {
		return ae
	}
	if cause == nil {
		return &arm.Error{Code: "OperationFailed", Message: "The operation did not complete."}
	}
	return &arm.Error{Code: "OperationFailed", Message: cause.Error()}
}

// SetState returns body with properties.provisioningState set.
func SetState(body json.RawMessage, state string) (json.RawMessage, error) {
	m := map[string]json.RawMessage{}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &m); err != nil {
			return nil, fmt.Errorf("decoding body: %w", err)
		}
	}
	props := map[string]json.RawMessage{}
	if raw, ok := m["properties"]; ok && string(raw) != "null" {
		if err := json.Unmarshal(raw, &props); err != nil {
			return nil, fmt.Errorf("decoding properties: %w", err)
		}
	}
	props["provisioningState"], _ = json.Marshal(state)
	raw, err := json.Marshal(props)
	if err != nil {
		return nil, fmt.Errorf("encoding properties: %w", err)
	}
	m["properties"] = raw
	return json.Marshal(m)
}

// State reads properties.provisioningState from a record's body; "" when there is none.
func State(body json.RawMessage) string {
	var v struct {
		Properties struct {
			ProvisioningState string `json:"provisioningState"`
		} `json:"properties"`
	}
	if json.Unmarshal(body, &v) != nil {
		return ""
	}
	return v.Properties.ProvisioningState
}

// stamp is the time as the store keeps it: UTC, microseconds.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
