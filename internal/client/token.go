package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
)

// PublicClientID is the client id by which this command line signs people in.
const PublicClientID = "5f0c1e6e-3a53-4b0e-9d5b-0a3c6f6a1e01"

// Token is an access token with its end of life.
type Token struct {
	AccessToken string    `json:"accessToken"`
	ExpiresOn   time.Time `json:"expiresOn"`
}

// Login is what signing in a person gives.
type Login struct {
	Token
	// RefreshToken gets the next one. Username and Tenant are who signed in, and where.
	RefreshToken, Username, Tenant string
}

// DeviceCode is what a person is shown who signs in on another device.
type DeviceCode struct {
	Message    string      `json:"message"`
	DeviceCode string      `json:"device_code"`
	ExpiresIn  json.Number `json:"expires_in"`
	Interval   json.Number `json:"interval"`
}

// ClientCredentials asks the tenant's token endpoint for a token by client id and secret. A refusal is an *arm.Error.
func (c *Client) ClientCredentials(ctx context.Context, tenant, clientID, secret string, now time.Time) (Token, error) {
	l, err := c.grant(ctx, tenant, now, url.Values{"grant_type": {"client_credentials"}, "client_id": {clientID}, "client_secret": {secret}})
	return l.Token, err
}

// AuthorizeURL is the page where a person signs in; the code comes to redirect.
func (c *Client) AuthorizeURL(tenant, redirect, state, challenge, hint string) string {
	q := url.Values{"client_id": {PublicClientID}, "response_type": {"code"}, "redirect_uri": {redirect}, "state": {state}, "scope": {c.scope()},
		"code_challenge": {challenge}, "code_challenge_method": {"S256"}}
	if hint != "" {
		q.Set("login_hint", hint)
	}
	return c.Endpoint() + "/" + url.PathEscape(tenant) + "/oauth2/v2.0/authorize?" + q.Encode()
}

// RedeemCode redeems the code that came to redirect.
func (c *Client) RedeemCode(ctx context.Context, tenant, code, redirect, verifier string, now time.Time) (Login, error) {
	return c.grant(ctx, tenant, now, url.Values{"grant_type": {"authorization_code"}, "client_id": {PublicClientID}, "code": {code}, "redirect_uri": {redirect}, "code_verifier": {verifier}})
}

// Refresh goes on with a sign-in.
func (c *Client) Refresh(ctx context.Context, tenant, refreshToken string, now time.Time) (Login, error) {
	return c.grant(ctx, tenant, now, url.Values{"grant_type": {"refresh_token"}, "client_id": {PublicClientID}, "refresh_token": {refreshToken}})
}

// Revoke ends a sign-in.
func (c *Client) Revoke(ctx context.Context, tenant, refreshToken string) error {
	_, err := c.form(ctx, tenant, "revoke", url.Values{"token": {refreshToken}})
	return err
}

// BeginDevice asks for a code that a person types in elsewhere.
func (c *Client) BeginDevice(ctx context.Context, tenant string) (DeviceCode, error) {
	var d DeviceCode
	res, err := c.form(ctx, tenant, "devicecode", url.Values{"client_id": {PublicClientID}, "scope": {c.scope()}})
	if err != nil {
		return d, err
	}
	return d, res.Decode(&d)
}

// AwaitDevice asks until the person has signed in, or the code has expired.
func (c *Client) AwaitDevice(ctx context.Context, tenant string, d DeviceCode, now func() time.Time) (Login, error) {
	every := 5 * time.Second
	if n, err := d.Interval.Int64(); err == nil && n > 0 {
		every = time.Duration(n) * time.Second
	}
	for {
		if err := c.cfg.Sleep(ctx, every); err != nil {
			return Login{}, err
		}
		l, err := c.grant(ctx, tenant, now(), url.Values{"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {PublicClientID}, "device_code": {d.DeviceCode}})
		switch e, ok := errors.AsType[*arm.Error](err); {
		case ok && e.Code == "slow_down":
			every += 5 * time.Second
		case ok && e.Code == "authorization_pending":
		case err != nil && !ok && ctx.Err() == nil: // the network; whoever signs in elsewhere does not know of it
			every = min(2*every, time.Minute)
		default:
			return l, err
		}
	}
}

func (c *Client) scope() string { return c.Endpoint() + "/.default openid profile offline_access" }

func (c *Client) form(ctx context.Context, tenant, endpoint string, form url.Values) (*Response, error) {
	return c.Do(ctx, Request{
		Method: http.MethodPost, Path: "/" + url.PathEscape(tenant) + "/oauth2/v2.0/" + endpoint, Body: []byte(form.Encode()),
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
	})
}

func (c *Client) grant(ctx context.Context, tenant string, now time.Time, form url.Values) (Login, error) {
	form.Set("scope", c.Endpoint()+"/.default")
	res, err := c.form(ctx, tenant, "token", form)
	if err != nil {
		return Login{}, err
	}
	var t struct {
		AccessToken  string      `json:"access_token"`
		ExpiresIn    json.Number `json:"expires_in"`
		RefreshToken string      `json:"refresh_token"`
		IDToken      string      `json:"id_token"`
	}
	if err := res.Decode(&t); err != nil {
		return Login{}, err
	}
	if t.AccessToken == "" || strings.ContainsAny(t.AccessToken, "\r\n ") {
		return Login{}, fmt.Errorf("the token endpoint's answer has no usable access_token")
	}
	secs, err := t.ExpiresIn.Int64()
	if err != nil {
		secs = 300
	}
	l := Login{Token: Token{AccessToken: t.AccessToken, ExpiresOn: now.Add(time.Duration(secs) * time.Second)}, RefreshToken: t.RefreshToken}
	l.Username, l.Tenant = subject(t.IDToken)
	return l, nil
}

// subject reads who an ID token is about. It came over TLS from the server that is asked, so its signature says nothing more.
func subject(idToken string) (username, tenant string) {
	var c struct {
		Username string `json:"preferred_username"`
		Tenant   string `json:"tid"`
	}
	claims(idToken, &c)
	return c.Username, c.Tenant
}

// ObjectID is who an access token speaks for, as role assignments name it; "" when it does not say.
func ObjectID(accessToken string) string {
	var c struct {
		ObjectID string `json:"oid"`
	}
	claims(accessToken, &c)
	return c.ObjectID
}

// claims reads the claims of a JSON web token into out; what is none leaves out as it is.
func claims(token string, out any) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return
	}
	if raw, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
		_ = json.Unmarshal(raw, out)
	}
}
