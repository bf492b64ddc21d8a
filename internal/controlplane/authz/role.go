// Package authz decides what a principal may do. Roles are assigned on a scope and hold for everything in it; agents, the
// components of extensions and runs have no roles but a fixed reach.
package authz

import (
	"strings"

	"fairlead.dev/fairlead/api/arm"
)

// Role is a built-in role. Ids are those the reference uses, so that scripts with ids in them go on working.
type Role struct {
	ID, Name, Description string
	// Actions and NotActions are the reference's patterns, for display; Allows decides.
	Actions, NotActions []string
}

// The built-in roles.
var (
	Owner = Role{ID: "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", Name: "Owner",
		Description: "Grants full access to manage all resources, including the ability to assign roles.", Actions: []string{"*"}}
	Contributor = Role{ID: "b24988ac-6180-42a0-ab88-20f7382dd24c", Name: "Contributor",
		Description: "Grants full access to manage all resources, but does not allow you to assign roles.", Actions: []string{"*"},
		NotActions: []string{"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write"}}
	Reader = Role{ID: "acdd72a7-3385-48ef-bd42-f606fba81ae7", Name: "Reader",
		Description: "View all resources, but does not allow you to make any changes.", Actions: []string{"*/read"}}
)

// Roles lists the built-in roles.
func Roles() []Role { return []Role{Owner, Contributor, Reader} }

// RoleByID finds a role by its id or by a role definition's resource id.
func RoleByID(id string) (Role, bool) {
	id = strings.ToLower(id[strings.LastIndex(id, "/")+1:])
	for _, r := range Roles() {
		if r.ID == id {
			return r, true
		}
	}
	return Role{}, false
}

// Allows reports whether the role permits an action: "Namespace/type/read", "…/write", "…/delete" or "…/<name>/action"; the
// short forms "read", "write", "delete" and "secret" mean any type's.
func (r Role) Allows(action string) bool {
	a := strings.ToLower(action)
	switch r.ID {
	case Owner.ID:
		return true
	case Contributor.ID:
		return !strings.HasPrefix(a, "microsoft.authorization/") || isRead(a)
	case Reader.ID:
		return isRead(a)
	}
	return false
}

func isRead(a string) bool { return a == "read" || strings.HasSuffix(a, "/read") }

// Definition is the role definition resource of a role as seen from a scope (a resource id without trailing slash, or "").
func (r Role) Definition(scope string) map[string]any {
	notActions := r.NotActions
	if notActions == nil {
		notActions = []string{}
	}
	return map[string]any{
		"id":   strings.TrimSuffix(scope, "/") + "/providers/Microsoft.Authorization/roleDefinitions/" + r.ID,
		"name": r.ID,
		"type": "Microsoft.Authorization/roleDefinitions",
		"properties": map[string]any{
			"roleName": r.Name, "description": r.Description, "type": "BuiltInRole", "assignableScopes": []string{"/"},
			"permissions": []map[string]any{{"actions": r.Actions, "notActions": notActions, "dataActions": []string{}, "notDataActions": []string{}}},
		},
	}
}

// FindDefinition is the definition with the given id, or the reference's error.
func FindDefinition(scope, id string) (map[string]any, error) {
	r, ok := RoleByID(id)
	if !ok {
		return nil, arm.Errorf(404, "RoleDefinitionDoesNotExist", "The specified role definition with ID '%s' does not exist. There are: %s.", id, roleNames())
	}
	return r.Definition(scope), nil
}

func roleNames() string {
	var b []string
	for _, r := range Roles() {
		b = append(b, r.Name+" ("+r.ID+")")
	}
	return strings.Join(b, ", ")
}
