package issuer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Grants of people, beside client_credentials.
const (
	GrantCode    = "authorization_code"
	GrantRefresh = "refresh_token"
	GrantDevice  = "urn:ietf:params:oauth:grant-type:device_code"
)

// People knows who signed in: it redeems codes, device codes and refresh tokens, of the form that r has parsed.
type People interface {
	Redeem(r *http.Request, grant string) (Person, *Error)
}

// Person is somebody who signed in to a client.
type Person struct {
	ObjectID string `json:"objectId"`
	// Username is what the person signs in with, Name what others see.
	Username string `json:"username"`
	Name     string `json:"name"`
	ClientID string `json:"clientId"`
	Nonce    string `json:"nonce,omitempty"`
	// Refresh is the next refresh token, "" when none was asked for.
	Refresh string `json:"-"`
}

// Error is a refusal in the form of the token endpoint.
type Error = oauthError

// Refuse makes an Error; code is the number after AADSTS by which clients know what happened.
func Refuse(status int, name string, code int, format string, args ...any) *Error {
	return refuse(status, name, code, format, args...)
}

// RefuseFor is Refuse with the time after which to come again.
func RefuseFor(retry time.Duration, name string, code int, format string, args ...any) *Error {
	e := refuse(http.StatusTooManyRequests, name, code, format, args...)
	e.retry = retry
	return e
}

// Broken logs an error that is not the client's fault and makes the Error that hides it.
func (is *Issuer) Broken(ctx context.Context, err error) *Error { return is.broken(ctx, err) }

// Status is the HTTP status of the answer.
func (e *oauthError) Status() int { return e.status }

// SendError answers with a refusal.
func (is *Issuer) SendError(w http.ResponseWriter, r *http.Request, e *Error) { is.sendError(w, r, e) }

// CheckTenant accepts the tenant's id and the names that stand for any tenant.
func (is *Issuer) CheckTenant(tenant string) *Error { return is.checkTenant(tenant) }

// byPerson answers a grant of a person: access token, ID token and refresh token.
func (is *Issuer) byPerson(r *http.Request, grant string) (grantedTokens, *oauthError) {
	p, oe := is.cfg.People.Redeem(r, grant)
	if oe != nil {
		return grantedTokens{}, oe
	}
	c := Claims{Subject: p.ObjectID, ClientID: p.ClientID, Name: p.Name, Kind: KindUser}
	access, err := is.Issue(r.Context(), c, UserTTL)
	if err != nil {
		return grantedTokens{}, is.broken(r.Context(), err)
	}
	id, err := is.idToken(p)
	if err != nil {
		return grantedTokens{}, is.broken(r.Context(), err)
	}
	info, err := json.Marshal(map[string]string{"uid": p.ObjectID, "utid": is.cfg.TenantID})
	if err != nil {
		return grantedTokens{}, is.broken(r.Context(), err)
	}
	more := map[string]any{"id_token": id, "scope": is.grantedScope(r), "client_info": base64.RawURLEncoding.EncodeToString(info)}
	if p.Refresh != "" {
		more["refresh_token"] = p.Refresh
	}
	return grantedTokens{access, UserTTL, more}, nil
}

// grantedScope repeats what was asked for: clients cache tokens by it.
func (is *Issuer) grantedScope(r *http.Request) string {
	if s := strings.Join(strings.Fields(r.PostForm.Get("scope")), " "); s != "" {
		return s
	}
	return is.cfg.PublicURL + "/.default openid profile offline_access"
}

// idToken tells the client who signed in.
func (is *Issuer) idToken(p Person) (string, error) {
	signer, err := jose.NewSigner(is.ring.Load().at(is.cfg.Now()).signs(KindUser), (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("making signer: %w", err)
	}
	now := is.cfg.Now()
	claims := map[string]any{
		"iss": is.Name(), "aud": p.ClientID, "sub": p.ObjectID, "oid": p.ObjectID, "tid": is.cfg.TenantID, "ver": "2.0",
		"name": p.Name, "preferred_username": p.Username,
		"iat": jwt.NewNumericDate(now), "nbf": jwt.NewNumericDate(now), "exp": jwt.NewNumericDate(now.Add(UserTTL)),
	}
	if p.Nonce != "" {
		claims["nonce"] = p.Nonce
	}
	tok, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		return "", fmt.Errorf("signing ID token: %w", err)
	}
	return tok, nil
}
