package pki

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"testing"
	"time"
)

func TestIssue(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := Folder{Dir: t.TempDir(), Now: func() time.Time { return now }}
	leaf := Leaf{
		Name: "apiserver", CommonName: "kube-apiserver", DNSNames: []string{"kubernetes"}, IPs: []net.IP{net.ParseIP("10.250.0.2")}, Server: true,
	}
	issue := func(l Leaf) []byte {
		t.Helper()
		ca, err := f.Authority("ca", "test")
		if err != nil {
			t.Fatal(err)
		}
		if err := ca.Issue(l); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(f.CertFile(l.Name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	first := issue(leaf)

	t.Run("it verifies for its names", func(t *testing.T) {
		pair, err := tls.LoadX509KeyPair(f.CertFile("apiserver"), f.KeyFile("apiserver"))
		if err != nil {
			t.Fatal(err)
		}
		roots := x509.NewCertPool()
		ca, _ := os.ReadFile(f.CertFile("ca"))
		roots.AppendCertsFromPEM(ca)
		for _, name := range []string{"kubernetes", "10.250.0.2"} {
			if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now}); err != nil {
				t.Errorf("verifying for %s: %v", name, err)
			}
		}
	})
	t.Run("keys are their owner's only", func(t *testing.T) {
		for _, n := range []string{"ca", "apiserver"} {
			if info, err := os.Stat(f.KeyFile(n)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s.key: %v, %v", n, info.Mode(), err)
			}
		}
	})
	t.Run("the same again changes nothing", func(t *testing.T) {
		if !bytes.Equal(first, issue(leaf)) {
			t.Error("the certificate changed")
		}
	})
	t.Run("another address makes a new one", func(t *testing.T) {
		other := leaf
		other.IPs = append(other.IPs, net.ParseIP("127.0.0.1"))
		if bytes.Equal(first, issue(other)) {
			t.Error("the certificate stayed")
		}
		first = issue(other)
		leaf = other
	})
	t.Run("near its end it is renewed", func(t *testing.T) {
		now = now.Add(leafLife - renewBefore + time.Hour)
		if bytes.Equal(first, issue(leaf)) {
			t.Error("the certificate stayed")
		}
	})
}

func TestSigningKey(t *testing.T) {
	f := Folder{Dir: t.TempDir(), Now: time.Now}
	for range 2 {
		if err := f.SigningKey("sa"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(f.KeyFile("sa")); err != nil {
		t.Error(err)
	}
}
