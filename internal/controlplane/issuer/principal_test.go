package issuer

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

func (f *fixture) secret(secret string, ends time.Time) Credential {
	f.t.Helper()
	c, err := SecretCredential(secret, f.clock, ends)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// TestSecretsAreRolled: each of a principal's secrets is good until it ends or goes, whatever becomes of the others.
func TestSecretsAreRolled(t *testing.T) {
	f := newFixture(t)
	day := 24 * time.Hour
	f.create(ServicePrincipal{ClientID: "app2", DisplayName: "trainer", Credentials: []Credential{f.secret("first-secret", f.clock.Add(day)), f.secret("second-secret", f.clock.Add(9*day))}})
	try := func(secret string, status int, says string) {
		t.Helper()
		w, m := f.token(url.Values{"client_id": {"app2"}, "client_secret": {secret}})
		if description, _ := m["error_description"].(string); w.Code != status || !strings.Contains(description, says) {
			t.Errorf("%s: %d %v", secret, w.Code, m)
		}
	}
	try("first-secret", 200, "")
	try("second-secret", 200, "")
	try("firsecond", 401, "AADSTS7000215")
	f.clock = f.clock.Add(day)
	try("first-secret", 401, "AADSTS7000222: The provided client secret of 'app2' expired at 2026-01-03T03:04:05Z")
	try("second-secret", 200, "")
	err := f.store.Update(t.Context(), func(tx store.Tx) error {
		_, err := EditServicePrincipal(t.Context(), tx, "Trainer", f.clock, func(sp *ServicePrincipal) error {
			sp.Credentials = sp.Credentials[:1]
			return nil
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	try("second-secret", 401, "AADSTS7000215")
	rec, err := f.store.Get(t.Context(), principalKey("app2"))
	if err != nil || strings.Contains(string(rec.Body)+string(rec.Internal), "first-secret") {
		t.Errorf("stored %s %s, %v", rec.Body, rec.Internal, err)
	}
}

// TestCertificates: an assertion is checked by the certificate that it names, or by any when it names none.
func TestCertificates(t *testing.T) {
	f := newFixture(t)
	old, current := f.certificate(newerKey(), f.clock.Add(time.Hour)), f.certificate(clientKey(), f.clock.Add(48*time.Hour))
	other := func(c Credential) string { return base64.StdEncoding.EncodeToString(thumbprint(c.Certificate)) }
	for ends := f.clock.Add(48 * time.Hour); !strings.ContainsAny(other(current), "+/"); ends = ends.Add(time.Second) {
		current = f.certificate(clientKey(), ends)
	}
	f.create(ServicePrincipal{ClientID: "app2", DisplayName: "trainer", Credentials: []Credential{old, current, f.secret("s", time.Time{})}})
	sign := func(alg jose.SignatureAlgorithm, key any, header string, sum string) url.Values {
		o := &jose.SignerOptions{}
		if header != "" {
			o.WithHeader(jose.HeaderKey(header), sum)
		}
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, o)
		if err != nil {
			t.Fatal(err)
		}
		tok, err := jwt.Signed(s).Claims(map[string]any{"iss": "app2", "sub": "app2", "aud": f.is.TokenURL(), "jti": time.Now().String(), "exp": f.clock.Add(5 * time.Minute).Unix()}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return url.Values{"client_id": {"app2"}, "client_assertion_type": {AssertionType}, "client_assertion": {tok}}
	}
	sha1 := func(c Credential) string { return base64.RawURLEncoding.EncodeToString(thumbprint(c.Certificate)) }
	sha256 := func(c Credential) string { return base64.RawURLEncoding.EncodeToString(sum256(c.Certificate)) }
	for range 2 { // the second time a day later
		later := old.Ended(f.clock)
		for name, c := range map[string]struct {
			form   url.Values
			status int
			says   string
		}{
			"x5t":                         {sign(jose.RS256, clientKey(), "x5t", sha1(current)), 200, ""},
			"x5t as Go's library has it":  {sign(jose.RS256, clientKey(), "x5t", other(current)), 200, ""},
			"x5t#S256, PS256":             {sign(jose.PS256, clientKey(), "x5t#S256", sha256(current)), 200, ""},
			"no name":                     {sign(jose.PS256, clientKey(), "", ""), 200, ""},
			"the other's name":            {sign(jose.PS256, newerKey(), "x5t#S256", sha256(current)), 401, "does not match"},
			"not registered":              {sign(jose.PS256, otherKey(), "x5t#S256", sha256(f.certificate(otherKey(), f.clock.Add(time.Hour)))), 401, "is not registered"},
			"another key, without a name": {sign(jose.RS256, otherKey(), "", ""), 401, "does not match"},
		} {
			if w, m := f.token(c.form); w.Code != c.status || c.says != "" && !strings.Contains(m["error_description"].(string), c.says) {
				t.Errorf("%s: %d %v", name, w.Code, m)
			}
		}
		w, m := f.token(sign(jose.RS256, newerKey(), "x5t", sha1(old)))
		if says, _ := m["error_description"].(string); !later && w.Code != 200 || later && (w.Code != 401 || !strings.Contains(says, "ended at 2026-01-02T04:04:05Z")) {
			t.Errorf("the former, later %v: %d %v", later, w.Code, m)
		}
		f.clock = f.clock.Add(24 * time.Hour)
	}
}

func TestCertificatesRefused(t *testing.T) {
	f := newFixture(t)
	for text, want := range map[string]string{
		"": "is empty", "%": "neither PEM nor base64", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n": "no certificate",
		base64.StdEncoding.EncodeToString(f.certificate(clientKey(), f.clock.Add(-time.Minute+time.Hour)).Certificate)[:40]: "certificate",
	} {
		if c, err := CertificateCredential(text, f.clock); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
	good := f.certificate(clientKey(), f.clock.Add(time.Hour))
	if _, err := CertificateCredential(base64.StdEncoding.EncodeToString(good.Certificate), f.clock.Add(2*time.Hour)); err == nil || !strings.Contains(err.Error(), "ended at") {
		t.Errorf("an old certificate: %v", err)
	}
}

// TestPrincipalOfAnEarlierRelease: its one secret stays good, and is a credential like others from the first change on.
func TestPrincipalOfAnEarlierRelease(t *testing.T) {
	f := newFixture(t)
	h, err := hashSecret("from before")
	if err != nil {
		t.Fatal(err)
	}
	internal, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	key := principalKey("app3")
	err = f.store.Update(t.Context(), func(tx store.Tx) error {
		_, err := tx.Put(t.Context(), store.Record{Key: key, ID: key, Type: TypeServicePrincipal, Name: "app3", Body: json.RawMessage(`{"clientId":"app3","objectId":"o3","displayName":"former"}`),
			Internal: internal, CreatedAt: f.clock, UpdatedAt: f.clock})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if w, m := f.token(url.Values{"client_id": {"app3"}, "client_secret": {"from before"}}); w.Code != 200 || f.principal(m).ID != "o3" {
			t.Errorf("%d %v", w.Code, m)
		}
		err := f.store.Update(t.Context(), func(tx store.Tx) error {
			_, err := EditServicePrincipal(t.Context(), tx, "former", f.clock, func(sp *ServicePrincipal) error {
				sp.Credentials = append(sp.Credentials, f.secret("another", time.Time{}))
				return nil
			})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	all, err := ServicePrincipals(t.Context(), f.store)
	if err != nil || len(all) != 2 || all[0].DisplayName != "ada" || all[1].DisplayName != "former" || len(all[1].Credentials) != 3 {
		t.Errorf("%+v, %v", all, err)
	}
}

func FuzzCertificateCredential(f *testing.F) {
	f.Add("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----")
	f.Add("MIIB")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := CertificateCredential(text, time.Unix(0, 0))
		if err == nil {
			if _, err := c.publicKey(); err != nil {
				t.Errorf("taken, but its key does not read: %v", err)
			}
		}
	})
}
