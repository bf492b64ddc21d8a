// Package pki makes the certificate authority and the server certificate of a control plane that was given none, renews the
// certificate before it ends, and picks up changed files without a restart.
//
//	ca.crt  ca.key (0600)  server.crt  server.key (0600)
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Lifetimes. The certificate is renewed when a third of its life is left.
const (
	caLife     = 10 * 365 * 24 * time.Hour
	serverLife = 90 * 24 * time.Hour
	// checkEvery bounds how often files and dates are looked at.
	checkEvery = time.Minute
)

// Config says where the files are and what the certificate is for.
type Config struct {
	Dir string
	// Hosts are DNS names and IP addresses; see Hosts.
	Hosts []string
	// CertFile and KeyFile name a certificate of the user's own; then nothing is made, only reloaded.
	CertFile, KeyFile string
	Now               func() time.Time
}

// Authority serves the current certificate.
type Authority struct {
	cfg  Config
	mu   sync.Mutex
	cert *tls.Certificate
	// stamp is the modification time of the loaded certificate file; checked when it was last looked at.
	stamp, checked time.Time
}

// Open makes what is missing and loads the certificate.
func Open(cfg Config) (*Authority, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	a := &Authority{cfg: cfg}
	if (cfg.CertFile == "") != (cfg.KeyFile == "") {
		return nil, errors.New("a certificate needs its key: give both files or neither")
	}
	if a.own() {
		if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("making certificate folder: %w", err)
		}
	}
	if err := a.refresh(); err != nil {
		return nil, err
	}
	return a, nil
}

// own reports whether this package makes the certificate.
func (a *Authority) own() bool { return a.cfg.CertFile == "" }

func (a *Authority) path(name string) string { return filepath.Join(a.cfg.Dir, name) }

// CAFile is the file that clients must trust; "" when the user brought a certificate.
func (a *Authority) CAFile() string {
	if !a.own() {
		return ""
	}
	return a.path("ca.crt")
}

// TLSConfig always serves the current certificate.
func (a *Authority) TLSConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return a.current() }}
}

// current reloads or renews when it is time. A failure keeps the certificate that is there: it is better than none.
func (a *Authority) current() (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cfg.Now().Sub(a.checked) >= checkEvery {
		if err := a.refresh(); err != nil && a.cert == nil {
			return nil, err
		}
	}
	return a.cert, nil
}

func (a *Authority) refresh() error {
	a.checked = a.cfg.Now()
	certFile, keyFile := a.cfg.CertFile, a.cfg.KeyFile
	if a.own() {
		certFile, keyFile = a.path("server.crt"), a.path("server.key")
		if err := a.renew(certFile, keyFile); err != nil {
			return err
		}
	}
	fi, err := os.Stat(certFile)
	if err != nil {
		return fmt.Errorf("reading certificate: %w", err)
	}
	if a.cert != nil && fi.ModTime().Equal(a.stamp) {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return fmt.Errorf("loading certificate %s: %w", certFile, err)
	}
	a.cert, a.stamp = &cert, fi.ModTime()
	return nil
}

// renew writes a new server certificate when there is none, or the one there ends soon, lacks a host or is not the authority's.
func (a *Authority) renew(certFile, keyFile string) error {
	ca, caKey, err := a.authority()
	if err != nil {
		return err
	}
	if _, err := os.Stat(keyFile); err == nil && a.good(certFile, ca) {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("generating server key: %w", err)
	}
	now := a.cfg.Now()
	tmpl := template("Fairlead control plane", now, serverLife)
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, h := range a.cfg.Hosts {
		if ip := net.ParseIP(h); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, ca, key.Public(), caKey)
	if err != nil {
		return fmt.Errorf("signing server certificate: %w", err)
	}
	if err := writeKey(keyFile, key); err != nil {
		return err
	}
	a.stamp = time.Time{} // two writes within a tick of the file system's clock have one time
	return writeFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
}

func (a *Authority) good(certFile string, ca *x509.Certificate) bool {
	cert, err := readCert(certFile)
	if err != nil || cert.CheckSignatureFrom(ca) != nil {
		return false
	}
	if cert.NotAfter.Sub(a.cfg.Now()) < serverLife/3 {
		return false
	}
	for _, h := range a.cfg.Hosts {
		if cert.VerifyHostname(h) != nil {
			return false
		}
	}
	return true
}

// authority loads the certificate authority, making it when both files are absent.
func (a *Authority) authority() (*x509.Certificate, crypto.Signer, error) {
	crtFile, keyFile := a.path("ca.crt"), a.path("ca.key")
	_, errCrt := os.Stat(crtFile)
	_, errKey := os.Stat(keyFile)
	if errors.Is(errCrt, os.ErrNotExist) && errors.Is(errKey, os.ErrNotExist) {
		if err := a.makeCA(crtFile, keyFile); err != nil {
			return nil, nil, err
		}
	}
	cert, err := readCert(crtFile)
	if err != nil {
		return nil, nil, fmt.Errorf("loading certificate authority: %w", err)
	}
	key, err := readKey(keyFile)
	if err != nil {
		return nil, nil, fmt.Errorf("loading key of the certificate authority: %w", err)
	}
	if pub, ok := key.Public().(*ecdsa.PublicKey); !ok || !pub.Equal(cert.PublicKey) {
		return nil, nil, fmt.Errorf("%s is not the key of %s; restore the right one, or move both away to make a new authority", keyFile, crtFile)
	}
	return cert, key, nil
}

func (a *Authority) makeCA(crtFile, keyFile string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("generating key of the certificate authority: %w", err)
	}
	tmpl := template("Fairlead CA", a.cfg.Now(), caLife)
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.MaxPathLenZero = true, true, true
	tmpl.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return fmt.Errorf("signing certificate authority: %w", err)
	}
	if err := writeFile(crtFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return err
	}
	return writeKey(keyFile, key)
}

func template(name string, now time.Time, life time.Duration) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		panic("pki: no randomness: " + err.Error())
	}
	serial.Add(serial, big.NewInt(1))
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name, Organization: []string{"Fairlead"}}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(life)}
}

// Hosts collects the names of a server from its listen addresses and public URL; localhost and, for an address that listens
// everywhere, every address of this machine are added.
func Hosts(listen []string, publicURL string) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if u, err := url.Parse(publicURL); err == nil && u.Hostname() != "" {
		hosts = append(hosts, u.Hostname())
	}
	for _, l := range listen {
		h, _, err := net.SplitHostPort(l)
		if err != nil {
			continue
		}
		if ip := net.ParseIP(h); h == "" || ip != nil && ip.IsUnspecified() {
			hosts = append(hosts, machine()...)
		} else {
			hosts = append(hosts, h)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

func machine() []string {
	var out []string
	if h, err := os.Hostname(); err == nil && h != "" {
		out = append(out, h)
	}
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
			out = append(out, n.IP.String())
		}
	}
	return out
}
