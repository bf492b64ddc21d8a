// Package auth decides whether a request may call an endpoint: by the hashes of its keys, or by the signature of a token. It asks
// nobody.
package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

const (
	// maxToken is how long a token may be; longer ones are not looked at.
	maxToken = 16 << 10
	// maxKnown is how many verified tokens an endpoint remembers.
	maxKnown = 4096
	// leeway is how far clocks may be apart.
	leeway = time.Minute
)

// algorithms that tokens may be signed with: those of the control plane's keys, none symmetric.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256, jose.EdDSA}

// ErrNoCredential means that a request brought none.
var ErrNoCredential = errors.New("the request has no header 'Authorization: Bearer <key or token>'")

// Verifier checks the credentials of one endpoint. It is safe for concurrent use.
type Verifier struct {
	keys     [][sha256.Size]byte
	tokens   *v1alpha1.TokenAuth
	set      jose.JSONWebKeySet
	now      func() time.Time
	mu       sync.RWMutex
	verified map[[sha256.Size]byte]time.Time // until when
}

// New makes a verifier. What it cannot read it leaves out and says in the error; the verifier then accepts less, never more.
func New(spec v1alpha1.EndpointAuth) (*Verifier, error) {
	v := &Verifier{now: time.Now, verified: map[[sha256.Size]byte]time.Time{}}
	switch spec.Mode {
	case v1alpha1.AuthKey:
		var errs []error
		for i, text := range spec.KeyHashes {
			var sum [sha256.Size]byte
			if n, err := hex.Decode(sum[:], []byte(text)); len(text) != 2*sha256.Size || err != nil || n != sha256.Size {
				errs = append(errs, fmt.Errorf("auth.keyHashes[%d] is not a SHA-256 of 64 hexadecimal digits", i))
				continue
			}
			v.keys = append(v.keys, sum)
		}
		return v, errors.Join(errs...)
	case v1alpha1.AuthAMLToken:
		if spec.Tokens == nil || spec.Tokens.Issuer == "" || spec.Tokens.Audience == "" {
			return v, errors.New("auth.tokens needs issuer, audience and jwks in mode AMLToken")
		}
		v.tokens = spec.Tokens
		if err := json.Unmarshal([]byte(spec.Tokens.JWKS), &v.set); err != nil {
			return v, fmt.Errorf("reading auth.tokens.jwks: %w", err)
		}
		return v, nil
	}
	return v, fmt.Errorf("auth.mode is %q; it must be Key or AMLToken", spec.Mode)
}

// Check looks at the value of an Authorization header. Its error may be told to the caller.
func (v *Verifier) Check(header string) error {
	scheme, credential, _ := strings.Cut(header, " ")
	credential = strings.TrimSpace(credential)
	if !strings.EqualFold(scheme, "Bearer") || credential == "" {
		return ErrNoCredential
	}
	sum := sha256.Sum256([]byte(credential))
	if v.tokens == nil {
		return v.checkKey(sum)
	}
	if len(credential) > maxToken {
		return fmt.Errorf("the token is longer than %d bytes", maxToken)
	}
	return v.checkToken(sum, credential)
}

// checkKey takes the same time whichever key it is, or none.
func (v *Verifier) checkKey(sum [sha256.Size]byte) error {
	same := 0
	for i := range v.keys {
		same |= subtle.ConstantTimeCompare(sum[:], v.keys[i][:])
	}
	if same != 1 {
		return errors.New("the key is not one of the endpoint's")
	}
	return nil
}

func (v *Verifier) checkToken(sum [sha256.Size]byte, credential string) error {
	now := v.now()
	v.mu.RLock()
	until, known := v.verified[sum]
	v.mu.RUnlock()
	if known && now.Before(until) {
		return nil
	}
	expiry, err := v.verify(credential, now)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.verified) >= maxKnown {
		clear(v.verified)
	}
	v.verified[sum] = expiry
	return nil
}

func (v *Verifier) verify(credential string, now time.Time) (expiry time.Time, err error) {
	token, err := jwt.ParseSigned(credential, algorithms)
	if err != nil {
		return expiry, errors.New("the token is no JSON web token that is signed as the control plane signs")
	}
	keys := v.set.Keys
	if kid := token.Headers[0].KeyID; kid != "" {
		keys = v.set.Key(kid)
	}
	var claims jwt.Claims
	if !signedByOne(token, keys, &claims) {
		return expiry, errors.New("the token is not signed with a key of the control plane")
	}
	if claims.Expiry == nil {
		return expiry, errors.New("the token does not say when it expires")
	}
	want := jwt.Expected{Issuer: v.tokens.Issuer, AnyAudience: jwt.Audience{v.tokens.Audience}, Time: now}
	switch err := claims.ValidateWithLeeway(want, leeway); {
	case errors.Is(err, jwt.ErrExpired):
		return expiry, fmt.Errorf("the token expired at %s", claims.Expiry.Time().UTC().Format(time.RFC3339))
	case errors.Is(err, jwt.ErrInvalidAudience), errors.Is(err, jwt.ErrInvalidIssuer):
		return expiry, errors.New("the token is for another endpoint")
	case err != nil:
		return expiry, errors.New("the token is not valid yet")
	}
	return claims.Expiry.Time().Add(leeway), nil
}

func signedByOne(token *jwt.JSONWebToken, keys []jose.JSONWebKey, claims *jwt.Claims) bool {
	for i := range keys {
		// A set that holds a symmetric key by mistake must not verify anything by it.
		if keys[i].IsPublic() && token.Claims(&keys[i], claims) == nil {
			return true
		}
	}
	return false
}
