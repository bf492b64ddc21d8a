package authz

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// TypeAssignment is the full type of role assignments, in lower case.
const TypeAssignment = "microsoft.authorization/roleassignments"

// assignment is a role assignment's properties.
type assignment struct {
	PrincipalID      string `json:"principalId"`
	RoleDefinitionID string `json:"roleDefinitionId"`
	// Scope is "/" or the id of the subscription, group or resource the assignment stands on.
	Scope string `json:"scope"`
}

var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

// Type is the registry entry of role assignments: an extension of every scope.
func (a *Authorizer) Type() *resource.Type {
	return &resource.Type{
		Namespace: "Microsoft.Authorization", Name: "roleAssignments", Extends: []string{"*"},
		APIVersions: []string{"2022-04-01", "2020-04-01-preview", "2018-01-01-preview", "2015-07-01"},
		NameRule:    guid, NameHelp: "it must be a GUID, for example " + uuid.Nil.String(),
		NoProvisioningState: true,
		Admit:               a.admit,
		Filter:              filter,
	}
}

func (a *Authorizer) admit(ctx context.Context, p *resource.Put) error {
	props, _ := p.Body["properties"].(map[string]any)
	principal, _ := props["principalId"].(string)
	role, _ := props["roleDefinitionId"].(string)
	if !guid.MatchString(principal) {
		return arm.Invalid("properties.principalId", "properties.principalId is '%s'; it must be the object id (a GUID) of a user, service principal or identity.", principal)
	}
	r, ok := RoleByID(role)
	if !ok {
		return arm.Invalid("properties.roleDefinitionId", "properties.roleDefinitionId is '%s'; it must be the id of one of: %s.", role, roleNames())
	}
	if p.Old != nil {
		var old struct {
			Properties assignment `json:"properties"`
		}
		if err := json.Unmarshal(p.Old.Body, &old); err != nil {
			return fmt.Errorf("decoding %s: %w", p.Old.Key, err)
		}
		if !strings.EqualFold(old.Properties.PrincipalID, principal) || roleID(old.Properties.RoleDefinitionID) != r.ID {
			return arm.Errorf(http.StatusConflict, "RoleAssignmentUpdateNotPermitted", "Role and principal of the role assignment '%s' can't be changed. Delete it and make another.", p.ID.Name())
		}
	}
	if err := a.unique(ctx, p, principal, r); err != nil {
		return err
	}
	parent, _ := p.ID.Parent()
	kind, _ := props["principalType"].(string)
	if kind == "" {
		kind = "ServicePrincipal"
	}
	p.Body = mustReplace(p.Body, map[string]any{
		"principalId": strings.ToLower(principal), "principalType": kind, "scope": parent.String(),
		"roleDefinitionId": "/subscriptions/" + p.ID.Subscription + "/providers/Microsoft.Authorization/roleDefinitions/" + r.ID,
		"description":      props["description"],
	})
	p.AfterCommit = append(p.AfterCommit, a.Invalidate)
	return nil
}

func mustReplace(body map[string]any, props map[string]any) map[string]any {
	if props["description"] == nil {
		delete(props, "description")
	}
	clear(body)
	body["properties"] = props
	return body
}

// unique refuses a second assignment of the same role to the same principal on the same scope.
func (a *Authorizer) unique(ctx context.Context, p *resource.Put, principal string, r Role) error {
	parent, _ := p.ID.Parent()
	recs, err := p.Tx.List(ctx, store.Query{Type: TypeAssignment, Parent: parent.Key(), Limit: 1000})
	if err != nil {
		return fmt.Errorf("listing role assignments of %s: %w", parent.Key(), err)
	}
	for _, rec := range recs {
		as, err := decode(rec)
		if err != nil {
			return err
		}
		if rec.Key != p.ID.Key() && strings.EqualFold(as.PrincipalID, principal) && roleID(as.RoleDefinitionID) == r.ID {
			return arm.Errorf(http.StatusConflict, "RoleAssignmentExists", "The role assignment already exists. The ID of the existing role assignment is %s.", strings.ReplaceAll(rec.Name, "-", ""))
		}
	}
	return nil
}

func roleID(definition string) string {
	return strings.ToLower(definition[strings.LastIndex(definition, "/")+1:])
}

func decode(rec store.Record) (assignment, error) {
	var v struct {
		Properties assignment `json:"properties"`
	}
	if err := json.Unmarshal(rec.Body, &v); err != nil {
		return assignment{}, fmt.Errorf("decoding %s: %w", rec.Key, err)
	}
	return v.Properties, nil
}

var principalFilter = regexp.MustCompile(`(?i)^\s*(?:principalId\s+eq\s+'([^']+)'|assignedTo\('([^']+)'\)|atScope\(\))\s*$`)

// filter understands $filter=principalId eq '…', assignedTo('…') and atScope().
func filter(q map[string]string, rec store.Record) bool {
	for part := range strings.SplitSeq(q["$filter"], " and ") {
		m := principalFilter.FindStringSubmatch(part)
		if m == nil || m[1]+m[2] == "" {
			continue
		}
		if as, err := decode(rec); err != nil || !strings.EqualFold(as.PrincipalID, m[1]+m[2]) {
			return false
		}
	}
	return true
}

// rootPrefix begins the ids of assignments on everything.
const rootPrefix = "/providers/Microsoft.Authorization/roleAssignments/"

// HasRoot reports whether a principal has a role on everything.
func HasRoot(ctx context.Context, r store.Reader, principalID string) (bool, error) {
	recs, err := r.List(ctx, store.Query{Type: TypeAssignment, AnyParent: true, Prefix: strings.ToLower(rootPrefix), Limit: 1000})
	if err != nil {
		return false, fmt.Errorf("listing role assignments: %w", err)
	}
	for _, rec := range recs {
		a, err := decode(rec)
		if err != nil {
			return false, err
		}
		if strings.EqualFold(a.PrincipalID, principalID) {
			return true, nil
		}
	}
	return false, nil
}

// Unassign takes all roles from a principal that is removed.
func Unassign(ctx context.Context, tx store.Tx, principalID string) error {
	for after := int64(0); ; {
		recs, err := tx.List(ctx, store.Query{Type: TypeAssignment, AnyParent: true, After: after, Limit: 1000})
		if err != nil {
			return fmt.Errorf("listing role assignments: %w", err)
		}
		for _, rec := range recs {
			after = rec.Seq
			as, err := decode(rec)
			if err == nil && strings.EqualFold(as.PrincipalID, principalID) {
				err = tx.Delete(ctx, rec.Key)
			}
			if err != nil {
				return fmt.Errorf("taking roles from %s: %w", principalID, err)
			}
		}
		if len(recs) < 1000 {
			return nil
		}
	}
}

// AssignRoot gives a principal a role on everything. Such assignments are made by the control plane itself, never by request.
func AssignRoot(ctx context.Context, tx store.Tx, principalID string, r Role, now time.Time) error {
	name := uuid.NewString()
	body, err := json.Marshal(map[string]any{"properties": map[string]any{
		"principalId": strings.ToLower(principalID), "principalType": "ServicePrincipal", "scope": "/",
		"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/" + r.ID,
	}})
	if err != nil {
		return fmt.Errorf("encoding role assignment: %w", err)
	}
	id := rootPrefix + name
	_, err = tx.Put(ctx, store.Record{Key: strings.ToLower(id), ID: id, Type: TypeAssignment, Name: name, Body: body,
		CreatedAt: now, UpdatedAt: now, CreatedBy: "fairlead", UpdatedBy: "fairlead"})
	if err != nil {
		return fmt.Errorf("writing role assignment: %w", err)
	}
	return nil
}
