package kubetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// certs is a CA with one server and one client certificate below it, also written to files.
type certs struct {
	dir                       string
	ca, clientCert, clientKey []byte
}

func (c certs) path(name string) string { return filepath.Join(c.dir, name) }

func writeCerts(dir string) (certs, error) {
	c := certs{dir: dir}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	caTemplate := template(1, pkix.Name{CommonName: "kubetest"})
	caTemplate.IsCA, caTemplate.BasicConstraintsValid = true, true
	caTemplate.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, caTemplate, caTemplate, caKey.Public(), caKey)
	if err != nil {
		return c, err
	}
	c.ca = encode("CERTIFICATE", der)
	server := template(2, pkix.Name{CommonName: "kube-apiserver"})
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	serverCert, serverKey, err := sign(server, caTemplate, caKey)
	if err != nil {
		return c, err
	}
	client := template(3, pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}})
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if c.clientCert, c.clientKey, err = sign(client, caTemplate, caKey); err != nil {
		return c, err
	}
	for name, data := range map[string][]byte{"ca.crt": c.ca, "server.crt": serverCert, "server.key": serverKey} {
		if err := os.WriteFile(c.path(name), data, 0o600); err != nil {
			return c, err
		}
	}
	return c, nil
}

func template(serial int64, subject pkix.Name) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: subject, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

func sign(t, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (cert, key []byte, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, k.Public(), parentKey)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		return nil, nil, err
	}
	return encode("CERTIFICATE", der), encode("EC PRIVATE KEY", keyDER), nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
