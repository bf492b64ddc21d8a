package pki

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func served(t *testing.T, a *Authority) *x509.Certificate {
	t.Helper()
	c, err := a.TLSConfig().GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(c.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestAuthority(t *testing.T) {
	c := &clock{time.Now()}
	cfg := Config{Dir: filepath.Join(t.TempDir(), "tls"), Hosts: []string{"fairlead.example", "127.0.0.1", "::1"}, Now: c.now}
	a, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"ca.key", "server.key"} {
		if fi, err := os.Stat(filepath.Join(cfg.Dir, f)); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, fi.Mode(), err)
		}
	}
	pem, err := os.ReadFile(a.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	cert := served(t, a)
	for _, h := range cfg.Hosts {
		if _, err := cert.Verify(x509.VerifyOptions{DNSName: h, Roots: pool, CurrentTime: c.at}); err != nil {
			t.Errorf("%s: %v", h, err)
		}
	}
	if len(cert.AuthorityKeyId) == 0 {
		t.Error("no authority key id: strict verifiers refuse it")
	}

	again, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !served(t, again).Equal(cert) {
		t.Error("a second start made another certificate")
	}
	cfg.Hosts = append(cfg.Hosts, "new.example")
	more, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := served(t, more).VerifyHostname("new.example"); err != nil {
		t.Error(err)
	}
	c.at = c.at.Add(serverLife * 3 / 4)
	renewed := served(t, more)
	if !renewed.NotAfter.After(cert.NotAfter.Add(serverLife / 2)) {
		t.Errorf("not renewed: ends %s, now %s", renewed.NotAfter, c.at)
	}
	if _, err := renewed.Verify(x509.VerifyOptions{DNSName: "new.example", Roots: pool, CurrentTime: c.at}); err != nil {
		t.Errorf("renewed certificate: %v", err)
	}
}

func TestOwnCertificateIsReloaded(t *testing.T) {
	c := &clock{time.Now()}
	made := func(host string) string {
		dir := t.TempDir()
		if _, err := Open(Config{Dir: dir, Hosts: []string{host}, Now: c.now}); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	first, second := made("first.example"), made("second.example")
	crt, key := filepath.Join(first, "server.crt"), filepath.Join(first, "server.key")
	a, err := Open(Config{CertFile: crt, KeyFile: key, Now: c.now})
	if err != nil {
		t.Fatal(err)
	}
	if a.CAFile() != "" {
		t.Error("CAFile for a certificate of the user's own")
	}
	for _, f := range []string{"server.key", "server.crt"} {
		if err := os.Rename(filepath.Join(second, f), filepath.Join(first, f)); err != nil {
			t.Fatal(err)
		}
	}
	later := time.Now().Add(time.Hour)
	if err := os.Chtimes(crt, later, later); err != nil {
		t.Fatal(err)
	}
	if err := served(t, a).VerifyHostname("first.example"); err != nil {
		t.Error("files looked at again within a minute:", err)
	}
	c.at = c.at.Add(2 * checkEvery)
	if err := served(t, a).VerifyHostname("second.example"); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(crt, []byte("broken"), 0o644); err != nil {
		t.Fatal(err)
	}
	c.at = c.at.Add(2 * checkEvery)
	if err := served(t, a).VerifyHostname("second.example"); err != nil {
		t.Error("a broken file replaced the good certificate:", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(Config{CertFile: "x"}); err == nil {
		t.Error("certificate without key accepted")
	}
	a, b := t.TempDir(), t.TempDir()
	for _, dir := range []string{a, b} {
		if _, err := Open(Config{Dir: dir}); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(filepath.Join(b, "ca.key"), filepath.Join(a, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{Dir: a}); err == nil {
		t.Error("another authority's key accepted")
	}
}

func TestHandshake(t *testing.T) {
	a, err := Open(Config{Dir: t.TempDir(), Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", a.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	pem, _ := os.ReadFile(a.CAFile())
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestHosts(t *testing.T) {
	got := Hosts([]string{"10.1.2.3:8443", "[fd00::1]:1", "bad"}, "https://fairlead.example:9")
	for _, want := range []string{"localhost", "127.0.0.1", "::1", "10.1.2.3", "fd00::1", "fairlead.example"} {
		if !slices.Contains(got, want) {
			t.Errorf("%s is missing in %v", want, got)
		}
	}
	if all := Hosts([]string{":8443"}, ""); len(all) < 3 || slices.ContainsFunc(all, func(h string) bool { ip := net.ParseIP(h); return ip != nil && ip.IsUnspecified() }) {
		t.Errorf("hosts of a server that listens everywhere: %v", all)
	}
}
