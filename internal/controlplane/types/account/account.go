// Package account is what the store remembers of workspaces' storage accounts beside the workspaces: whose an account is,
// and which of its run folders were used by jobs that are deleted. None of it is on the wire.
package account

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// Types of the records, lower case; neither is in the registry.
const (
	// Type is an account; it is archived once its workspace was deleted, and no other workspace ever gets it.
	Type = "fairlead.internal/storageaccounts"
	// TypeUse is a run's name that deleted jobs had; it is archived when there is nothing of theirs to discard.
	TypeUse = "fairlead.internal/runnames"
)

// Name is the account of a new workspace, from its GUID: a workspace made again under an old name gets another one.
func Name(workspaceID string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(workspaceID)))
	return "fl" + hex.EncodeToString(sum[:6])
}

// Key is the record of an account.
func Key(account string) string { return "/internal/storage/" + account }

func useKey(account, run string) string { return Key(account) + "/runs/" + strings.ToLower(run) }

type owner struct {
	// Workspace is a record's Key.
	Workspace string `json:"workspace"`
}

type use struct {
	// Count is how many deleted jobs had the name.
	Count int `json:"count"`
	// Discard are folders (as Folder gives them) whose artifacts are to be deleted.
	Discard []string `json:"discard,omitempty"`
}

// Keep records that an account belongs to a workspace that exists.
func Keep(ctx context.Context, tx store.Tx, account, workspaceKey string, at time.Time) error {
	rec, err := tx.Get(ctx, Key(account))
	if err == nil && !rec.Archived {
		return nil
	}
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("reading storage account %s: %w", account, err)
	}
	rec.Type, rec.Archived = Type, false
	return put(ctx, tx, rec, Key(account), account, owner{Workspace: workspaceKey}, at)
}

// Leave records that an account's workspace was deleted.
func Leave(ctx context.Context, tx store.Tx, account string, at time.Time) error {
	rec, err := tx.Get(ctx, Key(account))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading storage account %s: %w", account, err)
	}
	rec.Archived, rec.UpdatedAt = true, at
	if _, err := tx.Put(ctx, rec); err != nil {
		return fmt.Errorf("writing storage account %s: %w", account, err)
	}
	return nil
}

// Workspace is the Key of the workspace that an account belongs to; store.ErrNotFound when there is none (any more).
func Workspace(ctx context.Context, r store.Reader, account string) (string, error) {
	rec, err := r.Get(ctx, Key(account))
	if err == nil && rec.Archived {
		err = store.ErrNotFound
	}
	if err != nil {
		return "", fmt.Errorf("reading storage account %s: %w", account, err)
	}
	return Owner(rec)
}

// Owner is the Key of the workspace that the account of a record of Type belongs or belonged to.
func Owner(rec store.Record) (string, error) {
	var o owner
	if err := json.Unmarshal(rec.Body, &o); err != nil {
		return "", fmt.Errorf("decoding storage account %s: %w", rec.Name, err)
	}
	return o.Workspace, nil
}

// Folder is the name below which a new run keeps its files: the run's own, or one that no run has ('.' is in no run's
// name) when a deleted job left files there.
func Folder(ctx context.Context, r store.Reader, account, run string) (string, error) {
	rec, err := r.Get(ctx, useKey(account, run))
	if errors.Is(err, store.ErrNotFound) {
		return run, nil
	}
	if err != nil {
		return "", fmt.Errorf("reading earlier uses of run name %s: %w", run, err)
	}
	u, err := readUse(rec)
	return run + "." + strconv.Itoa(u.Count+1), err
}

// Used records that a job of this name was deleted and may have left files in folder. They are discarded one by one only
// while the workspace stays; else the account goes as a whole.
func Used(ctx context.Context, tx store.Tx, account, run, folder string, at time.Time) error {
	rec, err := tx.Get(ctx, useKey(account, run))
	var u use
	if err == nil {
		u, err = readUse(rec)
	} else if errors.Is(err, store.ErrNotFound) {
		err = nil
	}
	if err != nil {
		return fmt.Errorf("reading earlier uses of run name %s: %w", run, err)
	}
	u.Count++
	switch _, err := Workspace(ctx, tx, account); {
	case err == nil:
		u.Discard = append(u.Discard, folder)
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	rec.Type, rec.Parent, rec.Archived = TypeUse, Key(account), len(u.Discard) == 0
	return put(ctx, tx, rec, useKey(account, run), run, u, at)
}

// ToDiscard are the folders of a record of TypeUse whose artifacts are to be deleted, and their account.
func ToDiscard(rec store.Record) (account string, folders []string, err error) {
	u, err := readUse(rec)
	return strings.TrimPrefix(rec.Parent, Key("")), u.Discard, err
}

// Discarded records that folders of a record of TypeUse need no further look.
func Discarded(ctx context.Context, tx store.Tx, key string, folders []string, at time.Time) error {
	rec, err := tx.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("reading %s: %w", key, err)
	}
	u, err := readUse(rec)
	if err != nil {
		return err
	}
	u.Discard = slices.DeleteFunc(u.Discard, func(f string) bool { return slices.Contains(folders, f) })
	rec.Archived = len(u.Discard) == 0
	return put(ctx, tx, rec, key, rec.Name, u, at)
}

func readUse(rec store.Record) (use, error) {
	var u use
	if err := json.Unmarshal(rec.Body, &u); err != nil {
		return u, fmt.Errorf("decoding %s: %w", rec.Key, err)
	}
	return u, nil
}

// put writes a record with a new body; rec is the zero record, but for its type, when there was none.
func put(ctx context.Context, tx store.Tx, rec store.Record, key, name string, body any, at time.Time) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", key, err)
	}
	if rec.Version == 0 {
		rec.CreatedAt, rec.CreatedBy = at, "fairlead"
	}
	rec.Key, rec.ID, rec.Name, rec.Body, rec.UpdatedAt, rec.UpdatedBy = key, key, name, raw, at, "fairlead"
	if _, err := tx.Put(ctx, rec); err != nil {
		return fmt.Errorf("writing %s: %w", key, err)
	}
	return nil
}
