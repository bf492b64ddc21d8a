package extensionsettings

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	certKey = "scoringFe.sslCert"
	keyKey  = "scoringFe.sslKey"
)

// fileOf is the setting that a user gives a secret by.
var fileOf = map[string]string{certKey: "sslCertPemFile", keyKey: "sslKeyPemFile"}

// checkTLS checks how endpoints are served.
func (s Settings) checkTLS(on map[string]string, o Options) Problems {
	secret := s.given("sslSecret")
	if secret == "" {
		secret = s.given("scoringFe.sslSecret")
	}
	cert, key := s.Protected[certKey], s.Protected[keyKey]
	switch {
	case cert == "" && key == "" && (s.Protected["sslCertPemFile"] != "" || s.Protected["sslKeyPemFile"] != ""):
		return Problems{{Key: "sslCertPemFile", Protected: true, Why: "is the name of a file, which the control plane cannot read",
			Fix: "Send base64 of the two files' contents as scoringFe.sslCert and scoringFe.sslKey, as 'k8s-extension' does."}}
	case cert != "" && key == "" || cert == "" && key != "":
		return Problems{half(cert)}
	case cert != "" && secret != "":
		return Problems{{Key: "sslSecret", Value: secret, Why: "is given with a certificate and key of its own",
			Fix: "Give either sslSecret, or sslCertPemFile and sslKeyPemFile. On update, sslSecret= takes the one away and --configuration-protected-settings without values the others.", Exclusive: true}}
	case cert != "":
		if p := s.checkPair(s.given("sslCname"), o); p != nil {
			return Problems{*p}
		}
		return nil
	}
	return missingTLS(on, secret, o)
}

func half(cert string) Problem {
	missing, given := certKey, keyKey
	if cert != "" {
		missing, given = keyKey, certKey
	}
	return Problem{Key: missing, Protected: true, Why: fmt.Sprintf("(%s) is missing beside %s", fileOf[missing], given), Fix: "sslCertPemFile and sslKeyPemFile belong together; give both."}
}

func missingTLS(on map[string]string, secret string, o Options) Problems {
	if on["enableInference"] != "True" || on["allowInsecureConnections"] == "True" {
		return nil
	}
	switch {
	case secret == "" && !o.KeepsProtected:
		return Problems{{Key: "sslSecret", Fix: textNoTLS}}
	case secret != "" && on["sslCname"] == "":
		return Problems{{Key: "sslCname", Fix: textNoName}}
	}
	return nil
}

// checkPair checks that certificate and key can serve name, "" for any.
func (s Settings) checkPair(name string, o Options) *Problem {
	bad := func(key, why, fix string) *Problem {
		return &Problem{Key: key, Protected: true, Why: fmt.Sprintf("(%s) %s", fileOf[key], why), Fix: fix}
	}
	chain, err := s.pemOf(certKey)
	if err != nil {
		return bad(certKey, err.Error(), "Give a certificate as PEM (-----BEGIN CERTIFICATE-----), with its chain after it.")
	}
	private, err := s.pemOf(keyKey)
	if err != nil {
		return bad(keyKey, err.Error(), "Give the certificate's key as PEM (-----BEGIN PRIVATE KEY-----).")
	}
	if passphrase(private) {
		return bad(keyKey, "is protected by a passphrase, which is not supported", "Write it without one: openssl pkey -in key.pem -out plain.pem")
	}
	leaf, err := leafOf(chain)
	if err != nil {
		return bad(certKey, err.Error(), "Give a certificate as PEM (-----BEGIN CERTIFICATE-----), with its chain after it.")
	}
	if _, err := tls.X509KeyPair(chain, private); err != nil {
		return bad(keyKey, fmt.Sprintf("does not fit the certificate (%v)", strings.TrimPrefix(err.Error(), "tls: ")), "Give the key of the first certificate in sslCertPemFile.")
	}
	if why := outOfDate(leaf, o.Now); why != "" {
		return bad(certKey, why, "Give one that is valid now.")
	}
	if name != "" && !serves(leaf, name) {
		return bad(certKey, fmt.Sprintf("is for %s and not for sslCname=%q", strings.Join(names(leaf), ", "), name), "Set sslCname to a name in the certificate, or leave it out.")
	}
	return nil
}

// pemOf is the decoded content of a file. The error completes a sentence.
func (s Settings) pemOf(key string) ([]byte, error) {
	data, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s.Protected[key]))
	if err != nil {
		return nil, errors.New("is not base64 of a PEM file")
	}
	if block, _ := pem.Decode(data); block == nil {
		return nil, errors.New("is not a PEM file")
	}
	return data, nil
}

func passphrase(data []byte) bool {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if strings.Contains(block.Type, "ENCRYPTED") || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return true
		}
	}
	return false
}

// leafOf is the first certificate of a chain.
func leafOf(data []byte) (*x509.Certificate, error) {
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("holds a certificate that cannot be read (%w)", err)
		}
		return leaf, nil
	}
	return nil, errors.New("holds no certificate")
}

func outOfDate(c *x509.Certificate, now time.Time) string {
	switch {
	case now.IsZero():
		return ""
	case now.After(c.NotAfter):
		return "expired at " + c.NotAfter.UTC().Format(time.RFC3339)
	case now.Before(c.NotBefore):
		return "is not valid before " + c.NotBefore.UTC().Format(time.RFC3339)
	}
	return ""
}

// names lists whom a certificate is for; one without alternative names is for its common name.
func names(c *x509.Certificate) []string {
	switch {
	case len(c.DNSNames) > 0:
		return c.DNSNames
	case c.Subject.CommonName != "":
		return []string{c.Subject.CommonName}
	}
	return []string{"nobody"}
}

func serves(c *x509.Certificate, name string) bool {
	if len(c.DNSNames) == 0 {
		return strings.EqualFold(c.Subject.CommonName, name)
	}
	return c.VerifyHostname(name) == nil
}

// certificateName is the first name in the certificate that a client can ask for, "" without one.
func (s Settings) certificateName() string {
	chain, err := s.pemOf(certKey)
	if err != nil {
		return ""
	}
	leaf, err := leafOf(chain)
	if err != nil {
		return ""
	}
	for _, n := range names(leaf) {
		if name, ok := dnsName.canonical(n); ok && n != "nobody" {
			return name
		}
	}
	return ""
}

// CheckPair says what is wrong with a certificate and its key, both PEM, that shall serve name; nil when they do.
func CheckPair(cert, key []byte, name string, now time.Time) *Problem {
	s := Settings{Protected: map[string]string{certKey: base64.StdEncoding.EncodeToString(cert), keyKey: base64.StdEncoding.EncodeToString(key)}}
	return s.checkPair(name, Options{Now: now})
}
