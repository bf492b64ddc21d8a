package types

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/identity"
)

// managedIdentities completes body.identity of a resource whose workloads get tokens: a system-assigned identity gets a client id, too,
// user-assigned ones must exist and be given by somebody who may. It returns their order, which the record's Internal keeps.
func managedIdentities(ctx context.Context, d Deps, p *resource.Put) (identity.Order, error) {
	var none identity.Order
	if err := systemIdentity(d, p, false); err != nil || p.Body["identity"] == nil {
		return none, err
	}
	body, err := object(p.Body, "identity")
	if err != nil {
		return none, err
	}
	if body["principalId"] != nil {
		if body["clientId"] = oldIdentity(p, "clientId"); body["clientId"] == "" {
			body["clientId"] = d.newID()
		}
	}
	typ, _ := body["type"].(string)
	if !strings.Contains(typ, "UserAssigned") {
		delete(body, "userAssignedIdentities")
		return none, nil
	}
	const at = "identity.userAssignedIdentities"
	given, err := object(body, "userAssignedIdentities")
	if err != nil {
		return none, arm.Invalid(at, "%s must be an object of resource ids.", at)
	}
	if len(given) == 0 {
		return none, arm.Invalid(at, "identity.type is %q, but %s names none; give {\"<resource id>\": {}}.", typ, at)
	}
	for id := range given {
		if given[id], err = assignable(ctx, d, p, id); err != nil {
			return none, err
		}
	}
	return ordered(p, given)
}

// assignable is what is shown of a user-assigned identity that the caller may give to a resource.
func assignable(ctx context.Context, d Deps, p *resource.Put, id string) (map[string]any, error) {
	const at = "identity.userAssignedIdentities"
	parsed, err := arm.ParseID(id)
	if err != nil {
		return nil, arm.Invalid(at, "%s: %v.", at, err)
	}
	if err := linked(ctx, d, p, "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", parsed.String()); err != nil {
		return nil, err
	}
	rec, err := p.Tx.Get(ctx, parsed.Key())
	if errors.Is(err, store.ErrNotFound) || err == nil && !strings.EqualFold(rec.Type, nsIdentity+"/userAssignedIdentities") {
		return nil, arm.Invalid(at, "Identity %q does not exist; create it first.", id)
	}
	if err != nil {
		return nil, fmt.Errorf("reading identity %s: %w", id, err)
	}
	return map[string]any{"principalId": field(rec, "principalId"), "clientId": field(rec, "clientId")}, nil
}

// ordered says which of the identities is the first.
func ordered(p *resource.Put, given map[string]any) (identity.Order, error) {
	var was, now identity.Order
	var err error
	if p.Old != nil {
		if was, err = identity.OrderOf(*p.Old); err != nil {
			return now, err
		}
	}
	for _, id := range identity.Sort(keys(given), identity.Named(p.Raw), was) {
		now.UserAssigned = append(now.UserAssigned, strings.ToLower(id))
	}
	return now, nil
}

// showIdentities writes the user-assigned identities in their order, so that what was read can be written again.
func showIdentities(rec store.Record, body map[string]any) error {
	id, _ := body["identity"].(map[string]any)
	given, _ := id["userAssignedIdentities"].(map[string]any)
	if len(given) < 2 {
		return nil
	}
	order, err := identity.OrderOf(rec)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, name := range identity.Sort(keys(given), nil, order) {
		entry, err := json.Marshal(map[string]any{name: given[name]})
		if err != nil {
			return fmt.Errorf("encoding identity %s: %w", name, err)
		}
		b.WriteByte(',')
		b.Write(entry[1 : len(entry)-1])
	}
	id["userAssignedIdentities"] = json.RawMessage("{" + b.String()[1:] + "}")
	return nil
}

// systemIdentity completes body.identity: a system-assigned identity gets a principal once and keeps it.
func systemIdentity(d Deps, p *resource.Put, always bool) error {
	if p.Body["identity"] == nil && !always {
		return nil
	}
	identity, err := object(p.Body, "identity")
	if err != nil {
		return err
	}
	typ, _ := identity["type"].(string)
	if typ == "" && always {
		typ = "SystemAssigned"
	}
	if typ, err = enum("identity.type", typ, "SystemAssigned", "UserAssigned", "SystemAssigned,UserAssigned", "None"); err != nil {
		return err
	}
	identity["type"] = typ
	for _, readOnly := range []string{"principalId", "tenantId", "clientId"} {
		delete(identity, readOnly)
	}
	if typ == "UserAssigned" || typ == "None" {
		return nil
	}
	identity["principalId"], identity["tenantId"] = oldIdentity(p, "principalId"), d.TenantID
	if identity["principalId"] == "" {
		identity["principalId"] = d.newID()
	}
	return nil
}

// oldIdentity is a field of the stored record's identity; "" when there is none.
func oldIdentity(p *resource.Put, name string) string {
	if p.Old == nil {
		return ""
	}
	var body struct {
		Identity map[string]any `json:"identity"`
	}
	if err := unmarshalBody(*p.Old, &body); err != nil {
		return ""
	}
	s, _ := body.Identity[name].(string)
	return s
}
