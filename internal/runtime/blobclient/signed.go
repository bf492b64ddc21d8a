package blobclient

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// s3 reports whether a URL is of a datastore that speaks S3.
func (c *Client) s3(rawURL string) bool {
	return c.cfg.Datastores != "" && strings.HasPrefix(rawURL, c.cfg.Datastores+"/")
}

// maxSigned bounds how many signed addresses are kept, some 500 bytes each.
const maxSigned = 4096

// signed remembers where requests for objects were sent on to: a mounted file is read in many of them.
type signed struct {
	mu sync.Mutex
	to map[string]signedURL
}

type signedURL struct {
	url   string
	until time.Time
}

func newSigned() *signed { return &signed{to: map[string]signedURL{}} }

// key is "" for requests that are not made twice.
func (s *signed) key(q request) string {
	if q.method != http.MethodGet && q.method != http.MethodHead || strings.Contains(q.url, "?") {
		return ""
	}
	return q.method + " " + q.url
}

func (s *signed) find(q request, now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if to := s.to[s.key(q)]; now.Before(to.until) {
		return to.url
	}
	return ""
}

func (s *signed) keep(q request, url string, until time.Time) {
	key := s.key(q)
	if key == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.to) >= maxSigned {
		clear(s.to)
	}
	s.to[key] = signedURL{url, until}
}

// forget is for an address that is not accepted any more.
func (s *signed) forget(q request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.to, s.key(q))
}

// signedURL asks the control plane where a request is to be made.
func (c *Client) signedURL(ctx context.Context, q request) (string, error) {
	now := c.cfg.Now()
	if to := c.signed.find(q, now); to != "" {
		return to, nil
	}
	req, err := http.NewRequestWithContext(ctx, q.method, q.url, nil)
	if err != nil {
		return "", fmt.Errorf("making request: %w", err)
	}
	if err := c.authorize(req); err != nil {
		return "", err
	}
	resp, err := c.cfg.HTTP.Do(req)
	if err != nil {
		return "", retryable{redactError(err)}
	}
	defer func() {
		_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
		_ = resp.Body.Close()
	}()
	if resp.StatusCode != http.StatusTemporaryRedirect {
		return "", statusError(q, resp)
	}
	to, err := resp.Location()
	if err != nil || to.Scheme != "http" && to.Scheme != "https" {
		return "", fmt.Errorf("%s %s: the control plane sends on to no address", q.method, redact(q.url))
	}
	c.signed.keep(q, to.String(), now.Add(maxAge(resp)))
	return to.String(), nil
}

// maxAge is how long an answer may be used again.
func maxAge(r *http.Response) time.Duration {
	_, after, _ := strings.Cut(r.Header.Get("Cache-Control"), "max-age=")
	seconds, _, _ := strings.Cut(after, ",")
	n, err := strconv.Atoi(strings.TrimSpace(seconds))
	if err != nil || n < 0 {
		return 0
	}
	return time.Duration(min(n, 24*3600)) * time.Second
}
