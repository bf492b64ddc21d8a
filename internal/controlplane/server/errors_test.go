package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// TestErrors is the catalogue of what users can get wrong, with the exact answers in testdata/errors.json.
func TestErrors(t *testing.T) {
	e := newEnv(t)
	e.must(201, "PUT", box, `{"location":"local","properties":{}}`)
	long := strings.Repeat("x", 300)
	cases := []struct {
		name, method, path, body string
		headers                  []string
	}{
		{"no token", "GET", box, "", []string{"as: -"}},
		{"not a bearer token", "GET", box, "", []string{"as: -", "Authorization: Basic abc"}},
		{"wrong token", "GET", box, "", []string{"as: nonsense"}},
		{"expired token", "GET", box, "", []string{"as: expired"}},
		{"reader writes", "PUT", box, `{}`, []string{"as: reader"}},
		{"reader lists keys", "POST", box + "/listKeys", "", []string{"as: reader"}},
		{"contributor assigns roles", "PUT", group + "/providers/Microsoft.Authorization/roleAssignments/00000000-0000-0000-0000-000000000009", `{}`, []string{"as: contributor"}},
		{"contributor outside the group", "PUT", sub + "/resourceGroups/rg2", `{}`, []string{"as: contributor"}},
		{"stranger reads", "GET", box, "", []string{"as: stranger"}},
		{"agent reads another resource", "GET", group, "", []string{"as: agent"}},
		{"agent writes its own", "PUT", box, `{}`, []string{"as: agent"}},
		{"agent lists subscriptions' providers", "GET", sub + "/providers", "", []string{"as: agent"}},
		{"run reads its own", "GET", box, "", []string{"as: run"}},
		{"no api-version", "GET", box + "?noversion", "", nil},
		{"empty api-version", "GET", box + "?api-version=", "", nil},
		{"unknown subscription", "GET", "/subscriptions/22222222/resourceGroups/rg", "", nil},
		{"unknown group", "GET", sub + "/resourceGroups/none/providers/Fairlead.Test/boxes/b", "", nil},
		{"put in unknown group", "PUT", sub + "/resourceGroups/none/providers/Fairlead.Test/boxes/b", `{}`, nil},
		{"unknown resource", "GET", group + "/providers/Fairlead.Test/boxes/none", "", nil},
		{"unknown parent", "GET", group + "/providers/Fairlead.Test/boxes/none/models/m", "", nil},
		{"list in unknown parent", "GET", group + "/providers/Fairlead.Test/boxes/none/models", "", nil},
		{"list in unknown group", "GET", sub + "/resourceGroups/none/providers/Fairlead.Test/boxes", "", nil},
		{"unknown namespace", "GET", group + "/providers/Fairlead.Nope/boxes/b", "", nil},
		{"unknown type", "GET", group + "/providers/Fairlead.Test/cubes/b", "", nil},
		{"unknown nested type", "GET", box + "/lids", "", nil},
		{"unknown action", "POST", box + "/explode", "", nil},
		{"unknown provider", "GET", sub + "/providers/Fairlead.Nope", "", nil},
		{"unknown operation", "GET", sub + "/providers/Fairlead.Test/locations/local/operationStatuses/none", "", nil},
		{"type without group", "PUT", sub + "/providers/Fairlead.Test/boxes/b", `{}`, nil},
		{"name out of rule", "PUT", group + "/providers/Fairlead.Test/boxes/Not_A_Name", `{}`, nil},
		{"name too long", "PUT", group + "/providers/Fairlead.Test/slow/" + long, `{}`, nil},
		{"patch of nothing", "PATCH", group + "/providers/Fairlead.Test/boxes/none", `{}`, nil},
		{"put of a collection", "PUT", group + "/providers/Fairlead.Test/boxes", `{}`, nil},
		{"post on a resource", "POST", box, `{}`, nil},
		{"get of an action", "GET", box + "/listKeys", "", nil},
		{"delete of providers", "DELETE", sub + "/providers", "", nil},
		{"no body", "PUT", box, "", nil},
		{"not json", "PUT", box, "{\n  \"properties\": {\n    \"inputs\": [1, {\"uri\": oops}]\n  }\n}", nil},
		{"cut off", "PUT", box, `{"properties":{"size":`, nil},
		{"trailing text", "PUT", box, `{} {}`, nil},
		{"an array", "PUT", box, `[1]`, nil},
		{"null", "PUT", box, `null`, nil},
		{"not utf-8", "PUT", box, "{\"a\":\"\xff\"}", nil},
		{"wrong content type", "PUT", box, `{}`, []string{"Content-Type: text/yaml"}},
		{"properties of the wrong kind", "PUT", box, `{"properties":[]}`, nil},
		{"tag of the wrong kind", "PUT", box, `{"tags":{"a":1}}`, nil},
		{"location of the wrong kind", "PUT", box, `{"location":1}`, nil},
		{"type's own check", "PUT", box, `{"properties":{"color":"green"}}`, nil},
		{"another location", "PUT", box, `{"location":"edge","properties":{}}`, nil},
		{"huge body", "PUT", box, `{"properties":{"x":"` + strings.Repeat("x", maxBody) + `"}}`, nil},
		{"dots in the path", "GET", sub + "/resourceGroups/%2e%2e/providers", "", nil},
		{"slash in a name", "GET", group + "/providers/Fairlead.Test/boxes/a%2Fb", "", nil},
		{"control character", "GET", sub + "/resourceGroups/a%00b", "", nil},
		{"path too long", "GET", sub + "/resourceGroups/" + strings.Repeat("y", maxPath), "", nil},
		{"bad query", "GET", box + "?api-version=1&x=%zz", "", nil},
		{"bad filter", "GET", sub + "/resources?$filter=x", "", nil},
		{"bad token of a list", "GET", group + "/providers/Fairlead.Test/boxes?$skipToken=xyz", "", nil},
		{"bad top", "GET", group + "/providers/Fairlead.Test/boxes?$top=many", "", nil},
		{"unregister", "POST", sub + "/providers/Fairlead.Test/unregister", "", nil},
		{"assignment of an unknown role", "PUT", group + "/providers/Microsoft.Authorization/roleAssignments/00000000-0000-0000-0000-00000000000a",
			`{"properties":{"principalId":"aaaaaaaa-0000-0000-0000-000000000004","roleDefinitionId":"Boss"}}`, nil},
		{"the same assignment twice", "PUT", group + "/providers/Microsoft.Authorization/roleAssignments/00000000-0000-0000-0000-00000000000b",
			`{"properties":{"principalId":"` + principals["reader"].ID + `","roleDefinitionId":"acdd72a7-3385-48ef-bd42-f606fba81ae7"}}`, nil},
		{"elsewhere", "GET", "/nowhere", "", nil},
	}
	type line struct {
		Name    string          `json:"name"`
		Request string          `json:"request"`
		Status  int             `json:"status"`
		Allow   string          `json:"allow,omitempty"`
		Body    json.RawMessage `json:"body"`
	}
	var lines []line
	for _, c := range cases {
		a := e.do(c.method, c.path, c.body, c.headers...)
		if a.status < 400 || a.status == 500 {
			t.Errorf("%s: status %d\n%s", c.name, a.status, a.body)
			continue
		}
		if a.header.Get("x-ms-request-id") == "" || a.header.Get("Content-Type") != "application/json; charset=utf-8" {
			t.Errorf("%s: headers %v", c.name, a.header)
		}
		if (a.status == 401) != (a.header.Get("WWW-Authenticate") != "") {
			t.Errorf("%s: WWW-Authenticate %q with status %d", c.name, a.header.Get("WWW-Authenticate"), a.status)
		}
		path := strings.ReplaceAll(strings.ReplaceAll(c.path, long, "xxx…"), strings.Repeat("y", maxPath), "yyy…")
		body := strings.ReplaceAll(strings.ReplaceAll(a.body, long, "xxx…"), strings.Repeat("y", maxPath), "yyy…")
		lines = append(lines, line{c.name, c.method + " " + path, a.status, a.header.Get("Allow"), json.RawMessage(body)})
	}
	raw, err := json.Marshal(lines)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "errors.json", string(raw))
}

func TestRequestIDs(t *testing.T) {
	e := newEnv(t)
	a := e.must(200, "GET", "/subscriptions", "", "x-ms-client-request-id: mine", "x-ms-return-client-request-id: true", "x-ms-correlation-request-id: theirs")
	if a.header.Get("x-ms-client-request-id") != "mine" || a.header.Get("x-ms-correlation-request-id") != "theirs" || a.header.Get("x-ms-request-id") == "" {
		t.Errorf("headers: %v", a.header)
	}
	a = e.must(200, "GET", "/subscriptions", "", "x-ms-client-request-id: mine")
	if a.header.Get("x-ms-client-request-id") != "" {
		t.Error("client id echoed though not asked for")
	}
}

func TestWhatEachMaySee(t *testing.T) {
	e := newEnv(t)
	e.must(201, "PUT", sub+"/resourceGroups/rg2", `{}`)
	e.must(201, "PUT", box, `{"properties":{}}`)
	count := func(path, who string) int { return len(e.list(path, "as: "+who)) }
	for _, c := range []struct {
		path, who string
		want      int
	}{
		{"/subscriptions", "owner", 1}, {"/subscriptions", "reader", 1}, {"/subscriptions", "stranger", 0}, {"/subscriptions", "agent", 0}, {"/subscriptions", "run", 0},
		{sub + "/resourceGroups", "owner", 2}, {sub + "/resourceGroups", "reader", 1}, {sub + "/resources", "reader", 1},
		{sub + "/providers/Fairlead.Test/boxes", "contributor", 1},
	} {
		if got := count(c.path, c.who); got != c.want {
			t.Errorf("%s sees %d at %s, want %d", c.who, got, c.path, c.want)
		}
	}
	e.must(403, "GET", sub+"/resourceGroups", "", "as: stranger")
	e.must(200, "GET", sub+"//resourceGroups//rg2", "")
	e.must(403, "GET", sub+"//resourceGroups//rg2", "", "as: stranger")
	rec, err := e.store.Get(t.Context(), strings.ToLower(box))
	if err != nil {
		t.Fatal(err)
	}
	agent := principals["agent"]
	e.must(403, "GET", box, "", "as: agent") // its token was issued for an earlier one
	agent.ScopeSeq = rec.Seq
	principals["agent"] = agent
	e.must(200, "GET", box, "", "as: agent")
	e.must(200, "PUT", box, `{"properties":{}}`, "as: contributor")
	assignment := group + "/providers/Microsoft.Authorization/roleAssignments/00000000-0000-0000-0000-00000000000c"
	golden(t, "role-assignment.json", e.must(200, "GET", assignment, "").body)
	e.must(200, "DELETE", assignment, "")
	e.must(403, "PUT", box, `{"properties":{}}`, "as: contributor") // taken away at once
}

func TestDiscovery(t *testing.T) {
	e := newEnv(t)
	for name, path := range map[string]string{
		"tenants.json": "/tenants", "locations.json": sub + "/locations", "providers.json": sub + "/providers", "provider.json": sub + "/providers/fairlead.test",
		"role-definitions.json": sub + "/providers/Microsoft.Authorization/roleDefinitions", "role-definition.json": group + "/providers/Microsoft.Authorization/roleDefinitions?$filter=roleName%20eq%20'Reader'",
		"subscription.json": sub, "subscriptions.json": "/SUBSCRIPTIONS",
		"metadata-2015.json": "/metadata/endpoints?api-version=2015-01-01", "metadata-2019.json": "/metadata/endpoints?api-version=2019-05-01", "metadata-2022.json": "/metadata/endpoints?api-version=2022-09-01",
	} {
		headers := []string(nil)
		if strings.HasPrefix(path, "/metadata") {
			headers = []string{"as: -"}
		}
		golden(t, name, e.must(200, "GET", path, "", headers...).body)
	}
	e.must(200, "GET", "/providers", "")
	e.must(200, "GET", "/providers/Fairlead.Test/operations", "")
	if a := e.must(200, "POST", sub+"/providers/fairlead.test/register", ""); a.json(t)["registrationState"] != "Registered" {
		t.Errorf("register: %s", a.body)
	}
	e.must(200, "GET", "/healthz", "", "as: -")
	e.must(200, "GET", "/readyz", "", "as: -")
	if a := e.must(200, "GET", "/blob/x", "", "as: -"); a.body != "blob" {
		t.Errorf("mount: %s", a.body)
	}
}

func TestPanicIsAnAnswer(t *testing.T) {
	e := newEnv(t)
	s := &server{cfg: Config{Now: e.now}, log: discard()}
	h := s.withRequestID(s.withAccessLog(s.withRecover(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("boom") }))))
	a := serve(h, "GET", "/")
	if a.status != 500 || a.code(t) != "InternalServerError" || strings.Contains(a.body, "boom") {
		t.Errorf("%d %s", a.status, a.body)
	}
}
