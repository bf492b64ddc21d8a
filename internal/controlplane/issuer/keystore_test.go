package issuer

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
)

func (f *fixture) pass(d time.Duration) {
	f.t.Helper()
	f.clock = f.clock.Add(d)
	if err := f.is.tendKeys(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) list() ([]KeyInfo, int) {
	f.t.Helper()
	keys, signs, err := f.keys.List(f.t.Context(), f.clock)
	if err != nil {
		f.t.Fatal(err)
	}
	return keys, signs
}

func (f *fixture) issue(ttl time.Duration) string {
	f.t.Helper()
	tok, err := f.is.Issue(f.t.Context(), Claims{Subject: "u", Kind: KindDeployment, Scope: "/d"}, ttl)
	if err != nil {
		f.t.Fatal(err)
	}
	return tok
}

// kidOf is the key that signed a token.
func kidOf(t *testing.T, token string) string {
	t.Helper()
	tok, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		t.Fatal(err)
	}
	return tok.Headers[0].KeyID
}

// TestRotationUnderAzuresClient: azidentity goes on over a rotation, with an issuer whose clock runs for half a year. What the former key
// signed is taken for as long as it lives, and refused once the key has gone.
func TestRotationUnderAzuresClient(t *testing.T) {
	f := newFixture(t)
	mux := http.NewServeMux()
	srv := httptest.NewTLSServer(mux)
	t.Cleanup(srv.Close)
	is, err := New(t.Context(), Config{Keys: f.keys, KeyAge: DefaultKeyAge, PublicURL: srv.URL, TenantID: tenant, Store: f.store, Now: f.now})
	if err != nil {
		t.Fatal(err)
	}
	f.is = is
	is.Register(mux)
	ask := func() string {
		t.Helper()
		c, err := azidentity.NewClientSecretCredential(tenant, "app1", "s3cr+t &%", &azidentity.ClientSecretCredentialOptions{DisableInstanceDiscovery: true,
			ClientOptions: azcore.ClientOptions{Transport: srv.Client(), Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: srv.URL}}})
		if err != nil {
			t.Fatal(err)
		}
		tok, err := c.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{srv.URL + "/.default"}})
		if err != nil {
			t.Fatal(err)
		}
		if p, err := f.is.Verify(t.Context(), tok.Token); err != nil || p.ID != "obj1" {
			t.Fatalf("%+v, %v", p, err)
		}
		return tok.Token
	}
	first := kidOf(t, ask())
	f.pass(DefaultKeyAge - Settle)
	if keys, signs := f.list(); len(keys) != 2 || signs != 0 || kidOf(t, ask()) != first {
		t.Fatalf("a day before: %+v, %d signs", keys, signs)
	}
	if set, err := f.is.KeySet(); err != nil || strings.Count(set, `"kid"`) != 2 {
		t.Errorf("clusters are told %s, %v", set, err)
	}
	f.pass(Settle - time.Second)
	long := f.issue(LongestTTL)
	f.pass(time.Second)
	second := kidOf(t, ask())
	if second == first || kidOf(t, long) != first {
		t.Fatalf("signed by %s, then by %s", first, second)
	}
	f.pass(LongestTTL - time.Second)
	if _, err := f.is.Verify(t.Context(), long); err != nil {
		t.Errorf("the longest token of the former key, on its last day: %v", err)
	}
	f.pass(24*time.Hour + 2*time.Second)
	if keys, _ := f.list(); len(keys) != 2 || keys[0].ID != second {
		t.Errorf("after its last token: %+v", keys)
	}
	if _, err := f.is.Verify(t.Context(), long); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "does not have") {
		t.Errorf("a token of a key that has gone: %v", err)
	}
	if ask(); f.is.ring.Load().at(f.clock).ID == second {
		t.Error("the second key still signs after its time")
	}
}

// TestServersAgree: of servers on one store that look after keys at once, one makes the next, and all take it into use.
func TestServersAgree(t *testing.T) {
	file := filepath.Join(t.TempDir(), "test.db")
	box, err := seal.New(seal.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	clock := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	now := func() time.Time { mu.Lock(); defer mu.Unlock(); return clock }
	servers := make([]*Issuer, 3)
	each := func(fn func(i int) error) {
		t.Helper()
		var wg sync.WaitGroup
		errs := make([]error, len(servers))
		for i := range servers {
			wg.Go(func() { errs[i] = fn(i) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	var stores []store.Store
	for range servers {
		st, err := sqlite.Open(t.Context(), file)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { st.Close() })
		stores = append(stores, st)
	}
	each(func(i int) (err error) {
		servers[i], err = New(t.Context(), Config{Keys: KeyStore{stores[i], box}, KeyAge: DefaultKeyAge, PublicURL: public, TenantID: tenant, Store: stores[i], Now: now})
		return err
	})
	for want, wait := range []time.Duration{0, DefaultKeyAge - Settle, Settle} {
		mu.Lock()
		clock = clock.Add(wait)
		mu.Unlock()
		each(func(i int) error { return servers[i].tendKeys(t.Context()) })
		keys, _, err := servers[0].cfg.Keys.List(t.Context(), now())
		if err != nil || len(keys) != min(want+1, 2) {
			t.Fatalf("after %s: %+v, %v", wait, keys, err)
		}
		for _, from := range servers {
			tok, err := from.Issue(t.Context(), Claims{Subject: "u", Kind: KindUser}, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			for _, at := range servers {
				if _, err := at.Verify(t.Context(), tok); err != nil {
					t.Errorf("after %s: %v", wait, err)
				}
			}
		}
	}
}

func TestKeysByHand(t *testing.T) {
	f := newFixture(t)
	old := f.issue(time.Hour)
	made, err := f.keys.Rotate(t.Context(), f.clock, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.pass(0)
	if f.is.ring.Load().at(f.clock).ID != made.ID {
		t.Error("the key that shall sign at once does not")
	}
	if _, err := f.is.Verify(t.Context(), old); err != nil {
		t.Errorf("old token: %v", err)
	}
	if err := f.keys.Remove(t.Context(), f.clock, made.ID); err == nil || !strings.Contains(err.Error(), "signs now") {
		t.Errorf("removing the key that signs: %v", err)
	}
	if err := f.keys.Remove(t.Context(), f.clock, "nonesuch"); err == nil || !strings.Contains(err.Error(), "nonesuch") {
		t.Errorf("removing one that is not there: %v", err)
	}
	if err := f.keys.Remove(t.Context(), f.clock, kidOf(t, old)); err != nil {
		t.Fatal(err)
	}
	f.pass(0)
	if _, err := f.is.Verify(t.Context(), old); !errors.Is(err, ErrInvalid) {
		t.Errorf("old token, its key removed: %v", err)
	}
	if _, err := f.is.Issue(t.Context(), Claims{Subject: "u", Kind: KindUser}, LongestTTL+time.Second); err == nil {
		t.Error("a token was issued that outlives its key")
	}
	_, m := f.request("GET", "/"+tenant+"/discovery/v2.0/keys", "", nil)
	if n := len(m["keys"].([]any)); n != 2 { // one and that for runs that is derived from it
		t.Errorf("%d keys published", n)
	}
	for _, k := range m["keys"].([]any) {
		if _, private := k.(map[string]any)["d"]; private {
			t.Fatal("a private key is published")
		}
	}
}

// TestKeysThatDoNotOpen are left out, and told of; with none left the server makes one, so that people can still sign in.
func TestKeysThatDoNotOpen(t *testing.T) {
	f := newFixture(t)
	old := f.issue(time.Hour)
	box, err := seal.New(seal.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	is, err := New(t.Context(), Config{Keys: KeyStore{f.store, box}, PublicURL: public, TenantID: tenant, Store: f.store, Now: f.now, Log: slog.New(slog.NewTextHandler(&said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := is.Verify(t.Context(), old); !errors.Is(err, ErrInvalid) {
		t.Errorf("a token of a key that does not open: %v", err)
	}
	f.is = is
	if kidOf(t, f.issue(time.Hour)) == kidOf(t, old) || !strings.Contains(said.String(), kidOf(t, old)) {
		t.Errorf("said %s", &said)
	}
}

// TestTakeOver: keys that an earlier release kept in files verify and sign as they did, and the files go.
func TestTakeOver(t *testing.T) {
	f := newFixture(t)
	dir := filepath.Join(t.TempDir(), "token-keys")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var newest string
	for i, age := range []time.Duration{time.Hour, 2 * time.Hour} {
		key := mustKey(2048)
		der, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		name, at := filepath.Join(dir, keyID(&key.PublicKey)+".pem"), f.clock.Add(-age)
		if err := errors.Join(os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600), os.Chtimes(name, at, at)); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			newest = keyID(&key.PublicKey)
		}
	}
	empty, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "test.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { empty.Close() })
	cfg := Config{Keys: KeyStore{empty, f.keys.Box}, FormerKeys: dir, PublicURL: public, TenantID: tenant, Store: empty, Now: f.now}
	for range 2 { // the second start finds none
		is, err := New(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if n, signs := len(is.ring.Load().keys), is.ring.Load().at(f.clock).ID; n != 2 || signs != newest {
			t.Errorf("%d keys, %s signs; want %s", n, signs, newest)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "half.pem"), []byte("-----BEGIN PRIV"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := New(context.WithoutCancel(t.Context()), cfg); err == nil || !strings.Contains(err.Error(), "half.pem") {
		t.Errorf("half a file: %v", err)
	}
}
