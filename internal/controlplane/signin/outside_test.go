package signin

import (
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"

	"fairlead.dev/fairlead/internal/controlplane/issuer"
)

// provider is an OpenID provider of somebody else's: the one that comes with Zitadel's library. It knows a client whose redirect leads to at.
func provider(t *testing.T, client string, at string) string {
	t.Helper()
	storage.RegisterClients(storage.WebClient(client, "s3cret", at+"/"+tenant+"/signin/callback"))
	var h http.Handler
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(w, r) }))
	t.Cleanup(srv.Close)
	name := strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
	before := slog.Default()
	h = exampleop.SetupServer(name+"/", storage.NewStorage(storage.NewUserStore(name)), slog.New(slog.DiscardHandler), false, op.WithAllowInsecure())
	t.Cleanup(func() { slog.SetDefault(before) })
	return name + "/"
}

// browse follows redirects within the two servers, fills in the provider's form, and returns where it leads out.
func (f *fixture) browse(browser *http.Client, at string) (*http.Response, string) {
	f.t.Helper()
	for range 10 {
		res, body := f.read(browser.Get(at))
		next, err := res.Location()
		switch {
		case err == nil && next.Path == "/login/username": // the provider's page, whose form posts to itself
			res, body = f.read(browser.PostForm(next.String(), url.Values{"username": {"test-user@localhost"}, "password": {"verysecure"}, "id": {next.Query().Get("authRequestID")}}))
			if next, err = res.Location(); err != nil {
				f.t.Fatalf("the provider answers %s\n%s", res.Status, body)
			}
		case err != nil || next.Port() == "5555":
			return res, body
		}
		at = next.String()
	}
	f.t.Fatal("redirects without an end")
	return nil, ""
}

func newOutsideFixture(t *testing.T) (*fixture, *http.Client) {
	t.Helper()
	cfg := &OutsideConfig{Issuer: "http://localhost:1/", ClientID: strings.ToLower(t.Name()), ClientSecret: "s3cret", Name: "Example"}
	f := newFixture(t, cfg)
	f.signin.cfg.Outside.cfg.Issuer = provider(t, cfg.ClientID, f.url)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return f, &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func (f *fixture) outsideLink(page string) string {
	return f.url + "/" + tenant + "/signin/outside?ticket=" + ticketOf(f.t, page)
}

func TestOutsideProvider(t *testing.T) {
	f, browser := newOutsideFixture(t)
	_, page := f.get("/oauth2/v2.0/authorize", authorizeQuery(nil))
	if !strings.Contains(page, "Sign in with Example") {
		t.Errorf("the page has no button:\n%s", page)
	}
	_, asked := f.browse(browser, f.outsideLink(page)) // a link alone signs nobody in
	if !strings.Contains(asked, "You are Test User") {
		t.Fatalf("not asked:\n%s", asked)
	}
	res, body := f.post("/signin/confirm", url.Values{"ticket": {ticketOf(t, asked)}})
	to, err := res.Location()
	if err != nil {
		t.Fatalf("%s\n%s", res.Status, body)
	}
	status, m := f.token(redeemForm(to.Query().Get("code")))
	if status != 200 {
		t.Fatal(m)
	}
	p, err := f.issuer.Verify(t.Context(), m["access_token"].(string))
	if err != nil || p.Kind != issuer.KindUser || p.Name != "Test User" {
		t.Errorf("%+v %v", p, err)
	}
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {CLIClient}, "refresh_token": {m["refresh_token"].(string)}}
	if status, m := f.token(form); status != 200 {
		t.Errorf("refresh: %d %v", status, m)
	}
	f.clock = f.clock.Add(OutsideTTL)
	if status, _ := f.token(form); status != 400 {
		t.Errorf("a day later: %d; nobody has vouched for the person since", status)
	}
}

// TestOutsideDevice: whom the provider signs in without a question is asked before a device acts for them.
func TestOutsideDevice(t *testing.T) {
	f, browser := newOutsideFixture(t)
	_, body := f.post("/oauth2/v2.0/devicecode", url.Values{"client_id": {CLIClient}})
	code := body[strings.Index(body, "enter the code ")+15:][:9]
	_, page := f.post("/oauth2/deviceauth", url.Values{"user_code": {code}})
	_, asked := f.browse(browser, f.outsideLink(page))
	if !strings.Contains(asked, "You are Test User") || !strings.Contains(asked, code) {
		t.Fatalf("not asked:\n%s", asked)
	}
	if res, body := f.post("/signin/confirm", url.Values{"ticket": {ticketOf(t, asked)}}); res.StatusCode != 200 || !strings.Contains(body, "You are signed in") {
		t.Errorf("%s\n%s", res.Status, body)
	}
}

// TestOutsideStolen: an answer of the provider that another browser brings is refused, as is one without a good state.
func TestOutsideStolen(t *testing.T) {
	f, browser := newOutsideFixture(t)
	_, page := f.get("/oauth2/v2.0/authorize", authorizeQuery(nil))
	res, _ := f.read(browser.Get(f.outsideLink(page)))
	to, err := res.Location()
	if err != nil {
		t.Fatal(err)
	}
	state := to.Query().Get("state")
	for name, c := range map[string]struct {
		cookie, state string
	}{"no cookie": {"", state}, "another's cookie": {"x", state}, "made-up state": {"x", "abc"}} {
		r, err := http.NewRequest("GET", f.url+"/"+tenant+"/signin/callback?code=x&state="+url.QueryEscape(c.state), nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.cookie != "" {
			r.AddCookie(&http.Cookie{Name: cookieName, Value: c.cookie})
		}
		if res, _ := f.read(f.http.Do(r)); res.StatusCode != 400 {
			t.Errorf("%s: %s", name, res.Status)
		}
	}
	// The right browser with a code that the provider did not give: the provider refuses, and says so in the log only.
	if res, body := f.read(browser.Get(f.url + "/" + tenant + "/signin/callback?code=x&state=" + url.QueryEscape(state))); res.StatusCode != 502 || strings.Contains(body, "s3cret") {
		t.Errorf("%s\n%s", res.Status, body)
	}
}

func TestOutsideAway(t *testing.T) {
	f := newFixture(t, &OutsideConfig{Issuer: "http://localhost:1/", ClientID: "x"})
	_, page := f.get("/oauth2/v2.0/authorize", authorizeQuery(nil))
	if res, body := f.read(f.http.Get(f.outsideLink(page))); res.StatusCode != 502 || !strings.Contains(body, "does not answer") {
		t.Errorf("%s\n%s", res.Status, body)
	}
	for issuer, says := range map[string]string{"http://login.example.com": "want https", "": "want https", "https://ok.example": "client id"} {
		if _, err := NewOutside(OutsideConfig{Issuer: issuer}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", issuer, err)
		}
	}
}
