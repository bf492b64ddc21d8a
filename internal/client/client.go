// Package client is the HTTP client of the command line: resource manager calls with tokens, long-running operations,
// blobs by SAS with resume, and run logs.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
)

// TokenFunc gives a bearer token; renew asks for a fresh one because the last was refused.
type TokenFunc func(ctx context.Context, renew bool) (string, error)

// Config is what a Client needs. Endpoint is the control plane's address (https://host[:port]).
type Config struct {
	Endpoint string
	// CAPEM verifies the control plane in addition to the system's CAs; may be empty.
	CAPEM []byte
	// Token is nil for calls without authentication.
	Token     TokenFunc
	UserAgent string
	// Trace, when not nil, receives one line per request and answer; never headers or secrets.
	Trace func(format string, args ...any)
	// Transport replaces the network in tests.
	Transport http.RoundTripper
	// Sleep waits or returns when ctx ends; nil means real time.
	Sleep func(ctx context.Context, d time.Duration) error
}

// Client talks to one control plane. It is safe for concurrent use.
type Client struct {
	cfg  Config
	base *url.URL
	http *http.Client
}

// New checks the configuration and makes a client.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(strings.TrimRight(cfg.Endpoint, "/"))
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") {
		return nil, fmt.Errorf("endpoint %q: must be an address such as https://host:8443", cfg.Endpoint)
	}
	if cfg.Sleep == nil {
		cfg.Sleep = sleep
	}
	if cfg.Trace == nil {
		cfg.Trace = func(string, ...any) {}
	}
	rt := cfg.Transport
	if rt == nil {
		if rt, err = transport(cfg.CAPEM); err != nil {
			return nil, err
		}
	}
	return &Client{cfg: cfg, base: base, http: &http.Client{Transport: rt}}, nil
}

func transport(caPEM []byte) (http.RoundTripper, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 16
	t.ResponseHeaderTimeout = 2 * time.Minute
	t.DialContext = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	if len(caPEM) == 0 {
		return t, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(caPEM) {
		return nil, errors.New("CA file: holds no PEM certificate")
	}
	t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return t, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Endpoint is the control plane's address without a trailing slash.
func (c *Client) Endpoint() string { return strings.TrimRight(c.base.String(), "/") }

// Request is one call. Path is below the endpoint, or an absolute URL; the token goes only to the endpoint's own origin.
type Request struct {
	Method, Path string
	Query        url.Values
	// Body is marshalled as JSON; json.RawMessage and []byte are sent as they are. nil sends none.
	Body   any
	Header http.Header
}

// Response is an answer with a 2xx status.
type Response struct {
	Status int
	Header http.Header
	Body   []byte
	// Request is the call that it answers.
	Request Request
	// URL is the absolute address that was called.
	URL string
}

// Decode unmarshals the body.
func (r *Response) Decode(out any) error {
	if len(bytes.TrimSpace(r.Body)) == 0 {
		return nil
	}
	if err := json.Unmarshal(r.Body, out); err != nil {
		return fmt.Errorf("decoding the answer of %s %s: %w", r.Request.Method, r.URL, err)
	}
	return nil
}

// Do sends a request, again after 429, 502, 503, 504 and broken connections where that is safe. A status of 400 or more is
// returned as *arm.Error.
func (c *Client) Do(ctx context.Context, req Request) (*Response, error) {
	target, err := c.resolve(req.Path, req.Query)
	if err != nil {
		return nil, err
	}
	body, err := encode(req.Body)
	if err != nil {
		return nil, err
	}
	renewed := false
	for attempt := 0; ; attempt++ {
		res, err := c.once(ctx, req, target, body, renewed)
		if err != nil {
			if attempt < 4 && idempotent(req.Method) && ctx.Err() == nil && retryableNet(err) {
				if err := c.cfg.Sleep(ctx, backoff(attempt)); err != nil {
					return nil, err
				}
				continue
			}
			return nil, explainNet(c.Endpoint(), err)
		}
		if res.Status == http.StatusUnauthorized && !renewed && c.cfg.Token != nil {
			renewed = true
			continue
		}
		if attempt < 4 && retryableStatus(res.Status, req.Method) {
			if err := c.cfg.Sleep(ctx, retryAfter(res.Header, backoff(attempt))); err != nil {
				return nil, err
			}
			continue
		}
		if res.Status >= 400 {
			return nil, ErrorOf(res.Status, res.Body, req.Method, target)
		}
		return res, nil
	}
}

func (c *Client) once(ctx context.Context, req Request, target *url.URL, body []byte, renew bool) (*Response, error) {
	res, err := c.open(ctx, req, target, body, renew)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(io.LimitReader(res.Body, 256<<20))
	if err != nil {
		return nil, err
	}
	return &Response{Status: res.StatusCode, Header: res.Header, Body: data, Request: req, URL: target.String()}, nil
}

// open sends one request and leaves the body to the caller.
func (c *Client) open(ctx context.Context, req Request, target *url.URL, body []byte, renew bool) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	hr, err := http.NewRequestWithContext(ctx, req.Method, target.String(), r)
	if err != nil {
		return nil, err
	}
	for k, v := range req.Header {
		hr.Header[k] = v
	}
	if body != nil && hr.Header.Get("Content-Type") == "" {
		hr.Header.Set("Content-Type", "application/json")
	}
	hr.Header.Set("User-Agent", c.cfg.UserAgent)
	if c.cfg.Token != nil && c.ownOrigin(target) && hr.Header.Get("Authorization") == "" {
		token, err := c.cfg.Token(ctx, renew)
		if err != nil {
			return nil, err
		}
		hr.Header.Set("Authorization", "Bearer "+token)
	}
	c.cfg.Trace("%s %s", req.Method, redact(target))
	res, err := c.http.Do(hr)
	if err != nil {
		return nil, err
	}
	c.cfg.Trace("%d %s", res.StatusCode, redact(target))
	return res, nil
}

func (c *Client) ownOrigin(u *url.URL) bool {
	return u.Scheme == c.base.Scheme && strings.EqualFold(u.Host, c.base.Host)
}

func (c *Client) resolve(path string, q url.Values) (*url.URL, error) {
	raw := path
	if !strings.HasPrefix(path, "http://") && !strings.HasPrefix(path, "https://") {
		raw = c.Endpoint() + "/" + strings.TrimLeft(path, "/")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", path, err)
	}
	if len(q) > 0 {
		have := u.Query()
		for k, v := range q {
			have[k] = v
		}
		u.RawQuery = have.Encode()
	}
	return u, nil
}

func encode(body any) ([]byte, error) {
	switch b := body.(type) {
	case nil:
		return nil, nil
	case []byte:
		return b, nil
	case json.RawMessage:
		return b, nil
	}
	data, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encoding the request: %w", err)
	}
	return data, nil
}

// redact removes the query's signature from an address that is shown.
func redact(u *url.URL) string {
	c := *u
	q := c.Query()
	for _, k := range []string{"sig", "code", "client_secret", "token"} {
		if q.Has(k) {
			q.Set(k, "REDACTED")
		}
	}
	c.RawQuery = q.Encode()
	c.User = nil
	return c.String()
}

// ErrorOf reads an error answer; anything that is not the resource manager's shape becomes its status and first words.
func ErrorOf(status int, body []byte, method string, u *url.URL) *arm.Error {
	var eb arm.ErrorBody
	if json.Unmarshal(body, &eb) == nil && eb.Error != nil && eb.Error.Code != "" {
		eb.Error.Status = status
		return eb.Error
	}
	var flat struct {
		Code    string `json:"error"`
		Message string `json:"error_description"`
	}
	if json.Unmarshal(body, &flat) == nil && flat.Code != "" {
		return &arm.Error{Status: status, Code: flat.Code, Message: flat.Message}
	}
	text := strings.TrimSpace(string(body))
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	if text == "" {
		text = http.StatusText(status)
	}
	return &arm.Error{Status: status, Code: strconv.Itoa(status), Message: fmt.Sprintf("%s %s: %s", method, redact(u), text)}
}
