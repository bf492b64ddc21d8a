package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// serveCollection lists the resources of one type: in their parent, in a resource group, or in a whole subscription.
func (s *server) serveCollection(w http.ResponseWriter, c *call) error {
	if err := allow(c.Request, http.MethodGet); err != nil {
		return err
	}
	wide, err := s.listScope(c)
	if err != nil {
		return err
	}
	req := engine.ListRequest{Types: []*resource.Type{c.typ}, Query: c.query}
	if by := c.typ.SearchBy; by != "" && c.query[by] != "" {
		c.id, _ = c.id.Parent()
		wide = true
	}
	if wide {
		req.Prefix = c.id.Key() + "/"
	} else {
		req.Parent = c.id.Key()
	}
	return s.sendList(w, c, req, actionName(c.typ, "read"))
}

// listScope checks that the type may be listed at the scope; wide means that it is not the members' direct parent.
func (s *server) listScope(c *call) (wide bool, err error) {
	n := len(c.id.Segments)
	depth := strings.Count(c.typ.Name, "/")
	extension := len(c.typ.Extends) > 0
	bad := arm.Errorf(http.StatusNotFound, "InvalidResourceType", "The resource type '%s/%s' is not listed at '%s'.", c.typ.Namespace, c.typ.Name, c.id)
	switch {
	case c.typ.FullType() == engine.TypeResourceGroup:
		return false, nil
	case n == 0 && depth > 0:
		return false, bad
	case n == 0 && extension:
		return true, nil
	case n == 0:
		return c.id.ResourceGroup == "", nil
	case depth > 0:
		return false, nil
	case !extension:
		return false, bad
	}
	for _, x := range c.typ.Extends {
		if x == engine.AnyScope || strings.EqualFold(x, c.id.Type()) {
			return false, nil
		}
	}
	return false, bad
}

var typeFilter = regexp.MustCompile(`(?i)^\s*resourceType\s+eq\s+'([^']+)'\s*$`)

// serveResources lists everything in a subscription or a group; $filter=resourceType eq '…' (several with "or") narrows it.
func (s *server) serveResources(w http.ResponseWriter, c *call) error {
	if err := allow(c.Request, http.MethodGet); err != nil {
		return err
	}
	req := engine.ListRequest{Query: map[string]string{}, Prefix: c.id.Key() + "/"}
	wanted, err := wantedTypes(c.query["$filter"])
	if err != nil {
		return err
	}
	for _, t := range s.cfg.Engine.Registry.All() {
		top := !strings.Contains(t.Name, "/") && len(t.Extends) == 0
		if strings.EqualFold(t.Namespace, "Microsoft.Resources") || wanted == nil && !top || wanted != nil && !wanted[t.FullType()] {
			continue
		}
		req.Types = append(req.Types, t)
	}
	return s.sendList(w, c, req, "Microsoft.Resources/subscriptions/resources/read")
}

func wantedTypes(filter string) (map[string]bool, error) {
	if strings.TrimSpace(filter) == "" {
		return nil, nil
	}
	out := map[string]bool{}
	for part := range strings.SplitSeq(filter, " or ") {
		m := typeFilter.FindStringSubmatch(part)
		if m == nil {
			return nil, arm.Errorf(http.StatusBadRequest, "InvalidFilterInQueryString", "The $filter '%s' is not understood. Write resourceType eq 'Namespace/type', several joined by ' or '.", filter)
		}
		out[strings.ToLower(m[1])] = true
	}
	return out, nil
}

// sendList answers with a page of what the caller may see.
func (s *server) sendList(w http.ResponseWriter, c *call, req engine.ListRequest, action string) error {
	ctx := c.Context()
	var err error
	if req.Keep, err = s.visible(c, action); err != nil {
		return err
	}
	if err := s.scopeExists(c); err != nil {
		return err
	}
	if c.keep != nil {
		if _, err := s.cfg.Engine.Get(ctx, s.cfg.Engine.Store, c.of); err != nil {
			return err
		}
		req.Keep = both(req.Keep, c.keep)
	}
	if req.Top, err = top(c.query["$top"]); err != nil {
		return err
	}
	param := "$skipToken"
	if tok := c.query["$skip"]; tok != "" {
		param, req.Token = "$skip", tok
	} else {
		req.Token = c.query["$skiptoken"]
	}
	page, err := s.cfg.Engine.List(ctx, s.cfg.Engine.Store, req)
	if err != nil {
		return err
	}
	out := arm.Page{Value: make([]json.RawMessage, 0, len(page.Records))}
	for _, rec := range page.Records {
		body, err := s.cfg.Engine.Show(ctx, s.cfg.Engine.Store, rec)
		if err != nil {
			return err
		}
		raw, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encoding %s: %w", rec.Key, err)
		}
		out.Value = append(out.Value, raw)
	}
	if page.Next != "" {
		out.NextLink = s.nextLink(c, param, page.Next)
	}
	return s.json(w, http.StatusOK, out)
}

// both keeps what both keep; a keeps all when it is nil.
func both(a, b func(store.Record) bool) func(store.Record) bool {
	return func(rec store.Record) bool { return (a == nil || a(rec)) && b(rec) }
}

func (s *server) nextLink(c *call, param, token string) string {
	q, _ := url.ParseQuery(c.URL.RawQuery)
	for k := range q {
		if strings.EqualFold(k, "$skip") || strings.EqualFold(k, "$skipToken") {
			q.Del(k)
		}
	}
	q.Set(param, token)
	return s.origin(c.Request) + c.URL.EscapedPath() + "?" + q.Encode()
}

func top(s string) (int, error) {
	if s == "" {
		return engine.DefaultPage, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > engine.MaxPage {
		return 0, arm.Errorf(http.StatusBadRequest, "InvalidTop", "$top is '%s'; it must be a number from 1 to %d.", s, engine.MaxPage)
	}
	return n, nil
}

// visible gives nil to those who may read everything at the scope, a filter to those who may read something in it, and a
// refusal to others.
func (s *server) visible(c *call, action string) (func(store.Record) bool, error) {
	ctx, p, scope := c.Context(), principal(c.Context()), c.id.Key()
	if c.kind == kindSubscriptions {
		scope = "/"
	}
	refused := s.cfg.Authorizer.Check(ctx, p, action, scope)
	if ae, ok := errors.AsType[*arm.Error](refused); !ok || ae.Status != http.StatusForbidden {
		return nil, refused
	}
	if sees, err := s.cfg.Authorizer.Sees(ctx, p, scope); err != nil || !sees && c.kind != kindSubscriptions {
		return nil, errors.Join(err, refused)
	}
	return func(rec store.Record) bool {
		if rec.Type == engine.TypeSubscription || rec.Type == engine.TypeResourceGroup {
			ok, err := s.cfg.Authorizer.Sees(ctx, p, rec.Key)
			return ok && err == nil
		}
		return s.cfg.Authorizer.Check(ctx, p, action, rec.Key) == nil
	}, nil
}

// scopeExists explains a list in something that does not exist.
func (s *server) scopeExists(c *call) error {
	if c.kind == kindSubscriptions {
		return nil
	}
	_, err := s.cfg.Engine.Store.Get(c.Context(), c.id.Key())
	if err == nil {
		return nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("reading %s: %w", c.id.Key(), err)
	}
	if parent, ok := c.id.Parent(); ok && c.typ != nil && c.typ.EmptyWithoutParent {
		_, err := s.cfg.Engine.Get(c.Context(), s.cfg.Engine.Store, parent)
		return err
	}
	if c.typ == nil || len(c.id.Segments) == 0 {
		return s.cfg.Engine.Missing(c.Context(), c.id, "read")
	}
	var member arm.ID
	if len(c.typ.Extends) > 0 {
		member = extend(c.id, c.typ.Namespace, []string{c.typ.Name, "x"})
	} else {
		last := c.typ.Name[strings.LastIndex(c.typ.Name, "/")+1:]
		member = c.id.Child(last, "x")
	}
	return s.cfg.Engine.Missing(c.Context(), member, "read")
}
