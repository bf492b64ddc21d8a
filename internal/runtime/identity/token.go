package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// fetchTimeout bounds one request to the control plane; clients of the endpoint wait that long.
	fetchTimeout = 20 * time.Second
	// maxResources bounds how many tokens are kept.
	maxResources = 32
)

// token is a token with its life.
type token struct {
	text            string
	issued, expires time.Time
}

// fresh is the first half of a token's life; usable leaves a client a minute to use it.
func (t token) fresh(now time.Time) bool {
	return now.Before(t.issued.Add(t.expires.Sub(t.issued) / 2))
}
func (t token) usable(now time.Time) bool { return now.Before(t.expires.Add(-time.Minute)) }

// cache keeps a token for each resource. A token is renewed when half of its life is over; while that does not succeed, the old one serves.
type cache struct {
	mu     sync.Mutex // also held while a token is fetched, so that many who ask at once make one request
	tokens map[string]token
}

func (c *cache) get(ctx context.Context, resource string, cfg Config) (token, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old, now := c.tokens[resource], cfg.Now()
	if old.fresh(now) {
		return old, nil
	}
	t, err := fetch(context.WithoutCancel(ctx), resource, cfg)
	if _, refused := errors.AsType[*problem](err); err != nil && !refused && old.usable(now) {
		cfg.Log.Warn("token of the managed identity not renewed", "error", err)
		return old, nil
	}
	if err != nil {
		delete(c.tokens, resource)
		return token{}, err
	}
	if c.tokens == nil || len(c.tokens) >= maxResources {
		c.tokens = map[string]token{}
	}
	c.tokens[resource] = t
	return t, nil
}

// fetch asks the control plane. What it refuses for good is a *problem, everything else may pass.
func fetch(ctx context.Context, resource string, cfg Config) (token, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	assertion, err := cfg.Assertion()
	if err != nil {
		return token{}, fmt.Errorf("reading the pod's token: %w", err)
	}
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {cfg.Identity.ClientID}, "scope": {strings.TrimSuffix(resource, "/.default") + "/.default"},
		"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {assertion},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, cfg.Identity.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return token{}, fmt.Errorf("making request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	asked := cfg.Now()
	resp, err := cfg.HTTP.Do(req)
	if err != nil {
		return token{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return token{}, fmt.Errorf("reading answer: %w", err)
	}
	return readAnswer(resp.StatusCode, raw, asked)
}

// readAnswer reads what the token endpoint sent.
func readAnswer(status int, raw []byte, asked time.Time) (token, error) {
	var a struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	err := json.Unmarshal(raw, &a)
	switch {
	case status == http.StatusTooManyRequests || status >= 500 || status == http.StatusRequestTimeout:
		return token{}, fmt.Errorf("it answered %d %s", status, a.Description)
	case err != nil:
		return token{}, fmt.Errorf("it answered %d with something else than JSON", status)
	case status != http.StatusOK:
		return token{}, refusal(http.StatusBadRequest, a.Error, "%s", a.Description)
	case a.AccessToken == "" || a.ExpiresIn <= 0 || a.ExpiresIn > 1<<31:
		return token{}, errors.New("its answer has no token")
	}
	return token{text: a.AccessToken, issued: asked, expires: asked.Add(time.Duration(a.ExpiresIn) * time.Second)}, nil
}
