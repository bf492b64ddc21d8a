package server

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/authz"
	"fairlead.dev/fairlead/internal/controlplane/engine"
	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/operation"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
)

const (
	sub   = "/subscriptions/11111111-1111-1111-1111-111111111111"
	group = sub + "/resourceGroups/rg1"
	box   = group + "/providers/Fairlead.Test/boxes/b1"
	ver   = "api-version=2024-01-01"
)

// tokens map to principals; anything else is refused as the issuer would.
var principals = map[string]resource.Principal{
	"owner":       {ID: "aaaaaaaa-0000-0000-0000-000000000001", Name: "olga", Kind: "ServicePrincipal"},
	"reader":      {ID: "aaaaaaaa-0000-0000-0000-000000000002", Name: "rita", Kind: "User"},
	"contributor": {ID: "aaaaaaaa-0000-0000-0000-000000000003", Name: "carl", Kind: "User"},
	"stranger":    {ID: "aaaaaaaa-0000-0000-0000-000000000004", Name: "sten", Kind: "User"},
	"agent":       {ID: "aaaaaaaa-0000-0000-0000-000000000005", Name: "c1", Kind: "Agent", Scope: strings.ToLower(box)},
	"run":         {ID: "aaaaaaaa-0000-0000-0000-000000000006", Name: "job1", Kind: "Run", Scope: strings.ToLower(box)},
}

type env struct {
	t      testing.TB
	store  store.Store
	engine *engine.Engine
	authz  *authz.Authorizer
	url    string
	client *http.Client
	mu     sync.Mutex
	clock  time.Time
}

func (e *env) now() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.clock
}

func verify(_ context.Context, token string) (resource.Principal, error) {
	if token == "expired" {
		return resource.Principal{}, wrapped{issuer.ErrExpired, "it ended at 2026-01-01T00:00:00Z"}
	}
	p, ok := principals[token]
	if !ok {
		return resource.Principal{}, wrapped{issuer.ErrInvalid, "not an RS256 JSON web token"}
	}
	return p, nil
}

type wrapped struct {
	err error
	msg string
}

func (w wrapped) Error() string { return w.err.Error() + ": " + w.msg }
func (w wrapped) Unwrap() error { return w.err }

// testTypes are small types that use each feature of the registry once.
func testTypes() []*resource.Type {
	rule := regexp.MustCompile(`^[a-z][a-z0-9-]{0,20}$`)
	return []*resource.Type{
		{Namespace: "Microsoft.Resources", Name: "subscriptions", APIVersions: []string{"2022-12-01"}, NoProvisioningState: true},
		{Namespace: "Microsoft.Resources", Name: "resourceGroups", APIVersions: []string{"2021-04-01"}},
		{Namespace: "Fairlead.Test", Name: "boxes", APIVersions: []string{"2024-01-01", "2023-01-01"}, NameRule: rule, NameHelp: "1 to 21 of a-z, 0-9 and -, beginning with a letter", Admit: admitBox, Remove: removeBox,
			Samples: func(ctx context.Context, r store.Reader, rec store.Record, from, to time.Time) ([]store.Sample, error) {
				return r.Samples(ctx, rec.Key, from, to)
			},
			JSONC: true,
			LiveLogs: func(_ context.Context, _ store.Record, q map[string]string) (io.ReadCloser, error) {
				if q["then"] == "refused" {
					return nil, arm.Errorf(http.StatusConflict, "ResourceNotReady", "There is no log.")
				}
				r, w := io.Pipe()
				go func() {
					_, _ = io.WriteString(w, "{}\n")
					if q["then"] == "breaks" {
						w.Close()
					}
				}()
				return r, nil
			},
			Views: map[string]resource.View{"labels": func(_ context.Context, _ store.Reader, rec store.Record) ([]resource.Viewed, error) {
				return []resource.Viewed{{Name: "One", Body: map[string]string{"of": rec.Name}}}, nil
			}},
			Selections: map[string]resource.Selection{"twins": {Type: "fairlead.test/boxes", Keep: func(id arm.ID, rec store.Record) bool {
				return rec.Name != id.Name() && strings.Contains(string(rec.Body), "red")
			}}},
			Actions: map[string]resource.Action{
				"listkeys": {Permission: "secret", Run: func(_ context.Context, c *resource.Call) (any, error) {
					return map[string]string{"key": string(c.Record.Secret)}, nil
				}},
				"ping": {Permission: "read", Run: func(context.Context, *resource.Call) (any, error) { return nil, nil }},
			}},
		{Namespace: "Fairlead.Test", Name: "boxes/models", APIVersions: []string{"2024-01-01"}, VersionContainer: true, NoProvisioningState: true},
		{Namespace: "Fairlead.Test", Name: "boxes/models/versions", APIVersions: []string{"2024-01-01"}, NoProvisioningState: true, NewestFirst: true, Archivable: true, SearchBy: "hash",
			Selections: map[string]resource.Selection{"kin": {Type: "fairlead.test/boxes/models", Keep: func(id arm.ID, rec store.Record) bool { return rec.Name != "other" }}},
			Admit: func(_ context.Context, p *resource.Put) error {
				props, _ := p.Body["properties"].(map[string]any)
				p.Record.Archived, _ = props["isArchived"].(bool)
				return nil
			},
			Filter: func(q map[string]string, rec store.Record) bool {
				want := q["tag"] + q["hash"]
				return want == "" || strings.Contains(string(rec.Body), `"`+want+`"`)
			},
			Actions: map[string]resource.Action{"startupload": {Permission: "write", WithoutRecord: true, Run: func(_ context.Context, c *resource.Call) (any, error) {
				return map[string]bool{"exists": c.Record.Key != ""}, nil
			}}}},
		{Namespace: "Fairlead.Other", Name: "addons", APIVersions: []string{"2024-01-01"}, Extends: []string{"Fairlead.Test/boxes"}, Async: true,
			Remove: func(context.Context, *resource.Removal) (bool, error) { return true, nil }},
		{Namespace: "Fairlead.Test", Name: "slow", APIVersions: []string{"2024-01-01"}, Async: true, Remove: func(context.Context, *resource.Removal) (bool, error) { return true, nil }},
	}
}

func admitBox(_ context.Context, p *resource.Put) error {
	props, _ := p.Body["properties"].(map[string]any)
	if s, ok := props["password"].(string); ok {
		p.Record.Secret = []byte(s)
		delete(props, "password")
	}
	if c, ok := props["color"]; ok && c != "red" && c != "blue" {
		return arm.Invalid("properties.color", "properties.color is '%v'; it must be red or blue.", c)
	}
	return nil
}

func removeBox(_ context.Context, d *resource.Removal) (bool, error) {
	if strings.Contains(string(d.Record.Body), `"inUse":true`) && !d.Force {
		return false, arm.Errorf(http.StatusConflict, "ResourceInUse", "Box %s is in use.", d.Record.Name)
	}
	return false, nil
}

func newEnv(t testing.TB) *env {
	t.Helper()
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	e := &env{t: t, store: st, clock: time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)}
	e.authz = authz.New(st)
	e.engine = &engine.Engine{Store: st, Registry: resource.NewRegistry(append(testTypes(), e.authz.Type())...), Now: e.now,
		Committed: func(typ string) {
			if typ == authz.TypeAssignment {
				e.authz.Invalidate()
			}
		}}
	srv := httptest.NewUnstartedServer(nil)
	h, err := New(Config{Engine: e.engine, Authorizer: e.authz, Verify: verify, PublicURL: "https://fairlead.example:8443", TenantID: "99999999-9999-9999-9999-999999999999",
		Locations: []string{"local", "edge"}, Mounts: map[string]http.Handler{"/blob/": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "blob") })}})
	if err != nil {
		t.Fatal(err)
	}
	srv.Config.Handler = h
	srv.Start()
	t.Cleanup(srv.Close)
	e.url, e.client = srv.URL, srv.Client()
	err = st.Update(t.Context(), func(tx store.Tx) error {
		return authz.AssignRoot(t.Context(), tx, principals["owner"].ID, authz.Owner, e.now())
	})
	if err != nil {
		t.Fatal(err)
	}
	e.must(201, "PUT", sub, `{"displayName":"Test"}`)
	e.must(201, "PUT", group, `{"location":"local"}`)
	e.assign("contributor", group, authz.Contributor, "00000000-0000-0000-0000-00000000000c")
	e.assign("reader", group, authz.Reader, "00000000-0000-0000-0000-00000000000d")
	return e
}

func (e *env) assign(who, scope string, r authz.Role, name string) {
	e.t.Helper()
	e.must(201, "PUT", scope+"/providers/Microsoft.Authorization/roleAssignments/"+name,
		`{"properties":{"principalId":"`+principals[who].ID+`","roleDefinitionId":"`+sub+`/providers/Microsoft.Authorization/roleDefinitions/`+r.ID+`"}}`)
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) json(t testing.TB) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("answer is not a JSON object: %v\n%s", err, a.body)
	}
	return m
}

func (a answer) code(t testing.TB) string {
	t.Helper()
	m, _ := a.json(t)["error"].(map[string]any)
	s, _ := m["code"].(string)
	return s
}

// do sends a request; headers come as "Name: value", the token as "as: name" (default owner, "as: -" for none).
func (e *env) do(method, path, body string, headers ...string) answer {
	e.t.Helper()
	u := path
	if !strings.HasPrefix(u, "http") {
		u = e.url + u
	}
	if !strings.Contains(u, "api-version") && !strings.Contains(u, "noversion") {
		sep := "?"
		if strings.Contains(u, "?") {
			sep = "&"
		}
		u += sep + ver
	}
	req, err := http.NewRequestWithContext(e.t.Context(), method, u, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	as := "owner"
	for _, h := range headers {
		k, v, _ := strings.Cut(h, ": ")
		if k == "as" {
			as = v
			continue
		}
		req.Header.Set(k, v)
	}
	if as != "-" {
		req.Header.Set("Authorization", "Bearer "+as)
	}
	res, err := e.client.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(raw)}
}

func (e *env) must(status int, method, path, body string, headers ...string) answer {
	e.t.Helper()
	a := e.do(method, path, body, headers...)
	if a.status != status {
		e.t.Fatalf("%s %s: status %d, want %d\n%s", method, path, a.status, status, a.body)
	}
	return a
}

// finish plays the reconciler of a resource.
func (e *env) finish(id, status string, cause error) {
	e.t.Helper()
	err := e.store.Update(e.t.Context(), func(tx store.Tx) error {
		rec, err := tx.Get(e.t.Context(), strings.ToLower(id))
		if err != nil {
			return err
		}
		if operation.State(rec.Body) == arm.StateDeleting && status == arm.StateSucceeded {
			return operation.FinishDeleteAt(e.t.Context(), tx, rec, e.now())
		}
		_, err = operation.FinishAt(e.t.Context(), tx, rec, "", status, cause, e.now())
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
}
