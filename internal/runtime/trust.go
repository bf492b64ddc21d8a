package runtime

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// bundleVars are what programs find CAs by: OpenSSL (and with it Python, Ruby and curl), and Python's requests.
var bundleVars = []string{"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}

// publicCAs are where images keep the public CAs; the last ones are of Python's certifi, in images that have no others.
var publicCAs = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/cacert.pem",
	"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
	"/opt/*/ssl/cacert.pem", "/usr/local/lib/python3*/site-packages/certifi/cacert.pem", "/usr/lib/python3*/*-packages/certifi/cacert.pem",
}

// privateCAs are the control plane's and those given for this cluster, such as a proxy's; nil when all is verified by public ones.
func (c Config) privateCAs() ([]byte, error) {
	var all []byte
	for _, path := range []string{c.CAPath, c.CustomCAPath} {
		pem, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(pem) == 0 {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading CA bundle: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("CA bundle %s holds no certificate", path)
		}
		all = append(append(all, pem...), '\n')
	}
	return all, nil
}

// trust writes the image's public CAs and the private ones into one file and gives the variables that lead the command to it. Where
// the image has no public ones, only OpenSSL is led there: it has none either, but requests may bring its own.
func (c Config) trust() (map[string]string, error) {
	private, err := c.privateCAs()
	if err != nil || private == nil {
		return nil, err
	}
	vars, public := bundleVars, c.publicCAs()
	if public == nil {
		vars = vars[:1]
	}
	path := filepath.Join(c.WorkDir, "ca-bundle.crt")
	if err := errors.Join(os.MkdirAll(c.WorkDir, 0o777), os.WriteFile(path, slices.Concat(public, []byte("\n"), private), 0o644)); err != nil {
		return nil, fmt.Errorf("writing CA bundle: %w", err)
	}
	env := map[string]string{}
	for _, name := range vars {
		env[name] = path
	}
	return env, nil
}

// publicCAs is the first bundle of the image that there is.
func (c Config) publicCAs() []byte {
	for _, pattern := range c.PublicCAs {
		found, _ := filepath.Glob(pattern)
		for _, path := range found {
			if pem, err := os.ReadFile(path); err == nil && len(pem) > 0 {
				return pem
			}
		}
	}
	return nil
}
