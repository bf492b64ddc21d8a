package issuer

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
	"fairlead.dev/fairlead/internal/controlplane/throttle"
)

const (
	public  = "https://fairlead.example:8443"
	tenant  = "99999999-9999-9999-9999-999999999999"
	cluster = "/subscriptions/S/resourceGroups/G/providers/Microsoft.Kubernetes/connectedClusters/c1"
)

var (
	clientKey = sync.OnceValue(func() *rsa.PrivateKey { return mustKey(2048) })
	newerKey  = sync.OnceValue(func() *rsa.PrivateKey { return mustKey(2048) })
	otherKey  = sync.OnceValue(func() *rsa.PrivateKey { return mustKey(2048) })
)

func mustKey(bits int) *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return k
}

type fixture struct {
	t     *testing.T
	is    *Issuer
	mux   *http.ServeMux
	keys  KeyStore
	store store.Store
	clock time.Time
}

func (f *fixture) now() time.Time { return f.clock }

func newFixture(t *testing.T) *fixture {
	t.Helper()
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	box, err := seal.New(seal.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, keys: KeyStore{st, box}, store: st, clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	f.reload()
	secret, err := SecretCredential("s3cr+t &%", f.clock, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	f.create(ServicePrincipal{ClientID: "app1", ObjectID: "obj1", DisplayName: "ada", Credentials: []Credential{secret, f.certificate(clientKey(), f.clock.Add(365*24*time.Hour))}})
	return f
}

func (f *fixture) create(sp ServicePrincipal) {
	f.t.Helper()
	err := f.store.Update(f.t.Context(), func(tx store.Tx) error {
		_, err := CreateServicePrincipal(f.t.Context(), tx, sp, f.clock)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// certificate is one for a key, as a client registers it.
func (f *fixture) certificate(key *rsa.PrivateKey, ends time.Time) Credential {
	f.t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: f.clock.Add(-time.Hour), NotAfter: ends}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		f.t.Fatal(err)
	}
	c, err := CertificateCredential(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), f.clock)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fixture) reload() {
	f.t.Helper()
	is, err := New(f.t.Context(), Config{Keys: f.keys, KeyAge: DefaultKeyAge, PublicURL: public + "/", TenantID: tenant, Store: f.store, Now: f.now, Agents: func(_ context.Context, id string) (Agent, error) {
		switch {
		case strings.EqualFold(id, cluster):
			return Agent{[]crypto.PublicKey{&newerKey().PublicKey, &clientKey().PublicKey}, strings.ToLower(cluster), 42}, nil
		case strings.HasSuffix(id, "/expired"):
			return Agent{}, ErrExpired
		case strings.HasSuffix(id, "/broken"):
			return Agent{}, errors.New("disk on fire")
		}
		return Agent{}, store.ErrNotFound
	}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.is, f.mux = is, http.NewServeMux()
	is.Register(f.mux)
}

func (f *fixture) request(method, path, form string, change func(*http.Request)) (*httptest.ResponseRecorder, map[string]any) {
	f.t.Helper()
	r := httptest.NewRequest(method, public+path, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	f.mux.ServeHTTP(w, r)
	m := map[string]any{}
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
		f.t.Fatalf("%s %s: %v\n%s", method, path, err, w.Body)
	}
	return w, m
}

func (f *fixture) token(form url.Values) (*httptest.ResponseRecorder, map[string]any) {
	f.t.Helper()
	if !form.Has("grant_type") {
		form.Set("grant_type", "client_credentials")
	}
	return f.request("POST", "/"+tenant+"/oauth2/v2.0/token", form.Encode(), nil)
}

func (f *fixture) principal(m map[string]any) resource.Principal {
	f.t.Helper()
	tok, _ := m["access_token"].(string)
	p, err := f.is.Verify(f.t.Context(), tok)
	if err != nil {
		f.t.Fatalf("%v in %v", err, m)
	}
	return p
}

// assertion builds client assertions; fields change the good claims, nil removes one.
func (f *fixture) assertion(key *rsa.PrivateKey, id string, fields map[string]any) url.Values {
	f.t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	claims := map[string]any{"iss": id, "sub": id, "aud": f.is.TokenURL(), "jti": fmt.Sprint(time.Now().UnixNano()), "iat": f.clock.Unix(), "exp": f.clock.Add(5 * time.Minute).Unix()}
	for k, v := range fields {
		if claims[k] = v; v == nil {
			delete(claims, k)
		}
	}
	tok, err := jwt.Signed(s).Claims(claims).Serialize()
	if err != nil {
		f.t.Fatal(err)
	}
	return url.Values{"client_id": {id}, "client_assertion_type": {AssertionType}, "client_assertion": {tok}, "scope": {public + "/.default"}}
}

func TestSecrets(t *testing.T) {
	f := newFixture(t)
	want := resource.Principal{ID: "obj1", Name: "ada", Kind: KindServicePrincipal, Expires: f.clock.Add(UserTTL + Leeway)}
	w, m := f.token(url.Values{"client_id": {"app1"}, "client_secret": {"s3cr+t &%"}, "scope": {"https://management.azure.com//.default"}})
	if w.Code != 200 || !cmp.Equal(f.principal(m), want) || m["expires_in"] != float64(3600) || m["token_type"] != "Bearer" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %v %v", w.Code, m, w.Header())
	}
	if w, m := f.token(url.Values{"client_id": {"app1"}, "client_secret": {"s3cr+t &%"}, "scope": {"https://ml.azure.com:8443/.default"}}); w.Code != 200 {
		t.Errorf("for the ML service of a cloud's portal: %d %v", w.Code, m)
	}
	w, m = f.request("POST", "/common/oauth2/token", "grant_type=client_credentials&resource="+url.QueryEscape(public), func(r *http.Request) {
		r.SetBasicAuth(url.QueryEscape("app1"), url.QueryEscape("s3cr+t &%"))
	})
	if w.Code != 200 || !cmp.Equal(f.principal(m), want) || m["expires_in"] != "3600" || m["resource"] != public {
		t.Errorf("basic on the older endpoint: %d %v", w.Code, m)
	}
}

func TestAgentsAndExtensions(t *testing.T) {
	f := newFixture(t)
	_, m := f.token(f.assertion(clientKey(), cluster, nil))
	p := f.principal(m)
	if p.Kind != KindAgent || p.Scope != strings.ToLower(cluster) || p.Name != "c1" || p.ScopeSeq != 42 || !p.Expires.Equal(f.clock.Add(AgentTTL+Leeway)) || m["expires_in"] != float64(4*3600) {
		t.Errorf("%+v %v", p, m["expires_in"])
	}
	form := f.assertion(clientKey(), cluster, nil)
	form.Set("scope", "extension")
	form.Del("client_id")
	_, m = f.token(form)
	if p := f.principal(m); p.Kind != KindExtension || p.Scope != strings.ToLower(cluster) || p.ScopeSeq != 42 {
		t.Errorf("%+v", p)
	}
	_, m = f.token(f.assertion(clientKey(), "app1", nil))
	if p := f.principal(m); p.Kind != KindServicePrincipal || p.ID != "obj1" {
		t.Errorf("%+v", p)
	}
}

func TestRefusals(t *testing.T) {
	f := newFixture(t)
	secret := func(id, s string) url.Values { return url.Values{"client_id": {id}, "client_secret": {s}} }
	with := func(v url.Values, k, val string) url.Values { v.Set(k, val); return v }
	used := f.assertion(clientKey(), cluster, nil)
	if w, m := f.token(used); w.Code != 200 {
		t.Fatalf("%d %v", w.Code, m)
	}
	for name, c := range map[string]struct {
		form   url.Values
		status int
		error  string
		says   string
	}{
		"wrong secret":          {secret("app1", "no"), 401, "invalid_client", "AADSTS7000215"},
		"unknown client":        {secret("nobody", "no"), 401, "invalid_client", "AADSTS7000215"},
		"no credential":         {url.Values{"client_id": {"app1"}}, 401, "invalid_client", "client_assertion"},
		"no client":             {url.Values{}, 400, "invalid_request", "client_id"},
		"no grant":              {with(secret("app1", "x"), "grant_type", ""), 400, "invalid_request", "grant_type"},
		"another grant":         {with(secret("app1", "x"), "grant_type", "password"), 400, "unsupported_grant_type", "password"},
		"another audience":      {with(secret("app1", "s3cr+t &%"), "scope", "https://elsewhere.example/.default"), 400, "invalid_resource", "AADSTS500011"},
		"assertion's type":      {with(f.assertion(clientKey(), cluster, nil), "client_assertion_type", "x"), 400, "invalid_request", AssertionType},
		"not an assertion":      {with(f.assertion(clientKey(), cluster, nil), "client_assertion", "a.b.c"), 401, "invalid_client", "AADSTS50027"},
		"another key":           {f.assertion(otherKey(), cluster, nil), 401, "invalid_client", "signature"},
		"used twice":            {used, 401, "invalid_client", "jti was used"},
		"no jti":                {f.assertion(clientKey(), cluster, map[string]any{"jti": nil}), 401, "invalid_client", "jti"},
		"no exp":                {f.assertion(clientKey(), cluster, map[string]any{"exp": nil}), 401, "invalid_client", "exp"},
		"expired":               {f.assertion(clientKey(), cluster, map[string]any{"exp": f.clock.Add(-2 * time.Minute).Unix()}), 401, "invalid_client", "not valid now"},
		"too long":              {f.assertion(clientKey(), cluster, map[string]any{"exp": f.clock.Add(time.Hour).Unix()}), 401, "invalid_client", "10m0s"},
		"not yet":               {f.assertion(clientKey(), cluster, map[string]any{"nbf": f.clock.Add(3 * time.Minute).Unix()}), 401, "invalid_client", "not valid now"},
		"another's audience":    {f.assertion(clientKey(), cluster, map[string]any{"aud": "https://elsewhere.example"}), 401, "invalid_client", "aud"},
		"sub is not iss":        {f.assertion(clientKey(), cluster, map[string]any{"iss": "x"}), 401, "invalid_client", "sub and iss"},
		"for another cluster":   {with(f.assertion(clientKey(), cluster, nil), "client_id", cluster+"2"), 401, "invalid_client", "sub"},
		"unknown cluster":       {f.assertion(clientKey(), cluster+"2", nil), 401, "invalid_client", "AADSTS700016"},
		"a key that is not its": {f.assertion(mustKey(2048), cluster, nil), 401, "invalid_client", "does not match"},
		"expired certificate":   {f.assertion(clientKey(), cluster+"/expired", nil), 401, "invalid_client", "Connect the cluster again"},
		"store is away":         {f.assertion(clientKey(), cluster+"/broken", nil), 500, "server_error", "transient"},
		"assertion with secret": {f.assertion(otherKey(), "app1", nil), 401, "invalid_client", "signature"},
	} {
		t.Run(name, func(t *testing.T) {
			f.is.guesses = throttle.Guesses(f.now)
			w, m := f.token(c.form)
			says, _ := m["error_description"].(string)
			if w.Code != c.status || m["error"] != c.error || !strings.Contains(says, c.says) {
				t.Errorf("%d %v", w.Code, m)
			}
			if strings.Contains(w.Body.String(), "on fire") || strings.Contains(w.Body.String(), "s3cr") {
				t.Errorf("the answer tells too much: %s", w.Body)
			}
		})
	}
	if w, m := f.request("POST", "/other-tenant/oauth2/v2.0/token", "grant_type=client_credentials", nil); w.Code != 400 || !strings.Contains(m["error_description"].(string), tenant) {
		t.Errorf("another tenant: %d %v", w.Code, m)
	}
	if w, _ := f.request("GET", "/"+tenant+"/oauth2/v2.0/token", "", nil); w.Code != 405 || w.Header().Get("Allow") != "POST" {
		t.Errorf("GET of the token endpoint: %d", w.Code)
	}
	if w, m := f.request("POST", "/"+tenant+"/oauth2/v2.0/token", "x="+strings.Repeat("x", maxForm), nil); w.Code != 413 {
		t.Errorf("huge form: %d %v", w.Code, m)
	}
}

func TestRateLimit(t *testing.T) {
	f := newFixture(t)
	bad := url.Values{"client_id": {"app1"}, "client_secret": {"no"}}
	for i := range throttle.GuessBurst {
		if w, _ := f.token(bad); w.Code != 401 {
			t.Fatalf("attempt %d: %d", i, w.Code)
		}
	}
	good := url.Values{"client_id": {"APP1"}, "client_secret": {"s3cr+t &%"}}
	if w, m := f.token(good); w.Code != 429 || w.Header().Get("Retry-After") != "5" {
		t.Errorf("%d %v %v", w.Code, m, w.Header())
	}
	if w, _ := f.token(url.Values{"client_id": {"someone"}, "client_secret": {"x"}}); w.Code != 401 {
		t.Errorf("another client: %d", w.Code)
	}
	good.Set("grant_type", "client_credentials")
	for addr, want := range map[string]int{"192.0.2.1:99": 429, "[::ffff:192.0.2.1]:99": 429, "192.0.2.2:99": 200} { // 192.0.2.1 is httptest's
		if w, m := f.request("POST", "/"+tenant+"/oauth2/v2.0/token", good.Encode(), func(r *http.Request) { r.RemoteAddr = addr }); w.Code != want {
			t.Errorf("from %s: %d %v", addr, w.Code, m)
		}
	}
	f.clock = f.clock.Add(6 * time.Second)
	if w, m := f.token(good); w.Code != 200 {
		t.Errorf("after waiting: %d %v", w.Code, m)
	}
}

// TestNobodyLocksAnotherOut: who can't sign for a client can't use up what it may ask for; who can is limited.
func TestNobodyLocksAnotherOut(t *testing.T) {
	f := newFixture(t)
	for i := range 2 * askBurst {
		if w, m := f.token(f.assertion(otherKey(), cluster, nil)); w.Code != 401 {
			t.Fatalf("attempt %d: %d %v", i, w.Code, m)
		}
	}
	for i := range askBurst {
		if w, m := f.token(f.assertion(clientKey(), cluster, nil)); w.Code != 200 {
			t.Fatalf("request %d of the agent: %d %v", i, w.Code, m)
		}
	}
	if w, _ := f.token(f.assertion(clientKey(), cluster, nil)); w.Code != 429 || w.Header().Get("Retry-After") != "1" {
		t.Errorf("after %d tokens: %d %v", askBurst, w.Code, w.Header())
	}
}

// TestRightSecretsAreNoGuesses: they cost nothing.
func TestRightSecretsAreNoGuesses(t *testing.T) {
	f := newFixture(t)
	for i := range throttle.GuessBurst + 5 {
		if w, m := f.token(url.Values{"client_id": {"app1"}, "client_secret": {"s3cr+t &%"}}); w.Code != 200 {
			t.Fatalf("request %d: %d %v", i, w.Code, m)
		}
	}
}

func TestVerify(t *testing.T) {
	f := newFixture(t)
	c := Claims{Subject: "u", Name: "Ursula", Kind: KindUser}
	good, err := f.is.Issue(t.Context(), c, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := f.is.Verify(t.Context(), good); err != nil || !cmp.Equal(p, resource.Principal{ID: "u", Name: "Ursula", Kind: KindUser, Expires: f.clock.Add(time.Hour + Leeway)}) {
		t.Errorf("%+v %v", p, err)
	}
	sign := func(alg jose.SignatureAlgorithm, key any, kid string, change func(map[string]any)) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", kid))
		if err != nil {
			t.Fatal(err)
		}
		claims := map[string]any{"iss": f.is.Name(), "aud": public, "exp": f.clock.Add(time.Hour).Unix(), "oid": "u", "kind": "User"}
		change(claims)
		tok, err := jwt.Signed(s).Claims(claims).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	current := f.is.ring.Load().at(f.clock)
	own, kid := current.key, current.ID
	same := func(map[string]any) {}
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"`+kid+`"}`)) + "." + strings.Split(good, ".")[1] + "."
	if _, err := f.is.Verify(t.Context(), sign(jose.RS256, own, kid, same)); err != nil {
		t.Fatalf("the test's own token: %v", err)
	}
	for name, tok := range map[string]string{
		"empty": "", "garbage": "abc", "huge": strings.Repeat("x", 20<<10), "alg none": none,
		"cut":                 good[:len(good)-4],
		"another key":         sign(jose.RS256, otherKey(), kid, same),
		"unknown kid":         sign(jose.RS256, own, "zz", same),
		"another algorithm":   sign(jose.PS256, own, kid, same),
		"HMAC of public":      sign(jose.HS256, x509.MarshalPKCS1PublicKey(&own.PublicKey), kid, same),
		"a user by runs' key": sign(jose.ES256, current.runKey, current.runKID, same),
		"runs' kid":           sign(jose.RS256, own, current.runKID, same),
		"runs' key, own kid":  sign(jose.ES256, current.runKey, kid, same),
		"another issuer":      sign(jose.RS256, own, kid, func(c map[string]any) { c["iss"] = "https://x" }),
		"another audience":    sign(jose.RS256, own, kid, func(c map[string]any) { c["aud"] = "https://x" }),
		"no exp":              sign(jose.RS256, own, kid, func(c map[string]any) { delete(c, "exp") }),
		"no kind":             sign(jose.RS256, own, kid, func(c map[string]any) { delete(c, "kind") }),
		"not yet":             sign(jose.RS256, own, kid, func(c map[string]any) { c["nbf"] = f.clock.Add(time.Hour).Unix() }),
	} {
		if p, err := f.is.Verify(t.Context(), tok); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %+v %v", name, p, err)
		}
	}
	f.clock = f.clock.Add(time.Hour + 30*time.Second)
	if _, err := f.is.Verify(t.Context(), good); err != nil {
		t.Errorf("within the leeway: %v", err)
	}
	f.clock = f.clock.Add(time.Hour)
	if _, err := f.is.Verify(t.Context(), good); !errors.Is(err, ErrExpired) {
		t.Errorf("expired: %v", err)
	}
}

// TestRunsToken is signed by the curve's key, also by a server that reads the keys anew.
func TestRunsToken(t *testing.T) {
	f := newFixture(t)
	tok, err := f.is.Issue(t.Context(), Claims{Subject: "run", Kind: KindRun, Scope: "/Job"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if head, _ := base64.RawURLEncoding.DecodeString(strings.Split(tok, ".")[0]); !strings.Contains(string(head), `"ES256"`) {
		t.Errorf("header %s", head)
	}
	f.reload()
	if p, err := f.is.Verify(t.Context(), tok); err != nil || p.Kind != KindRun || p.Scope != "/job" {
		t.Errorf("%+v %v", p, err)
	}
}

// TestTokenOfAnEndpoint: what is for a router is verified by the key set, and is nothing here.
func TestTokenOfAnEndpoint(t *testing.T) {
	f := newFixture(t)
	tok, err := f.is.Issue(t.Context(), Claims{Subject: "ada", Kind: KindUser, Audience: "https://fl.example/onlineEndpoints/1"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.is.Verify(t.Context(), tok); !errors.Is(err, ErrInvalid) {
		t.Errorf("taken as a token of this control plane: %v", err)
	}
	raw, err := f.is.KeySet()
	if err != nil {
		t.Fatal(err)
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal([]byte(raw), &set); err != nil || len(set.Keys) != 1 || set.Keys[0].Algorithm != "RS256" || !set.Keys[0].IsPublic() {
		t.Fatalf("key set %s: %v", raw, err)
	}
	parsed, err := jwt.ParseSigned(tok, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	var claims jwt.Claims
	if err := parsed.Claims(set.Keys[0], &claims); err != nil || claims.Audience[0] != "https://fl.example/onlineEndpoints/1" {
		t.Errorf("%+v, %v", claims, err)
	}
}

// TestAssertionsAreUsedOnceEverywhere: another server of the same store, or this one after a restart, knows what was used.
func TestAssertionsAreUsedOnceEverywhere(t *testing.T) {
	f := newFixture(t)
	used := f.assertion(clientKey(), cluster, nil)
	if w, m := f.token(used); w.Code != 200 {
		t.Fatalf("%d %v", w.Code, m)
	}
	f.reload()
	if w, m := f.token(used); w.Code != 401 || !strings.Contains(m["error_description"].(string), "jti was used") {
		t.Errorf("at another server: %d %v", w.Code, m)
	}
	if w, m := f.token(f.assertion(clientKey(), cluster, nil)); w.Code != 200 {
		t.Errorf("another assertion: %d %v", w.Code, m)
	}
}

// TestSecretsQueueIsBounded: requests beyond those that wait are told to come back, and those that wait are answered.
func TestSecretsQueueIsBounded(t *testing.T) {
	f := newFixture(t)
	for range throttle.MaxChecks {
		if oe := f.is.checks.Enter(t.Context()); oe != nil {
			t.Fatal(oe)
		}
	}
	ctx, giveUp := context.WithCancel(t.Context())
	refused := make(chan error, throttle.MaxWaiting)
	for range throttle.MaxWaiting - 1 {
		go func() { refused <- f.is.checks.Enter(ctx) }()
	}
	answered := make(chan int, 1)
	good := url.Values{"grant_type": {"client_credentials"}, "client_id": {"app1"}, "client_secret": {"s3cr+t &%"}}
	go func() { w, _ := f.token(maps.Clone(good)); answered <- w.Code }()
	for deadline := time.Now().Add(time.Minute); f.is.checks.Len() < throttle.MaxChecks+throttle.MaxWaiting; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d wait", f.is.checks.Len())
		}
	}
	if w, m := f.token(maps.Clone(good)); w.Code != 429 || w.Header().Get("Retry-After") != "1" {
		t.Errorf("beyond the queue: %d %v", w.Code, m)
	}
	giveUp()
	for range throttle.MaxWaiting - 1 {
		if oe := <-refused; oe == nil {
			t.Error("entered though all slots are taken")
		}
	}
	for range throttle.MaxChecks {
		f.is.checks.Leave()
	}
	if code := <-answered; code != 200 {
		t.Errorf("who waited was answered %d", code)
	}
	if n := f.is.checks.Len(); n != 0 {
		t.Errorf("%d are left in the queue", n)
	}
}

func TestDiscovery(t *testing.T) {
	f := newFixture(t)
	for _, p := range []string{"/v2.0/.well-known/openid-configuration", "/.well-known/openid-configuration"} {
		w, m := f.request("GET", "/"+tenant+p, "", nil)
		if w.Code != 200 || m["issuer"] != public+"/"+tenant+"/v2.0" || m["token_endpoint"] != f.is.TokenURL() || m["jwks_uri"] != public+"/"+tenant+"/discovery/v2.0/keys" {
			t.Errorf("%s: %d %v", p, w.Code, m)
		}
	}
}

// FuzzVerify: no bytes make a principal, for nobody knows the key.
func FuzzVerify(f *testing.F) {
	st, err := sqlite.Open(f.Context(), filepath.Join(f.TempDir(), "test.db"))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { st.Close() })
	box, err := seal.New(seal.NewKey())
	if err != nil {
		f.Fatal(err)
	}
	is, err := New(f.Context(), Config{Keys: KeyStore{st, box}, PublicURL: public, TenantID: tenant})
	if err != nil {
		f.Fatal(err)
	}
	good, err := is.Issue(f.Context(), Claims{Subject: "u", Kind: KindUser}, time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:len(good)-1])
	f.Add("..")
	f.Add(`{"payload":"","signatures":[]}`)
	f.Fuzz(func(t *testing.T, tok string) {
		if p, err := is.Verify(t.Context(), tok); err == nil && tok != good {
			// Base64 has spare bits in its last character, so a different text may be the same token.
			if !strings.HasPrefix(tok, good[:len(good)-1]) {
				t.Errorf("%q is %+v", tok, p)
			}
		}
		_, _ = parseAssertion(tok, is.Name())
	})
}
