package cli

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
)

const roleAssignments = "/providers/Microsoft.Authorization/roleAssignments"

var assignmentColumns = cols("Principal=principalId", "PrincipalType=principalType", "Role=roleDefinitionName", "Scope=scope")

func (a *app) role() *cobra.Command {
	return noun("role", "Say who may do what", noun("assignment", "Manage role assignments", a.assignmentCreate(), a.assignmentList(), a.assignmentDelete()))
}

type assignmentFlags struct {
	target
	assignee, principalType, role, scope string
	ids                                  []string
	yes                                  bool
}

func (a *app) assignmentFlags(c *cobra.Command, f *assignmentFlags) {
	a.addGroup(c, &f.target)
	fs := c.Flags()
	fs.StringVar(&f.assignee, "assignee", "", "object `id` of a user, service principal or identity (its principalId), or an identity's client id")
	fs.StringVar(&f.assignee, "assignee-object-id", "", "same as --assignee")
	fs.StringVar(&f.role, "role", "", "`name` or id of the role: Owner, Contributor, Reader")
	fs.StringVar(&f.scope, "scope", "", "resource `id` that the role is for, with all that is in it (default: the group, or the subscription)")
}

// at connects and gives the scope that the flags name.
func (f *assignmentFlags) at(a *app) (*session, string, error) {
	s, err := a.connect()
	if err != nil {
		return nil, "", err
	}
	if f.scope == "" {
		id, err := s.groupID(f.target)
		return s, id.String(), err
	}
	return s, "/" + strings.Trim(f.scope, "/"), nil
}

// roles are the role definitions by lower-case id.
func (s *session) roles(ctx context.Context) (map[string]string, error) {
	defs, err := s.List(ctx, "/subscriptions/"+s.sub+"/providers/Microsoft.Authorization/roleDefinitions", url.Values{"api-version": {apiRoles}}, 0)
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, d := range defs {
		out[strings.ToLower(text(d, "name"))] = text(d, "properties", "roleName")
	}
	return out, nil
}

// roleID finds a role by its name or id.
func roleID(roles map[string]string, asked string) (string, error) {
	last := strings.ToLower(asked[strings.LastIndexByte(asked, '/')+1:])
	var names []string
	for id, name := range roles {
		if id == last || strings.EqualFold(name, asked) {
			return id, nil
		}
		names = append(names, name)
	}
	return "", usagef("argument --role: invalid choice: %q (choose from %s)", asked, strings.Join(slices.Sorted(slices.Values(names)), ", "))
}

// principal is the object id of an assignee: that of a user-assigned identity whose client id was given, else what was given.
func (s *session) principal(ctx context.Context, assignee string) (string, error) {
	if uuid.Validate(assignee) != nil {
		return "", usagef("argument --assignee: %q: want an object id, such as the principalId that 'identity show' or 'ml compute show' prints", assignee)
	}
	all, err := s.List(ctx, "/subscriptions/"+s.sub+identities, url.Values{"api-version": {apiIdentity}}, 0)
	if err != nil {
		return "", err
	}
	for _, i := range all {
		if strings.EqualFold(text(i, "properties", "clientId"), assignee) {
			return text(i, "properties", "principalId"), nil
		}
	}
	return assignee, nil
}

// assignmentShape names the role, as the reference's command line does.
func assignmentShape(roles map[string]string) func(map[string]any) map[string]any {
	return func(r map[string]any) map[string]any {
		out := flat(r)
		def := text(out, "roleDefinitionId")
		out["roleDefinitionName"] = roles[strings.ToLower(def[strings.LastIndexByte(def, '/')+1:])]
		return out
	}
}

func (a *app) assignmentCreate() *cobra.Command {
	var f assignmentFlags
	c := a.leaf(&cobra.Command{
		Use: "create", Short: "Give a principal a role",
		Example: `  fairlead role assignment create --role Reader -g G \
    --assignee "$(fairlead ml compute show -n k8s -g G -w W --query identity.principal_id -o tsv)"`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runAssign(cmd.Context(), f) },
	})
	a.assignmentFlags(c, &f)
	c.Flags().StringVar(&f.principalType, "assignee-principal-type", "", "`type`: User, ServicePrincipal")
	return c
}

func (a *app) runAssign(ctx context.Context, f assignmentFlags) error {
	if err := require(need{"--assignee", f.assignee}, need{"--role", f.role}); err != nil {
		return err
	}
	s, scope, err := f.at(a)
	if err != nil {
		return err
	}
	roles, err := s.roles(ctx)
	if err != nil {
		return err
	}
	role, err := roleID(roles, f.role)
	if err != nil {
		return err
	}
	principal, err := s.principal(ctx, f.assignee)
	if err != nil {
		return err
	}
	props := map[string]any{"principalId": principal, "roleDefinitionId": "/subscriptions/" + s.sub + "/providers/Microsoft.Authorization/roleDefinitions/" + role}
	if f.principalType != "" {
		props["principalType"] = f.principalType
	}
	got, err := s.put(ctx, scope+roleAssignments+"/"+uuid.NewString(), apiRoles, map[string]any{"properties": props}, false)
	if err != nil {
		return err
	}
	return a.print(assignmentShape(roles)(got), assignmentColumns...)
}

// find lists the assignments at a scope that the flags describe.
func (f *assignmentFlags) find(ctx context.Context, s *session, scope string) ([]map[string]any, error) {
	roles, err := s.roles(ctx)
	if err != nil {
		return nil, err
	}
	q, role := url.Values{"api-version": {apiRoles}}, ""
	if f.role != "" {
		if role, err = roleID(roles, f.role); err != nil {
			return nil, err
		}
	}
	if f.assignee != "" {
		principal, err := s.principal(ctx, f.assignee)
		if err != nil {
			return nil, err
		}
		q.Set("$filter", "principalId eq '"+principal+"'")
	}
	items, err := s.List(ctx, scope+roleAssignments, q, 0)
	if err != nil {
		return nil, err
	}
	out := []map[string]any{}
	for _, i := range items {
		if shown := assignmentShape(roles)(i); role == "" || strings.HasSuffix(strings.ToLower(text(shown, "roleDefinitionId")), role) {
			out = append(out, shown)
		}
	}
	return out, nil
}

func (a *app) assignmentList() *cobra.Command {
	var f assignmentFlags
	c := a.leaf(&cobra.Command{
		Use: "list", Short: "List the role assignments at a scope", Example: "  fairlead role assignment list -g G -o table",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, scope, err := f.at(a)
			if err != nil {
				return err
			}
			items, err := f.find(cmd.Context(), s, scope)
			if err != nil {
				return err
			}
			return a.print(items, assignmentColumns...)
		},
	})
	a.assignmentFlags(c, &f)
	return c
}

func (a *app) assignmentDelete() *cobra.Command {
	var f assignmentFlags
	c := a.leaf(&cobra.Command{
		Use: "delete", Short: "Take a role away", Example: "  fairlead role assignment delete --assignee PRINCIPAL --role Reader -g G",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runUnassign(cmd.Context(), f) },
	})
	a.assignmentFlags(c, &f)
	multiVar(c.Flags(), &f.ids, "ids", "one or more `ids` of role assignments")
	addYes(c, &f.yes)
	return c
}

func (a *app) runUnassign(ctx context.Context, f assignmentFlags) error {
	if len(f.ids) == 0 && f.assignee == "" {
		return usagef("the following arguments are required: --assignee or --ids")
	}
	s, scope, err := f.at(a)
	if err != nil {
		return err
	}
	ids := f.ids
	if len(ids) == 0 {
		items, err := f.find(ctx, s, scope)
		if err != nil {
			return err
		}
		for _, i := range items {
			ids = append(ids, text(i, "id"))
		}
		if len(ids) == 0 {
			return usagef("%s has no role assignment at %s that matches; see 'role assignment list'", f.assignee, scope)
		}
	}
	for _, id := range ids {
		if err := s.remove(ctx, "/"+strings.Trim(id, "/"), apiRoles, nil, false); err != nil {
			return err
		}
	}
	return nil
}
