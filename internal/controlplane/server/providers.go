package server

import (
	"net/http"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/authz"
	"fairlead.dev/fairlead/internal/controlplane/engine"
)

// alsoRegistered are providers that clients of the reference ask for before they begin; they have no types here.
var alsoRegistered = []string{"Microsoft.ExtendedLocation"}

// serveProviders answers with what the registry holds: every provider is registered, always.
func (s *server) serveProviders(w http.ResponseWriter, c *call) error {
	if c.kind == kindRegister {
		if err := s.cfg.Authorizer.Check(c.Context(), principal(c.Context()), c.name+"/"+c.namespace+"/action", c.id.Key()); err != nil {
			return err
		}
	} else if err := allow(c.Request, http.MethodGet); err != nil {
		return err
	}
	if err := s.requireSubscription(c, "Microsoft.Resources/subscriptions/providers/read"); err != nil {
		return err
	}
	if len(c.id.Segments) > 0 || c.id.ResourceGroup != "" {
		return arm.Errorf(http.StatusNotFound, "InvalidResourceType", "Providers are listed at /subscriptions/%s/providers, not at '%s'.", c.id.Subscription, c.id)
	}
	switch c.kind {
	case kindProviders:
		var list []map[string]any
		for _, ns := range append(s.cfg.Engine.Namespaces(), alsoRegistered...) {
			list = append(list, s.provider(c, ns))
		}
		return s.json(w, http.StatusOK, map[string]any{"value": list})
	case kindProviderOperations:
		return s.json(w, http.StatusOK, map[string]any{"value": []any{}})
	}
	ns, ok := provided(s.cfg.Engine, c.name)
	for _, also := range alsoRegistered {
		if strings.EqualFold(also, c.name) {
			ns, ok = also, true
		}
	}
	if !ok {
		return s.cfg.Engine.UnknownType(c.name + "/")
	}
	if c.namespace == "unregister" {
		return arm.Errorf(http.StatusConflict, "CannotUnregisterProvider", "The provider '%s' is part of this server and stays registered.", ns)
	}
	return s.json(w, http.StatusOK, s.provider(c, ns))
}

func (s *server) provider(c *call, ns string) map[string]any {
	id := "/providers/" + ns
	if !c.root {
		id = arm.ID{Subscription: c.id.Subscription}.String() + id
	}
	types := []map[string]any{}
	for _, t := range s.cfg.Engine.Registry.All() {
		if !strings.EqualFold(t.Namespace, ns) {
			continue
		}
		types = append(types, map[string]any{"resourceType": t.Name, "apiVersions": t.APIVersions, "locations": s.cfg.Locations, "capabilities": "None"})
	}
	return map[string]any{"id": id, "namespace": ns, "registrationState": "Registered", "registrationPolicy": "RegistrationFree", "resourceTypes": types}
}

// serveRoleDefinitions lists the built-in roles, or shows one.
func (s *server) serveRoleDefinitions(w http.ResponseWriter, c *call) error {
	if err := allow(c.Request, http.MethodGet); err != nil {
		return err
	}
	if err := s.requireSubscription(c, "Microsoft.Authorization/roleDefinitions/read"); err != nil {
		return err
	}
	scope := ""
	if !c.root {
		scope = arm.ID{Subscription: c.id.Subscription}.String()
	}
	if c.name != "" {
		d, err := authz.FindDefinition(scope, c.name)
		if err != nil {
			return err
		}
		return s.json(w, http.StatusOK, d)
	}
	value := []any{}
	for _, r := range authz.Roles() {
		if f := c.query["$filter"]; f != "" && strings.Contains(strings.ToLower(f), "rolename") && !strings.Contains(strings.ToLower(f), "'"+strings.ToLower(r.Name)+"'") {
			continue
		}
		value = append(value, r.Definition(scope))
	}
	return s.json(w, http.StatusOK, map[string]any{"value": value})
}

// serveTenancy answers what a client asks right after it has logged in.
func (s *server) serveTenancy(w http.ResponseWriter, c *call) error {
	if err := allow(c.Request, http.MethodGet); err != nil {
		return err
	}
	switch c.kind {
	case kindTenants:
		p := principal(c.Context())
		if p.Kind == "Agent" || p.Kind == "Extension" || p.Kind == "Run" {
			return authz.Refusal(p, "Microsoft.Resources/tenants/read", "/")
		}
		return s.json(w, http.StatusOK, map[string]any{"value": []any{map[string]any{
			"id": "/tenants/" + s.cfg.TenantID, "tenantId": s.cfg.TenantID, "displayName": "Fairlead", "tenantCategory": "Home", "defaultDomain": s.base.Hostname(), "domains": []string{s.base.Hostname()},
		}}})
	case kindLocations:
		if err := s.requireSubscription(c, "Microsoft.Resources/subscriptions/locations/read"); err != nil {
			return err
		}
		value := []any{}
		for _, l := range s.cfg.Locations {
			value = append(value, map[string]any{"id": c.id.String() + "/locations/" + l, "subscriptionId": c.id.Subscription, "name": l, "displayName": strings.ToUpper(l[:1]) + l[1:], "regionalDisplayName": l,
				"type": "Region", "metadata": map[string]any{"regionType": "Physical", "regionCategory": "Recommended"}})
		}
		return s.json(w, http.StatusOK, map[string]any{"value": value})
	}
	t, ok := s.cfg.Engine.Registry.Lookup(engine.TypeSubscription)
	if !ok {
		return s.json(w, http.StatusOK, map[string]any{"value": []any{}})
	}
	c.typ = t
	return s.sendList(w, c, engine.ListRequest{Types: sliceOf(t)}, "Microsoft.Resources/subscriptions/read")
}

func sliceOf[T any](v T) []T { return []T{v} }
