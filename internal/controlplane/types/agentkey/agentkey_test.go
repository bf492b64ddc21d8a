package agentkey

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1 := x509.MarshalPKCS1PublicKey(&key.PublicKey)
	pkix, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	end := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: end}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		in  string
		end time.Time
	}{
		"pkcs1 base64":       {in: base64.StdEncoding.EncodeToString(pkcs1)},
		"pkix base64":        {in: base64.StdEncoding.EncodeToString(pkix)},
		"pkix pem":           {in: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix}))},
		"certificate pem":    {in: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})), end: end},
		"certificate base64": {in: base64.StdEncoding.EncodeToString(cert), end: end},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(c.in)
			if err != nil {
				t.Fatal(err)
			}
			if !got.Public.Equal(&key.PublicKey) || !got.NotAfter.Equal(c.end) {
				t.Errorf("got another key, or end %v; want %v", got.NotAfter, c.end)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ecDER, err := x509.MarshalPKIXPublicKey(&ec.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	small := x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 1023, 1), E: 65537})
	for in, want := range map[string]string{
		"":                           "is empty",
		"-----BEGIN PUBLIC KEY-----": "not; give the whole block",
		"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----": "is a private key",
		"%%%":                                    "neither PEM nor base64",
		"AAAA":                                   "neither an RSA public key",
		base64.StdEncoding.EncodeToString(ecDER): "an RSA key is needed",
		base64.StdEncoding.EncodeToString(small): "1024 bits",
	} {
		if _, err := Parse(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Parse(%.40q): error %v; want %q in it", in, err, want)
		}
	}
}

// FuzzParse looks for panics.
func FuzzParse(f *testing.F) {
	f.Add("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----")
	f.Add("MIIB")
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := Parse(s); err == nil && k.Public == nil {
			t.Fatal("no key and no error")
		}
	})
}
