// Package pki makes the certificate authorities, certificates and keys of a local cluster, and keeps them in a folder.
// Everything is ECDSA P-256; authorities last ten years, certificates one year and are renewed by the next start within
// the last ninety days.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 365 * 24 * time.Hour
	renewBefore   = 90 * 24 * time.Hour
)

// Folder is where keys are kept. Now is the clock.
type Folder struct {
	Dir string
	Now func() time.Time
}

// Authority signs certificates. Its files are <name>.crt and <name>.key.
type Authority struct {
	folder Folder
	name   string
	cert   *x509.Certificate
	key    crypto.Signer
}

// Leaf is what a certificate says. Server and Client are the uses it is good for.
type Leaf struct {
	Name           string // the files are <Name>.crt and <Name>.key
	CommonName     string
	Groups         []string
	DNSNames       []string
	IPs            []net.IP
	Server, Client bool
}

// CertFile and KeyFile are where the certificate and the key of a name are.
func (f Folder) CertFile(name string) string { return filepath.Join(f.Dir, name+".crt") }

// KeyFile is where the private key of a name is.
func (f Folder) KeyFile(name string) string { return filepath.Join(f.Dir, name+".key") }

// Authority loads the authority of that name, or makes it.
func (f Folder) Authority(name, commonName string) (*Authority, error) {
	cert, key, err := f.load(name)
	if err == nil && cert.IsCA && cert.NotAfter.After(f.Now()) {
		return &Authority{folder: f, name: name, cert: cert, key: key}, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("making the key of %s: %w", name, err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: commonName}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	if cert, err = f.sign(template, nil, key, key, authorityLife); err != nil {
		return nil, err
	}
	return &Authority{folder: f, name: name, cert: cert, key: key}, f.save(name, cert, key)
}

// Issue makes a certificate unless a fitting one that is good for another ninety days is there.
func (a *Authority) Issue(l Leaf) error {
	old, _, err := a.folder.load(l.Name)
	if err == nil && a.fits(old, l) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making the key of %s: %w", l.Name, err)
	}
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: l.CommonName, Organization: l.Groups},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: l.usages(), DNSNames: l.DNSNames, IPAddresses: l.IPs,
	}
	cert, err := a.folder.sign(template, a.cert, key, a.key, leafLife)
	if err != nil {
		return err
	}
	return a.folder.save(l.Name, cert, key)
}

func (l Leaf) usages() []x509.ExtKeyUsage {
	var out []x509.ExtKeyUsage
	if l.Server {
		out = append(out, x509.ExtKeyUsageServerAuth)
	}
	if l.Client {
		out = append(out, x509.ExtKeyUsageClientAuth)
	}
	return out
}

func (a *Authority) fits(c *x509.Certificate, l Leaf) bool {
	sameIPs := slices.EqualFunc(c.IPAddresses, l.IPs, func(x, y net.IP) bool { return x.Equal(y) })
	return c.CheckSignatureFrom(a.cert) == nil && c.NotAfter.After(a.folder.Now().Add(renewBefore)) &&
		c.Subject.CommonName == l.CommonName && slices.Equal(c.Subject.Organization, l.Groups) &&
		slices.Equal(c.DNSNames, l.DNSNames) && sameIPs && slices.Equal(c.ExtKeyUsage, l.usages())
}

// SigningKey makes a key pair without a certificate (<name>.key, <name>.pub), which signs service account tokens.
func (f Folder) SigningKey(name string) error {
	pub := filepath.Join(f.Dir, name+".pub")
	if _, err := os.Stat(pub); err == nil {
		return nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making the key of %s: %w", name, err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return fmt.Errorf("encoding the public key of %s: %w", name, err)
	}
	if err := f.saveKey(name, key); err != nil {
		return err
	}
	return writeFile(pub, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o644)
}

func (f Folder) sign(template, parent *x509.Certificate, key, signer crypto.Signer, life time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("making a serial number: %w", err)
	}
	template.SerialNumber = serial
	template.NotBefore = f.Now().Add(-time.Hour)
	template.NotAfter = f.Now().Add(life)
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("signing the certificate of %s: %w", template.Subject.CommonName, err)
	}
	return x509.ParseCertificate(der)
}

func (f Folder) load(name string) (*x509.Certificate, crypto.Signer, error) {
	certPEM, err := os.ReadFile(f.CertFile(name))
	if err != nil {
		return nil, nil, err
	}
	keyPEM, err := os.ReadFile(f.KeyFile(name))
	if err != nil {
		return nil, nil, err
	}
	c, _ := pem.Decode(certPEM)
	k, _ := pem.Decode(keyPEM)
	if c == nil || k == nil {
		return nil, nil, fmt.Errorf("reading the certificate of %s: no PEM block in %s or its key", name, f.CertFile(name))
	}
	cert, err := x509.ParseCertificate(c.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the certificate of %s: %w", name, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(k.Bytes)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the key of %s: %w", name, err)
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("reading the key of %s: a %T cannot sign", name, parsed)
	}
	return cert, key, nil
}

func (f Folder) save(name string, cert *x509.Certificate, key crypto.Signer) error {
	if err := f.saveKey(name, key); err != nil {
		return err
	}
	return writeFile(f.CertFile(name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o644)
}

func (f Folder) saveKey(name string, key crypto.Signer) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding the key of %s: %w", name, err)
	}
	if err := os.MkdirAll(f.Dir, 0o700); err != nil {
		return fmt.Errorf("making the folder of keys: %w", err)
	}
	return writeFile(f.KeyFile(name), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}

// writeFile replaces a file in one step, so that a kill never leaves half a key.
func writeFile(path string, data []byte, mode os.FileMode) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return os.Rename(tmp, path)
}
