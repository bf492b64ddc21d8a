package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

const (
	issuer   = "https://fl.example"
	audience = "https://fl.example/endpoints/one"
)

type signer struct {
	t   testing.TB
	key *ecdsa.PrivateKey
	kid string
}

func newSigner(t testing.TB, kid string) signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{t, key, kid}
}

func (s signer) jwks() string {
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &s.key.PublicKey, KeyID: s.kid, Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

func (s signer) sign(iss, aud string, until time.Time) string {
	sig, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: s.key, KeyID: s.kid}}, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	claims := jwt.Claims{Issuer: iss, Audience: jwt.Audience{aud}}
	if !until.IsZero() {
		claims.Expiry = jwt.NewNumericDate(until)
	}
	token, err := jwt.Signed(sig).Claims(claims).Serialize()
	if err != nil {
		s.t.Fatal(err)
	}
	return token
}

func tokens(t testing.TB, jwks string) *Verifier {
	v, err := New(v1alpha1.EndpointAuth{Mode: v1alpha1.AuthAMLToken, Tokens: &v1alpha1.TokenAuth{Issuer: issuer, Audience: audience, JWKS: jwks}})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestTokens(t *testing.T) {
	s, later := newSigner(t, "k1"), time.Now().Add(time.Hour)
	v := tokens(t, s.jwks())
	good := s.sign(issuer, audience, later)
	for range 2 {
		if err := v.Check("Bearer " + good); err != nil {
			t.Fatal(err)
		}
	}
	if len(v.verified) != 1 {
		t.Errorf("%d tokens are remembered", len(v.verified))
	}
	parts := strings.Split(good, ".")
	symmetric, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(s.jwks() + strings.Repeat("x", 32))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	hs, err := jwt.Signed(symmetric).Claims(jwt.Claims{Issuer: issuer, Audience: jwt.Audience{audience}, Expiry: jwt.NewNumericDate(later)}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ token, want string }{
		"expired":          {s.sign(issuer, audience, time.Now().Add(-time.Hour)), "expired at"},
		"no expiry":        {s.sign(issuer, audience, time.Time{}), "when it expires"},
		"another endpoint": {s.sign(issuer, audience+"2", later), "another endpoint"},
		"another issuer":   {s.sign("https://evil", audience, later), "another endpoint"},
		"another key":      {newSigner(t, "k1").sign(issuer, audience, later), "not signed with a key"},
		"unknown kid":      {newSigner(t, "k2").sign(issuer, audience, later), "not signed with a key"},
		"symmetric":        {hs, "no JSON web token"},
		"none":             {"eyJhbGciOiJub25lIn0." + parts[1] + ".", "no JSON web token"},
		"no signature":     {parts[0] + "." + parts[1] + ".", "not signed"},
		"a key":            {"some-key", "no JSON web token"},
		"long":             {strings.Repeat("x", maxToken+1), "longer than"},
	} {
		if err := v.Check("Bearer " + c.token); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	v.now = func() time.Time { return later.Add(time.Hour) }
	if err := v.Check("Bearer " + good); err == nil {
		t.Error("a remembered token holds after it expired")
	}
}

func TestRememberedTokensAreBounded(t *testing.T) {
	s := newSigner(t, "k")
	v := tokens(t, s.jwks())
	for i := range maxKnown {
		v.verified[sha256.Sum256([]byte{byte(i), byte(i >> 8)})] = time.Now()
	}
	if err := v.Check("Bearer " + s.sign(issuer, audience, time.Now().Add(time.Hour))); err != nil {
		t.Fatal(err)
	}
	if len(v.verified) > maxKnown {
		t.Errorf("%d are remembered", len(v.verified))
	}
}

func TestSpecsThatCannotBeRead(t *testing.T) {
	sum := sha256.Sum256([]byte("k"))
	for want, spec := range map[string]v1alpha1.EndpointAuth{
		"auth.keyHashes[1]": {Mode: "Key", KeyHashes: []string{hex.EncodeToString(sum[:]), "abc"}},
		"auth.mode":         {Mode: "AADToken"},
		"auth.tokens needs": {Mode: "AMLToken"},
		"auth.tokens.jwks":  {Mode: "AMLToken", Tokens: &v1alpha1.TokenAuth{Issuer: "i", Audience: "a", JWKS: "{"}},
	} {
		v, err := New(spec)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if got := v.Check("Bearer k"); (got == nil) != (spec.Mode == "Key") {
			t.Errorf("%s: %v", want, got)
		}
	}
}

func FuzzCheck(f *testing.F) {
	s := newSigner(f, "k")
	v := tokens(f, s.jwks())
	good := s.sign(issuer, audience, time.Now().Add(time.Hour))
	f.Add("Bearer " + good)
	f.Add("Bearer a.b.c")
	f.Fuzz(func(t *testing.T, header string) {
		if err := v.Check(header); err == nil && !strings.Contains(header, good[:strings.LastIndex(good, ".")]) {
			t.Errorf("%q is accepted", header)
		}
	})
}
