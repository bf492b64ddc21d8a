package server

import (
	"net/http"
	"net/url"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/resource"
)

// call is a request with its parsed path and query.
type call struct {
	*http.Request
	target
	query map[string]string
}

// serveARM answers every request of the resource manager.
func (s *server) serveARM(w http.ResponseWriter, r *http.Request) error {
	q, err := readQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if q["api-version"] == "" {
		return arm.Errorf(http.StatusBadRequest, "MissingApiVersionParameter", "The api-version query parameter (?api-version=) is required for all requests.")
	}
	t, err := s.parseTarget(r.Method, r.URL.EscapedPath())
	if err != nil {
		return err
	}
	c := &call{Request: r, target: t, query: q}
	switch t.kind {
	case kindResource:
		return s.serveResource(w, c)
	case kindCollection:
		return s.serveCollection(w, c)
	case kindAction:
		return s.serveAction(w, c)
	case kindMetrics, kindMetricDefinitions:
		return s.serveMetrics(w, c)
	case kindLogs, kindLogStreams:
		return s.serveLogs(w, c)
	case kindView:
		return s.serveView(w, c)
	case kindResources:
		return s.serveResources(w, c)
	case kindOperation, kindOperationResult:
		return s.serveOperation(w, c)
	case kindRoleDefinitions:
		return s.serveRoleDefinitions(w, c)
	case kindTenants, kindSubscriptions, kindLocations:
		return s.serveTenancy(w, c)
	}
	return s.serveProviders(w, c)
}

// readQuery keeps the first value of each parameter under its name as given and in lower case: names are in any case.
func readQuery(raw string) (map[string]string, error) {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, arm.Errorf(http.StatusBadRequest, "InvalidQueryParameter", "The query string is not URL-encoded: %s.", err)
	}
	q := make(map[string]string, 2*len(values))
	for k, v := range values {
		q[k] = v[0]
		if low := strings.ToLower(k); q[low] == "" {
			q[low] = v[0]
		}
	}
	return q, nil
}

// check asks whether the caller may do verb (read, write, delete, <name>/action) with a type on a scope.
func (s *server) check(c *call, t *resource.Type, verb, scope string) error {
	return s.cfg.Authorizer.Check(c.Context(), principal(c.Context()), actionName(t, verb), scope)
}

// actionName is the reference's name of a permission. Groups and subscriptions are named as in the reference, one inside the other.
func actionName(t *resource.Type, verb string) string {
	name := t.Namespace + "/" + t.Name
	if t.FullType() == engine.TypeResourceGroup {
		name = "Microsoft.Resources/subscriptions/resourceGroups"
	}
	return name + "/" + verb
}

// origin is the address the client used for this request; links in answers stay on it.
func (s *server) origin(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil || r.Host == s.base.Host && s.base.Scheme == "https" {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// withVersion is an absolute link to path with the request's api-version.
func (s *server) withVersion(c *call, path string) string {
	u := url.URL{Path: path}
	return s.origin(c.Request) + u.EscapedPath() + "?api-version=" + url.QueryEscape(c.query["api-version"])
}
