package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// author splits what Author joined; names written without a kind are the control plane's own.
func author(s string) (name, kind string) {
	if k, n, ok := strings.Cut(s, ":"); ok && resource.IdentityType(k) == k {
		return n, k
	}
	return s, "Application"
}

// Show is a record as the wire has it.
func (e *Engine) Show(ctx context.Context, r store.Reader, rec store.Record) (map[string]any, error) {
	t, ok := e.Registry.Lookup(rec.Type)
	if !ok {
		return nil, fmt.Errorf("showing %s: type %q is not registered", rec.Key, rec.Type)
	}
	body := map[string]any{}
	if err := json.Unmarshal(rec.Body, &body); err != nil {
		return nil, fmt.Errorf("decoding %s: %w", rec.Key, err)
	}
	body["id"], body["name"], body["type"] = rec.ID, rec.Name, t.Namespace+"/"+t.Name
	body["etag"] = ETag(rec)
	body["systemData"] = systemData(rec)
	if t.VersionContainer {
		showVersions(rec, body)
	}
	if t.Show != nil {
		if err := t.Show(ctx, r, rec, body); err != nil {
			return nil, fmt.Errorf("showing %s: %w", rec.Key, err)
		}
	}
	return body, nil
}

func systemData(rec store.Record) arm.SystemData {
	by, byType := author(rec.CreatedBy)
	mod, modType := author(rec.UpdatedBy)
	return arm.SystemData{
		CreatedBy: by, CreatedByType: byType, CreatedAt: arm.FormatTime(rec.CreatedAt),
		LastModifiedBy: mod, LastModifiedByType: modType, LastModifiedAt: arm.FormatTime(rec.UpdatedAt),
	}
}

// versions is what a container remembers of its versions, under "versions" in Record.Internal. Numbers are never reused, so Next only grows.
type versions struct {
	Latest string `json:"latest,omitempty"`
	Next   int64  `json:"next"`
}

func readVersions(rec store.Record) (map[string]json.RawMessage, versions, error) {
	internal := map[string]json.RawMessage{}
	v := versions{Next: 1}
	if len(rec.Internal) > 0 {
		if err := json.Unmarshal(rec.Internal, &internal); err != nil {
			return nil, v, fmt.Errorf("decoding what %s remembers: %w", rec.Key, err)
		}
	}
	if raw, ok := internal["versions"]; ok {
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, v, fmt.Errorf("decoding versions of %s: %w", rec.Key, err)
		}
	}
	return internal, v, nil
}

func showVersions(rec store.Record, body map[string]any) {
	_, v, err := readVersions(rec)
	props, ok := body["properties"].(map[string]any)
	if err != nil {
		return
	}
	if !ok {
		props = map[string]any{}
		body["properties"] = props
	}
	props["latestVersion"], props["nextVersion"] = any(nil), strconv.FormatInt(v.Next, 10)
	if v.Latest != "" {
		props["latestVersion"] = v.Latest
	}
}

// countVersion tells the container of a new version about it.
func (w *write) countVersion(ctx context.Context, rec store.Record) error {
	if w.parent == nil {
		return nil
	}
	pt, ok := w.e.Registry.Lookup(w.parent.Type)
	if !ok || !pt.VersionContainer {
		return nil
	}
	return setVersions(ctx, w.tx, *w.parent, func(v *versions) {
		v.Latest = rec.Name
		if n, err := strconv.ParseInt(rec.Name, 10, 64); err == nil && n >= v.Next && n < 1<<62 {
			v.Next = n + 1
		}
	})
}

func setVersions(ctx context.Context, tx store.Tx, container store.Record, change func(*versions)) error {
	internal, v, err := readVersions(container)
	if err != nil {
		return err
	}
	change(&v)
	if internal["versions"], err = json.Marshal(v); err != nil {
		return fmt.Errorf("encoding versions of %s: %w", container.Key, err)
	}
	if container.Internal, err = json.Marshal(internal); err != nil {
		return fmt.Errorf("encoding what %s remembers: %w", container.Key, err)
	}
	if _, err := tx.Put(ctx, container); err != nil {
		return fmt.Errorf("writing versions of %s: %w", container.Key, err)
	}
	return nil
}

// versionGone makes the newest version that is left the latest of its container.
func (e *Engine) versionGone(ctx context.Context, tx store.Tx, gone store.Record) error {
	container, err := tx.Get(ctx, gone.Parent)
	if err != nil {
		return nil //nolint:nilerr // a container that is gone too has nothing to remember
	}
	if pt, ok := e.Registry.Lookup(container.Type); !ok || !pt.VersionContainer {
		return nil
	}
	left, err := tx.List(ctx, store.Query{Type: gone.Type, Parent: gone.Parent, Descending: true, Limit: 1, IncludeArchived: true})
	if err != nil {
		return fmt.Errorf("listing versions of %s: %w", container.Key, err)
	}
	return setVersions(ctx, tx, container, func(v *versions) {
		v.Latest = ""
		if len(left) > 0 {
			v.Latest = left[0].Name
		}
	})
}
