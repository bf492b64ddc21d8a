package signin

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
	"fairlead.dev/fairlead/internal/controlplane/users"
)

const (
	tenant   = "99999999-9999-9999-9999-999999999999"
	password = "correct horse"
	verifier = "a-verifier-of-forty-three-characters-or-more-1"
)

type fixture struct {
	t      *testing.T
	url    string
	file   string
	clock  time.Time
	issuer *issuer.Issuer
	signin *SignIn
	http   *http.Client
	store  store.Store
}

func newFixture(t *testing.T, outside *OutsideConfig) *fixture {
	t.Helper()
	f := &fixture{t: t, file: filepath.Join(t.TempDir(), "users.yaml"), clock: time.Now()}
	f.setPassword("ada@example.com", password)
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	mux := http.NewServeMux()
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	f.url, f.store = srv.URL, st
	box, err := seal.New(seal.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	file, err := users.Open(f.file, log)
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{PublicURL: f.url, TenantID: tenant, Store: st, Box: box, Users: file, Log: log, Now: func() time.Time { return f.clock }}
	if outside != nil {
		outside.Redirect = f.url + "/" + tenant + "/signin/callback"
		if cfg.Outside, err = NewOutside(*outside); err != nil {
			t.Fatal(err)
		}
	}
	f.signin = New(cfg)
	f.issuer, err = issuer.New(t.Context(), issuer.Config{Keys: issuer.KeyStore{Store: st, Box: box}, PublicURL: f.url, TenantID: tenant, Store: st, People: f.signin, Now: cfg.Now})
	if err != nil {
		t.Fatal(err)
	}
	f.issuer.Register(mux)
	f.signin.Register(mux, f.issuer)
	f.http = srv.Client()
	f.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return f
}

func (f *fixture) setPassword(name, password string) {
	f.t.Helper()
	hash, err := users.Hash(password)
	if err != nil {
		f.t.Fatal(err)
	}
	err = users.Edit(f.file, func([]users.User) ([]users.User, error) {
		return []users.User{{Name: name, DisplayName: "Ada", Password: hash}}, nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// read sends a request and gives its answer with the body.
func (f *fixture) read(res *http.Response, err error) (*http.Response, string) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return res, string(body)
}

func (f *fixture) get(path string, q url.Values) (*http.Response, string) {
	f.t.Helper()
	return f.read(f.http.Get(f.url + "/" + tenant + path + "?" + q.Encode()))
}

func (f *fixture) post(path string, form url.Values) (*http.Response, string) {
	f.t.Helper()
	return f.read(f.http.PostForm(f.url+"/"+tenant+path, form))
}

func (f *fixture) token(form url.Values) (int, map[string]any) {
	f.t.Helper()
	res, body := f.post("/oauth2/v2.0/token", form)
	m := map[string]any{}
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		f.t.Fatalf("%v: %s", err, body)
	}
	return res.StatusCode, m
}

func authorizeQuery(change url.Values) url.Values {
	sum := sha256.Sum256([]byte(verifier))
	q := url.Values{"client_id": {CLIClient}, "response_type": {"code"}, "redirect_uri": {"http://localhost:5555/x"}, "state": {"st&1"}, "nonce": {"n1"},
		"scope": {"openid offline_access"}, "code_challenge_method": {"S256"}, "code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}}
	for k, v := range change {
		q[k] = v
	}
	return q
}

var ticketRule = regexp.MustCompile(`name="ticket" value="([^"]+)"`)

func ticketOf(t *testing.T, page string) string {
	t.Helper()
	m := ticketRule.FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("no form in\n%s", page)
	}
	return html.UnescapeString(m[1])
}

// code signs Ada in and gives the code that the client got.
func (f *fixture) code(change url.Values) string {
	f.t.Helper()
	_, page := f.get("/oauth2/v2.0/authorize", authorizeQuery(change))
	res, body := f.post("/signin", url.Values{"ticket": {ticketOf(f.t, page)}, "username": {"ada@example.com"}, "password": {password}})
	to, err := res.Location()
	if err != nil || res.StatusCode != http.StatusSeeOther || to.Host != "localhost:5555" || to.Query().Get("state") != "st&1" {
		f.t.Fatalf("%s to %v\n%s", res.Status, to, body)
	}
	return to.Query().Get("code")
}

func redeemForm(code string) url.Values {
	return url.Values{"grant_type": {"authorization_code"}, "client_id": {CLIClient}, "code": {code}, "redirect_uri": {"http://localhost:5555/x"}, "code_verifier": {verifier}}
}

func TestBrowser(t *testing.T) {
	f := newFixture(t, nil)
	code := f.code(nil)
	status, m := f.token(redeemForm(code))
	if status != 200 {
		t.Fatal(m)
	}
	p, err := f.issuer.Verify(t.Context(), m["access_token"].(string))
	if err != nil || p.Kind != issuer.KindUser || p.Name != "Ada" || p.ID != (users.User{Name: "ada@example.com"}).ObjectID() {
		t.Errorf("%+v %v", p, err)
	}
	if _, err := f.issuer.Verify(t.Context(), m["id_token"].(string)); err == nil {
		t.Error("an ID token was taken for an access token")
	}
	var claims map[string]any
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(m["id_token"].(string), ".")[1])
	if err != nil || json.Unmarshal(raw, &claims) != nil || claims["nonce"] != "n1" || claims["aud"] != CLIClient || claims["preferred_username"] != "ada@example.com" {
		t.Errorf("%s %v", raw, err)
	}
	refresh := url.Values{"grant_type": {"refresh_token"}, "client_id": {CLIClient}, "refresh_token": {m["refresh_token"].(string)}}
	for range 2 { // programs that share a cache refresh at the same time
		if status, m := f.token(refresh); status != 200 || m["refresh_token"] == nil {
			t.Errorf("refresh: %d %v", status, m)
		}
	}
	if status, m := f.token(redeemForm(code)); status != 400 || m["error"] != "invalid_grant" {
		t.Errorf("a code was redeemed twice: %d %v", status, m)
	}
	if status, m := f.token(refresh); status != 400 || m["error"] != "invalid_grant" {
		t.Errorf("a code that came back did not end the sign-in: %d %v", status, m)
	}
}

// TestSignInEnds: by a new password, by being taken out of the file, by revocation, by resting too long, and by its age.
func TestSignInEnds(t *testing.T) {
	for name, end := range map[string]func(f *fixture, refresh string){
		"new password": func(f *fixture, _ string) { f.setPassword("ada@example.com", "battery staple") },
		"removed":      func(f *fixture, _ string) { f.setPassword("eve@example.com", password) },
		"revoked":      func(f *fixture, refresh string) { f.post("/oauth2/v2.0/revoke", url.Values{"token": {refresh}}) },
		"at rest":      func(f *fixture, _ string) { f.clock = f.clock.Add(RefreshTTL) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			_, m := f.token(redeemForm(f.code(nil)))
			refresh := m["refresh_token"].(string)
			form := url.Values{"grant_type": {"refresh_token"}, "client_id": {CLIClient}, "refresh_token": {refresh}}
			if status, m := f.token(form); status != 200 {
				t.Fatalf("before: %d %v", status, m)
			}
			end(f, refresh)
			if status, m := f.token(form); status != 400 || m["error"] != "invalid_grant" || m["error_codes"].([]any)[0] != 700082.0 {
				t.Errorf("after: %d %v", status, m)
			}
		})
	}
	f := newFixture(t, nil)
	_, m := f.token(redeemForm(f.code(nil)))
	weeks := 0
	for status := 200; status == 200 && weeks < 20; weeks++ {
		f.clock = f.clock.Add(7 * 24 * time.Hour)
		status, m = f.token(url.Values{"grant_type": {"refresh_token"}, "client_id": {CLIClient}, "refresh_token": {m["refresh_token"].(string)}})
	}
	if weeks != 13 {
		t.Errorf("a sign-in that is used every week ended after %d weeks; 90 days are 13", weeks)
	}
}

func TestRefused(t *testing.T) {
	f := newFixture(t, nil)
	for name, c := range map[string]struct {
		change url.Values
		// page is what the person reads; else the client gets error.
		page, error string
	}{
		"unknown client":     {url.Values{"client_id": {"evil"}}, "AADSTS700016", ""},
		"elsewhere":          {url.Values{"redirect_uri": {"https://evil.example/"}}, "AADSTS50011", ""},
		"looks like here":    {url.Values{"redirect_uri": {"http://localhost@evil.example/"}}, "AADSTS50011", ""},
		"a name below":       {url.Values{"redirect_uri": {"http://localhost.evil.example/"}}, "AADSTS50011", ""},
		"script":             {url.Values{"redirect_uri": {"javascript:alert(1)"}}, "AADSTS50011", ""},
		"no PKCE":            {url.Values{"code_challenge": {""}}, "", "invalid_request"},
		"plain PKCE":         {url.Values{"code_challenge_method": {"plain"}}, "", "invalid_request"},
		"implicit":           {url.Values{"response_type": {"token"}}, "", "unsupported_response_type"},
		"fragment":           {url.Values{"response_mode": {"fragment"}}, "", "invalid_request"},
		"silent":             {url.Values{"prompt": {"none"}}, "", "login_required"},
		"state of 9,000 B":   {url.Values{"state": {strings.Repeat("x", 9000)}}, "", "invalid_request"},
		"markup in an error": {url.Values{"client_id": {"<script>x</script>"}}, "&lt;script&gt;", ""},
	} {
		res, body := f.get("/oauth2/v2.0/authorize", authorizeQuery(c.change))
		to, _ := res.Location()
		switch {
		case c.page != "" && (res.StatusCode != 400 || !strings.Contains(body, c.page) || to != nil):
			t.Errorf("%s: %s %v\n%s", name, res.Status, to, body)
		case c.error != "" && (to == nil || to.Host != "localhost:5555" || to.Query().Get("error") != c.error || to.Query().Get("state") == ""):
			t.Errorf("%s: %s %v", name, res.Status, to)
		}
		if strings.Contains(body, "<script>x") {
			t.Errorf("%s: markup of the request is in the page", name)
		}
	}
	good := f.code(nil)
	for name, change := range map[string]url.Values{
		"another's verifier": {"code_verifier": {verifier + "2"}},
		"no verifier":        {"code_verifier": {""}},
		"another redirect":   {"redirect_uri": {"http://localhost:5555/y"}},
		"another client":     {"client_id": {"04b07795-8ddb-461a-bbee-02f9e1bf7b46"}},
		"changed code":       {"code": {good[:len(good)-4] + "AAAA"}},
		"a ticket":           {"code": {ticketOf(t, second(f.get("/oauth2/v2.0/authorize", authorizeQuery(nil))))}},
	} {
		form := redeemForm(good)
		for k, v := range change {
			form[k] = v
		}
		if status, m := f.token(form); status != 400 || m["error"] != "invalid_grant" {
			t.Errorf("%s: %d %v", name, status, m)
		}
	}
	if status, m := f.token(redeemForm(good)); status != 200 {
		t.Errorf("refused tries used the code up: %d %v", status, m)
	}
	old := f.code(nil)
	f.clock = f.clock.Add(CodeTTL)
	if status, m := f.token(redeemForm(old)); status != 400 {
		t.Errorf("an old code: %d %v", status, m)
	}
}

func second(_ *http.Response, body string) string { return body }

func TestWrongPasswords(t *testing.T) {
	f := newFixture(t, nil)
	res, page := f.get("/oauth2/v2.0/authorize", authorizeQuery(url.Values{"login_hint": {`a"><b>`}}))
	if csp := res.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(page, "<b>") {
		t.Errorf("%s\n%s", csp, page)
	}
	form := url.Values{"ticket": {ticketOf(t, page)}, "username": {"ada@example.com"}, "password": {"wrong"}}
	for i := range 11 {
		res, body := f.post("/signin", form)
		if want := map[bool]int{true: 401, false: 429}[i < 10]; res.StatusCode != want || strings.Contains(body, `value="wrong"`) {
			t.Errorf("try %d: %s", i, res.Status)
		}
	}
	form.Set("password", password)
	if res, _ := f.post("/signin", form); res.StatusCode != 429 {
		t.Errorf("the right password after ten wrong ones: %s", res.Status)
	}
	f.clock = f.clock.Add(time.Minute)
	if res, _ := f.post("/signin", form); res.StatusCode != 303 {
		t.Errorf("a minute later: %s", res.Status)
	}
	f.clock = f.clock.Add(PageTTL)
	if res, _ := f.post("/signin", form); res.StatusCode != 400 {
		t.Errorf("with an old page: %s", res.Status)
	}
}

func TestFormPost(t *testing.T) {
	f := newFixture(t, nil)
	_, page := f.get("/oauth2/v2.0/authorize", authorizeQuery(url.Values{"response_mode": {"form_post"}}))
	res, body := f.post("/signin", url.Values{"ticket": {ticketOf(t, page)}, "username": {"ADA@example.com"}, "password": {password}})
	if res.StatusCode != 200 || !strings.Contains(body, `action="http://localhost:5555/x"`) || !strings.Contains(body, `name="code"`) || !strings.Contains(body, `value="st&amp;1"`) {
		t.Errorf("%s\n%s", res.Status, body)
	}
}

func TestDevice(t *testing.T) {
	f := newFixture(t, nil)
	begin := func() map[string]any {
		t.Helper()
		_, body := f.post("/oauth2/v2.0/devicecode", url.Values{"client_id": {CLIClient}, "scope": {"openid offline_access"}})
		m := map[string]any{}
		if err := json.Unmarshal([]byte(body), &m); err != nil || m["user_code"] == nil {
			t.Fatalf("%v %s", err, body)
		}
		return m
	}
	ask := func(m map[string]any) (int, map[string]any) {
		t.Helper()
		return f.token(url.Values{"grant_type": {issuer.GrantDevice}, "client_id": {CLIClient}, "device_code": {m["device_code"].(string)}})
	}
	d := begin()
	if status, m := ask(d); status != 400 || m["error"] != "authorization_pending" {
		t.Fatalf("before: %d %v", status, m)
	}
	if res, _ := f.post("/oauth2/deviceauth", url.Values{"user_code": {"BBBB-BBBB"}}); res.StatusCode != 400 {
		t.Errorf("a code that nobody waits for: %s", res.Status)
	}
	_, page := f.post("/oauth2/deviceauth", url.Values{"user_code": {" " + strings.ToLower(d["user_code"].(string))}})
	if !strings.Contains(page, "Fairlead on another device") {
		t.Errorf("the page does not say who asks:\n%s", page)
	}
	form := url.Values{"ticket": {ticketOf(t, page)}, "username": {"ada@example.com"}, "password": {password}}
	if res, body := f.post("/signin", form); res.StatusCode != 200 || !strings.Contains(body, "You are signed in") {
		t.Fatalf("%s\n%s", res.Status, body)
	}
	if res, _ := f.post("/signin", form); res.StatusCode != 400 {
		t.Errorf("approved twice: %s", res.Status)
	}
	status, m := ask(d)
	if status != 200 || m["refresh_token"] == nil {
		t.Fatalf("after: %d %v", status, m)
	}
	if p, err := f.issuer.Verify(t.Context(), m["access_token"].(string)); err != nil || p.Kind != issuer.KindUser {
		t.Errorf("%+v %v", p, err)
	}
	if status, m := ask(d); status != 400 || m["error"] != "expired_token" {
		t.Errorf("redeemed twice: %d %v", status, m)
	}
	d = begin()
	for range 5 {
		ask(d)
	}
	if status, m := ask(d); status != 400 || m["error"] != "slow_down" {
		t.Errorf("asked too often: %d %v", status, m)
	}
	f.clock = f.clock.Add(DeviceTTL)
	if status, m := ask(d); status != 400 || m["error"] != "expired_token" {
		t.Errorf("too late: %d %v", status, m)
	}
	f.clock = f.clock.Add(2 * time.Minute)
	begin()
	if left, err := f.store.List(t.Context(), store.Query{Type: typeDevice, AnyParent: true, Limit: 10}); err != nil || len(left) != 1 {
		t.Errorf("%d device codes are kept, %v", len(left), err)
	}
}

// TestSealedTexts: what one step gives out opens at no other.
func TestSealedTexts(t *testing.T) {
	f := newFixture(t, nil)
	text, err := f.signin.seal(forPage, request{Client: CLIClient}, f.clock.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []purpose{forOutside, forConfirm, forCode, forDevice, forRefresh} {
		var v any
		if err := f.signin.open(p, text, &v); err == nil {
			t.Errorf("a page's ticket opened as %s", p)
		}
	}
}

func FuzzParseRequest(f *testing.F) {
	f.Add(authorizeQuery(nil).Encode())
	f.Add("redirect_uri=http://localhost%2f@evil.example")
	f.Fuzz(func(t *testing.T, query string) {
		v, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		q, oe := parseRequest(v)
		if oe == nil || q.Redirect != "" {
			u, err := url.Parse(q.Redirect)
			if err != nil || u.Scheme != "http" || u.Hostname() != "localhost" && !strings.HasPrefix(u.Hostname(), "127.") {
				t.Errorf("%q leads to %q", query, q.Redirect)
			}
		}
	})
}
