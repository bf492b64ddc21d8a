package issuer

import (
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// AssertionType is client_assertion_type of private_key_jwt.
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

var errNotSigned = errors.New("the assertion is not a JSON web token signed with RS256 or PS256")

// parsedAssertion is a client assertion whose signature has not been checked.
type parsedAssertion struct {
	token    *jwt.JSONWebToken
	clientID string
	// own is set for a token of this issuer: it shows who asks, for somebody else.
	own bool
}

// parseAssertion reads an assertion; issuer is whose tokens are accepted as such.
func parseAssertion(s, issuer string) (parsedAssertion, error) {
	if len(s) > 16<<10 {
		return parsedAssertion{}, fmt.Errorf("the assertion is longer than 16 KiB")
	}
	tok, err := jwt.ParseSigned(s, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256})
	if err != nil {
		return parsedAssertion{}, errNotSigned
	}
	var c jwt.Claims
	if err := tok.UnsafeClaimsWithoutVerification(&c); err != nil {
		return parsedAssertion{}, fmt.Errorf("the assertion's claims are not JSON")
	}
	if c.Issuer == issuer {
		return parsedAssertion{own: true}, nil
	}
	if tok.Headers[0].Algorithm == string(jose.ES256) {
		return parsedAssertion{}, errNotSigned
	}
	if c.Subject == "" || c.Subject != c.Issuer {
		return parsedAssertion{}, fmt.Errorf("the assertion's sub and iss must both be the client id")
	}
	return parsedAssertion{token: tok, clientID: c.Subject}, nil
}

// check verifies signature, by any of the keys, audience and times.
func (is *Issuer) check(a parsedAssertion, keys []crypto.PublicKey) (jwt.Claims, error) {
	var c jwt.Claims
	if !slices.ContainsFunc(keys, func(key crypto.PublicKey) bool { return a.token.Claims(key, &c) == nil }) {
		return c, fmt.Errorf("the assertion's signature does not match the key registered for the client")
	}
	now := is.cfg.Now()
	if c.Expiry == nil || c.ID == "" {
		return c, fmt.Errorf("the assertion must have exp and jti")
	}
	if exp := c.Expiry.Time(); exp.After(now.Add(MaxAssertion + Leeway)) {
		return c, fmt.Errorf("the assertion expires more than %s from now", MaxAssertion)
	}
	if err := c.ValidateWithLeeway(jwt.Expected{Time: now}, Leeway); err != nil {
		return c, fmt.Errorf("the assertion's times are not valid now (exp %s, server's clock %s): %s", c.Expiry.Time().UTC().Format("15:04:05"), now.UTC().Format("15:04:05"),
			strings.TrimPrefix(err.Error(), "go-jose/go-jose/jwt: "))
	}
	if !is.meant(c.Audience) {
		return c, fmt.Errorf("the assertion's aud must be %s", is.TokenURL())
	}
	return c, nil
}

// firstUse remembers an assertion until it expires, in the store: it is used once at all servers together.
func (is *Issuer) firstUse(ctx context.Context, clientID string, c jwt.Claims) (first bool, err error) {
	id := sha256.Sum256([]byte(clientID + "\x00" + c.ID))
	err = is.cfg.Store.Update(ctx, func(tx store.Tx) error {
		first, err = tx.UseOnce(ctx, "assertion/"+hex.EncodeToString(id[:]), c.Expiry.Time().Add(Leeway))
		return err
	})
	return first, err
}

// meant reports whether an audience names this issuer.
func (is *Issuer) meant(aud jwt.Audience) bool {
	v1 := is.cfg.PublicURL + "/" + is.cfg.TenantID + "/oauth2/token"
	for _, a := range aud {
		switch strings.TrimSuffix(a, "/") {
		case is.TokenURL(), v1, is.Name(), is.cfg.PublicURL:
			return true
		}
	}
	return false
}
