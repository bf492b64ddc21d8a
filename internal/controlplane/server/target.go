package server

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// kind is what a path of the resource manager names.
type kind int

const (
	kindResource kind = iota
	kindCollection
	kindAction
	kindTenants
	kindSubscriptions
	kindLocations
	kindResources // everything in a subscription or a group
	kindProviders
	kindProvider
	kindRegister
	kindProviderOperations
	kindRoleDefinitions
	kindOperation
	kindOperationResult
	kindMetrics
	kindMetricDefinitions
	kindLogs
	kindLogStreams
	kindView
)

// target is a parsed path.
type target struct {
	kind kind
	// id is the resource; for a collection, a list or role definitions it is the scope, and root says that the scope is "/".
	id   arm.ID
	root bool
	// typ is the type of a resource, of a collection's members or of an action's resource.
	typ *resource.Type
	// name is an action's name, a namespace, an operation's id, a role definition's id or that of one entry of a view.
	name string
	// of is the resource whose selection a collection is, and keep says what is in that; nil for a plain collection.
	of   arm.ID
	keep func(store.Record) bool
	// namespace is the provider of an operation.
	namespace string
	// view is the lower-case name of a view.
	view string
}

// parseTarget reads an escaped path.
func (s *server) parseTarget(method, escaped string) (target, error) {
	segs, err := segments(escaped)
	if err != nil {
		return target{}, err
	}
	switch first := strings.ToLower(segs[0]); {
	case first == "tenants" && len(segs) == 1:
		return target{kind: kindTenants}, nil
	case first == "providers":
		return s.parseProviders(method, arm.ID{}, segs, true)
	case first == "subscriptions" && len(segs) == 1:
		return target{kind: kindSubscriptions}, nil
	case first == "subscriptions":
		return s.parseSubscription(method, segs)
	}
	return target{}, noSuchPath(segs)
}

// segments splits and unescapes a path and refuses what could be mistaken for another path. Doubled slashes count as one: clients
// of generic resources write an empty path of parents between two.
func segments(escaped string) ([]string, error) {
	parts := slices.DeleteFunc(strings.Split(escaped, "/"), func(p string) bool { return p == "" })
	if len(parts) == 0 {
		parts = []string{""}
	}
	for i, p := range parts {
		u, err := url.PathUnescape(p)
		if err != nil || u == "" || u == "." || u == ".." || strings.ContainsAny(u, "/\\%?#") || strings.ContainsFunc(u, func(r rune) bool { return r < 0x20 || r == 0x7f }) {
			return nil, arm.Errorf(http.StatusBadRequest, "InvalidResourceId", "The path has a segment that is not allowed: %q. Segments must not be empty, '.' or '..', nor contain / \\ %% ? # or control characters.", p)
		}
		parts[i] = u
	}
	return parts, nil
}

func noSuchPath(segs []string) error {
	return arm.Errorf(http.StatusNotFound, "InvalidResourceType", "There is nothing at '/%s'.", strings.Join(segs, "/"))
}

func (s *server) parseSubscription(method string, segs []string) (target, error) {
	id := arm.ID{Subscription: segs[1]}
	rest := segs[2:]
	if len(rest) == 0 {
		return s.resource(id)
	}
	first := strings.ToLower(rest[0])
	if first == "resourcegroups" {
		if len(rest) == 1 {
			return s.collection(id, "Microsoft.Resources/resourceGroups")
		}
		id.ResourceGroup = rest[1]
		if rest = rest[2:]; len(rest) == 0 {
			return s.resource(id)
		}
		first = strings.ToLower(rest[0])
	}
	switch {
	case first == "providers":
		return s.parseProviders(method, id, rest, false)
	case first == "deployments": // of groups, as the reference writes the path to their operations
		return s.parseProviders(method, id, append([]string{"providers", "Microsoft.Resources"}, rest...), false)
	case first == "resources" && len(rest) == 1:
		return target{kind: kindResources, id: id}, nil
	case first == "locations" && len(rest) == 1 && id.ResourceGroup == "":
		return target{kind: kindLocations, id: id}, nil
	case len(rest) == 1 && method == http.MethodPost:
		return s.action(id, rest[0])
	}
	return target{}, noSuchPath(segs)
}

// parseProviders reads /providers/NS/type/name… one or several times; a type named "providers" does not exist.
func (s *server) parseProviders(method string, id arm.ID, rest []string, root bool) (target, error) {
	for {
		if !strings.EqualFold(rest[0], "providers") {
			return target{}, noSuchPath(append(strings.Split(strings.Trim(id.String(), "/"), "/"), rest...))
		}
		if len(rest) == 1 {
			return target{kind: kindProviders, id: id, root: root}, nil
		}
		ns, parts := rest[1], rest[2:]
		next := 0
		for next < len(parts) && !strings.EqualFold(parts[next], "providers") {
			next += 2
		}
		if next >= len(parts) {
			return s.parseLast(method, id, ns, parts, root)
		}
		if next == 0 {
			return target{}, arm.Errorf(http.StatusBadRequest, "InvalidResourceId", "The path has no type after /providers/%s.", ns)
		}
		id = extend(id, ns, parts[:next])
		rest = parts[next:]
	}
}

// extend adds a provider segment with pairs of type and name.
func extend(id arm.ID, ns string, pairs []string) arm.ID {
	seg := arm.Segment{Namespace: ns}
	for i := 0; i+1 < len(pairs); i += 2 {
		seg.Types = append(seg.Types, pairs[i])
		seg.Names = append(seg.Names, pairs[i+1])
	}
	out := arm.ID{Subscription: id.Subscription, ResourceGroup: id.ResourceGroup}
	out.Segments = append(append(out.Segments, id.Segments...), seg)
	return out
}

func (s *server) parseLast(method string, id arm.ID, ns string, parts []string, root bool) (target, error) {
	n := len(parts)
	if n == 0 {
		return target{kind: kindProvider, id: id, root: root, name: ns}, nil
	}
	low := strings.ToLower(parts[0])
	top := len(id.Segments) == 0 && id.ResourceGroup == ""
	switch {
	case strings.EqualFold(ns, "Microsoft.Authorization") && low == "roledefinitions" && n <= 2:
		t := target{kind: kindRoleDefinitions, id: id, root: root}
		if n == 2 {
			t.name = parts[1]
		}
		return t, nil
	case strings.EqualFold(ns, "Microsoft.Insights") && n == 1 && low == "metrics" && len(id.Segments) > 0:
		return s.about(kindMetrics, id)
	case strings.EqualFold(ns, "Microsoft.Insights") && n == 1 && low == "metricdefinitions" && len(id.Segments) > 0:
		return s.about(kindMetricDefinitions, id)
	case n == 1 && low == "operations" && top:
		return target{kind: kindProviderOperations, id: id, root: root, name: ns}, nil
	case root:
		return target{}, s.cfg.Engine.UnknownType(ns + "/" + parts[0])
	case n == 1 && (low == "register" || low == "unregister") && top && method == http.MethodPost:
		return target{kind: kindRegister, id: id, name: ns, namespace: low}, nil
	case n == 4 && low == "locations" && top && strings.EqualFold(parts[2], "operationStatuses"):
		return target{kind: kindOperation, id: id, namespace: ns, name: parts[3]}, nil
	case n == 4 && low == "locations" && top && strings.EqualFold(parts[2], "operationResults"):
		return target{kind: kindOperationResult, id: id, namespace: ns, name: parts[3]}, nil
	case n%2 == 0:
		if v, ok := s.view(extend(id, ns, parts[:n-2]), parts[n-2]); ok {
			v.name = parts[n-1]
			return v, nil
		}
		if n >= 4 && strings.EqualFold(parts[n-2], "operations") {
			return target{kind: kindOperation, id: extend(id, ns, parts[:n-2]), namespace: ns, name: parts[n-1]}, nil
		}
		return s.resource(extend(id, ns, parts))
	}
	return s.parseOdd(method, id, ns, parts)
}

// parseOdd tells a collection from an action: both end in a word without a name.
func (s *server) parseOdd(method string, id arm.ID, ns string, parts []string) (target, error) {
	var types []string
	for i := 0; i < len(parts); i += 2 {
		types = append(types, parts[i])
	}
	full := ns + "/" + strings.Join(types, "/")
	scope := id
	if len(parts) > 1 {
		scope = extend(id, ns, parts[:len(parts)-1])
	}
	if _, ok := s.cfg.Engine.Registry.Lookup(full); ok {
		return s.collection(scope, full)
	}
	if len(parts) > 1 {
		if t, ok := s.cfg.Engine.Registry.Lookup(scope.Type()); ok {
			if k, isLogs := logKinds[strings.ToLower(parts[len(parts)-1])]; isLogs && (t.LogsOf != nil || k == kindLogs && t.LiveLogs != nil) {
				return s.about(k, scope)
			}
			if sel, ok := t.Selections[strings.ToLower(parts[len(parts)-1])]; ok && method != http.MethodPost {
				return s.selection(scope, sel)
			}
			if v, ok := s.view(scope, parts[len(parts)-1]); ok {
				return v, nil
			}
			_, isAction := t.Actions[strings.ToLower(parts[len(parts)-1])]
			if isAction || method == http.MethodPost {
				return s.action(scope, parts[len(parts)-1])
			}
		}
	}
	return target{}, s.cfg.Engine.UnknownType(full)
}

func (s *server) resource(id arm.ID) (target, error) {
	t, err := s.cfg.Engine.TypeOf(id)
	if err != nil {
		return target{}, err
	}
	return target{kind: kindResource, id: id, typ: t}, checkLength(id)
}

func (s *server) collection(scope arm.ID, full string) (target, error) {
	t, ok := s.cfg.Engine.Registry.Lookup(full)
	if !ok {
		return target{}, s.cfg.Engine.UnknownType(full)
	}
	return target{kind: kindCollection, id: scope, typ: t}, checkLength(scope)
}

// selection is a list of the resources beside one, or beside one that it is below, that belong to it.
func (s *server) selection(of arm.ID, v resource.Selection) (target, error) {
	parent, up := of.Parent()
	for nested := strings.Count(v.Type, "/") > 1; nested && up && !strings.HasPrefix(v.Type, strings.ToLower(parent.Type())+"/"); {
		parent, up = parent.Parent()
	}
	t, err := s.collection(parent, v.Type)
	t.of, t.keep = of, func(rec store.Record) bool { return v.Keep(of, rec) }
	return t, err
}

func (s *server) action(id arm.ID, name string) (target, error) {
	t, err := s.cfg.Engine.TypeOf(id)
	if err != nil {
		return target{}, err
	}
	return target{kind: kindAction, id: id, typ: t, name: name}, checkLength(id)
}

// about is what belongs to a resource and is no resource itself.
func (s *server) about(k kind, id arm.ID) (target, error) {
	t, err := s.resource(id)
	t.kind = k
	return t, err
}

// view is a list below a resource, if its type has one of that name.
func (s *server) view(id arm.ID, name string) (target, bool) {
	t, err := s.resource(id)
	if err != nil || t.typ.Views[strings.ToLower(name)] == nil {
		return target{}, false
	}
	t.kind, t.view = kindView, strings.ToLower(name)
	return t, true
}

func checkLength(id arm.ID) error {
	if _, err := arm.ParseID(id.String()); err != nil {
		return &arm.Error{Status: http.StatusBadRequest, Code: "InvalidResourceId", Message: fmt.Sprintf("The path is not a resource id: %s.", err)}
	}
	return nil
}
