package issuer

import (
	"crypto"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// AssertionType is client_assertion_type of private_key_jwt.
const AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// parsedAssertion is a client assertion whose signature has not been checked.
type parsedAssertion struct {
	token    *jwt.JSONWebToken
	clientID string
}

func parseAssertion(s string) (parsedAssertion, error) {
	if len(s) > 16<<10 {
		return parsedAssertion{}, fmt.Errorf("the assertion is longer than 16 KiB")
	}
	tok, err := jwt.ParseSigned(s, []jose.SignatureAlgorithm{jose.RS256, jose.PS256})
	if err != nil {
		return parsedAssertion{}, fmt.Errorf("the assertion is not a JSON web token signed with RS256 or PS256")
	}
	var c jwt.Claims
	if err := tok.UnsafeClaimsWithoutVerification(&c); err != nil {
		return parsedAssertion{}, fmt.Errorf("the assertion's claims are not JSON")
	}
	if c.Subject == "" || c.Subject != c.Issuer {
		return parsedAssertion{}, fmt.Errorf("the assertion's sub and iss must both be the client id")
	}
	return parsedAssertion{token: tok, clientID: c.Subject}, nil
}

// check verifies signature, audience and times, and that the assertion was not used before.
func (is *Issuer) check(a parsedAssertion, key crypto.PublicKey) error {
	var c jwt.Claims
	if err := a.token.Claims(key, &c); err != nil {
		return fmt.Errorf("the assertion's signature does not match the key registered for the client")
	}
	now := is.cfg.Now()
	if c.Expiry == nil || c.ID == "" {
		return fmt.Errorf("the assertion must have exp and jti")
	}
	if exp := c.Expiry.Time(); exp.After(now.Add(MaxAssertion + Leeway)) {
		return fmt.Errorf("the assertion expires more than %s from now", MaxAssertion)
	}
	if err := c.ValidateWithLeeway(jwt.Expected{Time: now}, Leeway); err != nil {
		return fmt.Errorf("the assertion's times are not valid now (exp %s, server's clock %s): %s", c.Expiry.Time().UTC().Format("15:04:05"), now.UTC().Format("15:04:05"),
			strings.TrimPrefix(err.Error(), "go-jose/go-jose/jwt: "))
	}
	if !is.meant(c.Audience) {
		return fmt.Errorf("the assertion's aud must be %s", is.TokenURL())
	}
	if !is.replays.first(a.clientID+"\x00"+c.ID, c.Expiry.Time().Add(Leeway)) {
		return fmt.Errorf("the assertion's jti was used before; sign a new assertion for every request")
	}
	return nil
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
