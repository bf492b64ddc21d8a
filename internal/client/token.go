package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Token is an access token with its end of life.
type Token struct {
	AccessToken string    `json:"accessToken"`
	ExpiresOn   time.Time `json:"expiresOn"`
}

// ClientCredentials asks the tenant's token endpoint for a token by client id and secret. A refusal is an *arm.Error.
func (c *Client) ClientCredentials(ctx context.Context, tenant, clientID, secret string, now time.Time) (Token, error) {
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {clientID}, "client_secret": {secret},
		"scope": {c.Endpoint() + "/.default"},
	}
	res, err := c.Do(ctx, Request{
		Method: http.MethodPost, Path: "/" + url.PathEscape(tenant) + "/oauth2/v2.0/token", Body: []byte(form.Encode()),
		Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}},
	})
	if err != nil {
		return Token{}, err
	}
	var t struct {
		AccessToken string      `json:"access_token"`
		ExpiresIn   json.Number `json:"expires_in"`
	}
	if err := res.Decode(&t); err != nil {
		return Token{}, err
	}
	if t.AccessToken == "" || strings.ContainsAny(t.AccessToken, "\r\n ") {
		return Token{}, fmt.Errorf("the token endpoint's answer has no usable access_token")
	}
	secs, err := t.ExpiresIn.Int64()
	if err != nil {
		secs = 300
	}
	return Token{AccessToken: t.AccessToken, ExpiresOn: now.Add(time.Duration(secs) * time.Second)}, nil
}
