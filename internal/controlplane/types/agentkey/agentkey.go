// Package agentkey reads the public key that an agent registers when its cluster is connected.
package agentkey

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"
)

// minBits is the smallest RSA key accepted.
const minBits = 2048

// Key is a registered key.
type Key struct {
	Public *rsa.PublicKey
	// NotAfter is when the certificate ends; zero for a bare key, which does not.
	NotAfter time.Time
}

// Parse reads an RSA public key (PKCS #1 or PKIX) or an X.509 certificate, as PEM or as base64 of DER.
func Parse(s string) (Key, error) {
	der, err := decode(strings.TrimSpace(s))
	if err != nil {
		return Key{}, err
	}
	key, err := parseDER(der)
	if err != nil {
		return Key{}, err
	}
	if n := key.Public.N.BitLen(); n < minBits {
		return Key{}, fmt.Errorf("is an RSA key of %d bits; at least %d are needed", n, minBits)
	}
	return key, nil
}

func decode(s string) ([]byte, error) {
	if s == "" {
		return nil, errors.New("is empty")
	}
	if strings.HasPrefix(s, "-----BEGIN") {
		block, _ := pem.Decode([]byte(s))
		if block == nil {
			return nil, errors.New("begins like PEM but is not; give the whole block with its END line")
		}
		if strings.Contains(block.Type, "PRIVATE") {
			return nil, errors.New("is a private key; give the public key and keep this one to the agent")
		}
		return block.Bytes, nil
	}
	s = strings.Join(strings.Fields(s), "")
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if der, err := enc.DecodeString(s); err == nil {
			return der, nil
		}
	}
	return nil, errors.New("is neither PEM nor base64")
}

func parseDER(der []byte) (Key, error) {
	if k, err := x509.ParsePKCS1PublicKey(der); err == nil {
		return Key{Public: k}, nil
	}
	if k, err := x509.ParsePKIXPublicKey(der); err == nil {
		rk, ok := k.(*rsa.PublicKey)
		if !ok {
			return Key{}, fmt.Errorf("is a key of type %T; an RSA key is needed", k)
		}
		return Key{Public: rk}, nil
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return Key{}, errors.New("is neither an RSA public key (PKCS #1 or PKIX) nor an X.509 certificate")
	}
	rk, ok := c.PublicKey.(*rsa.PublicKey)
	if !ok {
		return Key{}, fmt.Errorf("is a certificate of a key of type %T; an RSA key is needed", c.PublicKey)
	}
	return Key{Public: rk, NotAfter: c.NotAfter}, nil
}
