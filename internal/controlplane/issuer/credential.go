package issuer

import (
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // names a certificate, as x5t does; it protects nothing
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
	"golang.org/x/crypto/argon2"

	"fairlead.dev/fairlead/internal/controlplane/types/agentkey"
)

// Kinds of credentials.
const (
	KindSecret      = "Secret"
	KindCertificate = "Certificate"
)

// maxCredentials is how many a principal may have.
const maxCredentials = 20

// hintLength is how much of a secret is kept in clear: people tell secrets apart by it, and the server which of several to compute.
const hintLength = 3

// Credential is one proof of a principal; the others stay good when it goes.
type Credential struct {
	ID   string `json:"id"`
	Kind string `json:"kind"`
	// Hint is what tells it from others: how a secret begins ("" is not known), a certificate's SHA-1 as x5t has it.
	Hint string    `json:"hint,omitempty"`
	Made time.Time `json:"made"`
	// Ends is when it is good no longer; zero is never.
	Ends   time.Time   `json:"ends,omitzero"`
	Secret *secretHash `json:"secret,omitempty"`
	// Certificate is DER.
	Certificate []byte `json:"certificate,omitempty"`
}

// Ended reports whether it is good no longer.
func (c Credential) Ended(now time.Time) bool { return !c.Ends.IsZero() && !now.Before(c.Ends) }

// secretHash is argon2id of a client secret.
type secretHash struct {
	Salt   []byte `json:"salt"`
	Hash   []byte `json:"hash"`
	Time   uint32 `json:"time"`
	Memory uint32 `json:"memory"` // KiB
}

// Cost of argon2id: OWASP's second profile. Secrets are 256 random bits, so this is for those who choose their own.
const argonTime, argonMemory = 2, 19 * 1024

func hashSecret(secret string) (secretHash, error) {
	h := secretHash{Salt: make([]byte, 16), Time: argonTime, Memory: argonMemory}
	if _, err := rand.Read(h.Salt); err != nil {
		return h, fmt.Errorf("making salt: %w", err)
	}
	h.Hash = argon2.IDKey([]byte(secret), h.Salt, h.Time, h.Memory, 1, 32)
	return h, nil
}

func (h secretHash) matches(secret string) bool {
	got := argon2.IDKey([]byte(secret), h.Salt, max(h.Time, 1), h.Memory, 1, 32)
	return subtle.ConstantTimeCompare(got, h.Hash) == 1
}

// dummyHash takes as long as a real one, so that time does not tell which client ids exist.
var dummyHash = secretHash{Salt: make([]byte, 16), Hash: make([]byte, 32), Time: argonTime, Memory: argonMemory}

// NewSecret is 256 random bits in base64url.
func NewSecret() (string, error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("making secret: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// SecretCredential is one for a secret, which ends at a time (zero: never).
func SecretCredential(secret string, now, ends time.Time) (Credential, error) {
	h, err := hashSecret(secret)
	return Credential{ID: uuid.NewString(), Kind: KindSecret, Hint: secret[:min(hintLength, len(secret))], Made: micros(now), Ends: micros(ends), Secret: &h}, err
}

// CertificateCredential is one for an X.509 certificate, which ends when the certificate does. The text is PEM, of which the first
// certificate is taken, or base64 of DER.
func CertificateCredential(text string, now time.Time) (Credential, error) {
	der, err := certificateDER(text)
	if err != nil {
		return Credential{}, err
	}
	key, err := agentkey.Parse(base64.StdEncoding.EncodeToString(der))
	switch {
	case err != nil:
		return Credential{}, fmt.Errorf("the certificate %w", err)
	case key.NotAfter.IsZero():
		return Credential{}, errors.New("it is a public key; a certificate is needed, for clients name their key by the certificate's hash")
	case !now.Before(key.NotAfter):
		return Credential{}, fmt.Errorf("the certificate ended at %s; make a new one", key.NotAfter.UTC().Format(time.RFC3339))
	}
	return Credential{ID: uuid.NewString(), Kind: KindCertificate, Hint: strings.ToUpper(hex.EncodeToString(thumbprint(der))), Made: micros(now), Ends: key.NotAfter.UTC(), Certificate: der}, nil
}

func thumbprint(der []byte) []byte { sum := sha1.Sum(der); return sum[:] } //nolint:gosec // a name

func sum256(der []byte) []byte { sum := sha256.Sum256(der); return sum[:] }

func certificateDER(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "-----BEGIN") {
		der, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), ""))
		if err != nil {
			return nil, errors.New("it is neither PEM nor base64; give the certificate as a file with the line -----BEGIN CERTIFICATE-----")
		}
		return der, nil
	}
	for rest := []byte(text); ; {
		block, more := pem.Decode(rest)
		if block == nil {
			return nil, errors.New("it has no certificate; a PEM block of type CERTIFICATE is needed")
		}
		if block.Type == "CERTIFICATE" {
			return block.Bytes, nil
		}
		rest = more
	}
}

// urlAlphabet is base64url of base64, which Azure's libraries for Go send.
var urlAlphabet = strings.NewReplacer("+", "-", "/", "_", "=", "")

// names reports whether an assertion that names its certificate means this one. One that names none may mean any.
func (c Credential) names(a parsedAssertion) bool {
	same := func(header string, sum []byte) bool {
		said, is := a.token.Headers[0].ExtraHeaders[jose.HeaderKey(header)].(string)
		return !is || urlAlphabet.Replace(said) == base64.RawURLEncoding.EncodeToString(sum)
	}
	return same("x5t", thumbprint(c.Certificate)) && same("x5t#S256", sum256(c.Certificate))
}

// publicKey is a certificate's.
func (c Credential) publicKey() (any, error) {
	cert, err := x509.ParseCertificate(c.Certificate)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate %s: %w", c.Hint, err)
	}
	return cert.PublicKey, nil
}
