package issuer

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
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

// TestManyKeys: no more are made by hand than are listed.
func TestManyKeys(t *testing.T) {
	f := newFixture(t)
	key := mustKey(2048)
	if err := f.store.Update(t.Context(), func(tx store.Tx) (err error) {
		for i := range maxKeys - 2 { // one is there
			err = errors.Join(err, f.keys.put(t.Context(), tx, KeyInfo{fmt.Sprint("k", i), f.clock, f.clock.Add(-time.Hour)}, key))
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	last, err := f.keys.Rotate(t.Context(), f.clock, Settle)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.keys.Rotate(t.Context(), f.clock, Settle); err == nil || !strings.Contains(err.Error(), "there are 100 signing keys") {
		t.Errorf("one more: %v", err)
	}
	if keys, _ := f.list(); len(keys) != maxKeys || keys[maxKeys-1].ID != last.ID {
		t.Errorf("%d keys, the last is %s", len(keys), keys[len(keys)-1].ID)
	}
}

// lists counts how often the store is asked for a list.
type lists struct {
	store.Store
	n int
}

func (l *lists) List(ctx context.Context, q store.Query) ([]store.Record, error) {
	l.n++
	return l.Store.List(ctx, q)
}

// TestUnknownKey: a server that is shown a token of a key that it does not know reads the keys again, but not whenever it is asked to.
func TestUnknownKey(t *testing.T) {
	f := newFixture(t)
	counted := &lists{Store: f.store}
	other, err := New(t.Context(), Config{Keys: KeyStore{counted, f.keys.Box}, PublicURL: public, TenantID: tenant, Store: f.store, Now: f.now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.keys.Rotate(t.Context(), f.clock, 0); err != nil {
		t.Fatal(err)
	}
	f.pass(0)
	tok := f.issue(time.Hour)
	counted.n = 0
	f.clock = f.clock.Add(rereadAfter - time.Second)
	if _, err := other.Verify(t.Context(), tok); !errors.Is(err, ErrInvalid) || counted.n != 0 {
		t.Errorf("keys were read %d times shortly after they had been: %v", counted.n, err)
	}
	f.clock = f.clock.Add(time.Second)
	if _, err := other.Verify(t.Context(), tok); err != nil || counted.n != 1 {
		t.Errorf("after %d readings of the keys: %v", counted.n, err)
	}
	f.clock = f.clock.Add(rereadAfter)
	stranger := newFixture(t).issue(time.Hour)
	for range 3 {
		if _, err := other.Verify(t.Context(), stranger); !errors.Is(err, ErrInvalid) {
			t.Errorf("a token of another installation: %v", err)
		}
	}
	if counted.n != 2 {
		t.Errorf("keys were read %d times, want once more", counted.n)
	}
}

// former is a folder of signing keys as earlier releases kept it.
type former struct {
	*fixture
	dir string
}

func newFormer(t *testing.T) former {
	t.Helper()
	f := former{newFixture(t), filepath.Join(t.TempDir(), "token-keys")}
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "empty.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	f.store, f.keys.Store = st, st
	if err := os.Mkdir(f.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return f
}

// add makes the file of a key and returns its id.
func (f former) add(at time.Time) string {
	f.t.Helper()
	key := mustKey(2048)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	name := filepath.Join(f.dir, keyID(&key.PublicKey)+".pem")
	if err := errors.Join(os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600), os.Chtimes(name, at, at)); err != nil {
		f.t.Fatal(err)
	}
	return keyID(&key.PublicKey)
}

func (f former) start() (*Issuer, error) {
	return New(f.t.Context(), Config{Keys: f.keys, FormerKeys: f.dir, PublicURL: public, TenantID: tenant, Store: f.store, Now: f.now})
}

// expect starts a server and says how many keys it has and which of them signs.
func (f former) expect(when string, n int, signs string) {
	f.t.Helper()
	is, err := f.start()
	if err != nil {
		f.t.Fatalf("%s: %v", when, err)
	}
	if ring := is.ring.Load(); len(ring.keys) != n || ring.at(f.clock).ID != signs {
		f.t.Errorf("%s: %d keys, %s signs; want %d, %s", when, len(ring.keys), ring.at(f.clock).ID, n, signs)
	}
}

// TestTakeOver: keys that an earlier release kept in files verify and sign as they did. The files stay for such a release, though nothing
// comes back from them, and what it makes there later settles before it signs here.
func TestTakeOver(t *testing.T) {
	f := newFormer(t)
	newest, older := f.add(f.clock.Add(-time.Hour)), f.add(f.clock.Add(-2*time.Hour))
	if err := os.WriteFile(filepath.Join(f.dir, ".new-123"), []byte("-----BEGIN PRIV"), 0o600); err != nil { // a server was killed
		t.Fatal(err)
	}
	f.expect("first start", 2, newest)
	f.expect("second start", 2, newest)
	if files, err := filepath.Glob(filepath.Join(f.dir, "*.pem")); err != nil || len(files) != 2 {
		t.Errorf("the files are %v, %v", files, err)
	}
	if err := f.keys.Remove(t.Context(), f.clock, older); err != nil {
		t.Fatal(err)
	}
	f.expect("one was removed", 1, newest)
	later := f.add(f.clock.Add(-time.Minute))
	f.expect("an older server made another", 2, newest)
	f.clock = f.clock.Add(Settle)
	f.expect("a day later", 2, later)
}

// TestTakeOverStarts: what is wrong with the folder is no reason not to start, unless a key would be lost.
func TestTakeOverStarts(t *testing.T) {
	f := newFormer(t)
	key := f.add(f.clock.Add(-time.Hour))
	if err := os.Symlink("gone just now", filepath.Join(f.dir, "gone.pem")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(f.dir, 0o500); err != nil { // as on a mount that is only read
		t.Fatal(err)
	}
	f.expect("a file that has gone", 1, key)
	if err := errors.Join(os.Chmod(f.dir, 0o700), os.WriteFile(filepath.Join(f.dir, "half.pem"), []byte("-----BEGIN PRIV"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.start(); err == nil || !strings.Contains(err.Error(), "half.pem") {
		t.Errorf("half a file: %v", err)
	}
	if err := os.RemoveAll(f.dir); err != nil {
		t.Fatal(err)
	}
	f.expect("no folder", 1, key)
}

// TestTakeOverAtOnce: two servers start on one folder.
func TestTakeOverAtOnce(t *testing.T) {
	f := newFormer(t)
	key := f.add(f.clock.Add(-time.Hour))
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := f.start(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	f.expect("after both", 1, key)
}
