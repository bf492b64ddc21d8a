// Package blobclient is the client side of the control plane's blob front (a subset of the Azure Blob REST interface):
// block blobs, append blobs with a position condition, ranges and listing, with retries that outlast an outage. URLs of datastores
// whose bytes lie elsewhere are read and written by the same methods, but speak S3, by addresses that the control plane signs.
package blobclient

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// apiVersion is sent as x-ms-version with every request.
const apiVersion = "2021-12-02"

// Config says how a Client reaches the blob front.
type Config struct {
	// Base is the URL prefix of the blob front without trailing slash; only URLs below it get the token.
	Base string
	// Datastores is the URL prefix of datastores that speak S3; "" means that there are none.
	Datastores string
	// HTTP sends the requests; nil means a client that follows no redirects.
	HTTP *http.Client
	// Token returns the bearer token; it is asked for each attempt, so that a renewed token is picked up. Nil sends none.
	Token func() (string, error)
	// RetryFor bounds the time spent on one call while the other side is away. 0 means 24 h.
	RetryFor time.Duration
	// DeniedFor bounds the time for which one call is refused (401, 403) without another answer between. 0 means 2 min.
	DeniedFor time.Duration
	// Wait sleeps between attempts; nil means a timer. Now tells the time; nil means time.Now.
	Wait func(ctx context.Context, d time.Duration) error
	Now  func() time.Time
	// OnRetry is told of every failed attempt that will be repeated; nil ignores them.
	OnRetry func(err error, wait time.Duration)
}

// Client reads and writes blobs. It is safe for concurrent use.
type Client struct {
	cfg    Config
	signed *signed
}

// New returns a client for the blob front at cfg.Base.
func New(cfg Config) (*Client, error) {
	base, err := url.Parse(cfg.Base)
	if err != nil || base.Host == "" || (base.Scheme != "http" && base.Scheme != "https") {
		return nil, fmt.Errorf("blob front %q is no http or https URL", cfg.Base)
	}
	cfg.Base, cfg.Datastores = strings.TrimRight(cfg.Base, "/"), strings.TrimRight(cfg.Datastores, "/")
	if cfg.HTTP == nil {
		cfg.HTTP = &http.Client{}
	}
	if cfg.HTTP.CheckRedirect == nil {
		c := *cfg.HTTP
		c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		cfg.HTTP = &c
	}
	if cfg.RetryFor == 0 {
		cfg.RetryFor = 24 * time.Hour
	}
	if cfg.DeniedFor == 0 {
		cfg.DeniedFor = 2 * time.Minute
	}
	if cfg.Wait == nil {
		cfg.Wait = wait
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Client{cfg: cfg, signed: newSigned()}, nil
}

// Owns reports whether a URL is below the blob front, or of a datastore, and so gets the token.
func (c *Client) Owns(rawURL string) bool {
	return strings.HasPrefix(rawURL, c.cfg.Base+"/") || c.s3(rawURL)
}

// Properties are what the store knows of a blob.
type Properties struct {
	Size int64
	// MD5 of the whole content; nil when the store has none.
	MD5 []byte
	// Type is BlockBlob or AppendBlob.
	Type string
	// ETag names this version of the content, without quotes.
	ETag string
}

// Head returns a blob's properties; a *StatusError with NotFound when there is none.
func (c *Client) Head(ctx context.Context, blob string) (Properties, error) {
	var p Properties
	err := c.do(ctx, request{method: http.MethodHead, url: blob, want: http.StatusOK}, func(r *http.Response) error {
		p = c.properties(blob, r)
		return nil
	})
	return p, err
}

func (c *Client) properties(blob string, r *http.Response) Properties {
	if c.s3(blob) {
		return s3Properties(r)
	}
	return properties(r)
}

func properties(r *http.Response) Properties {
	p := Properties{Type: r.Header.Get("x-ms-blob-type"), Size: r.ContentLength, ETag: strings.Trim(r.Header.Get("ETag"), `"`)}
	sum := r.Header.Get("x-ms-blob-content-md5")
	if r.StatusCode == http.StatusOK && sum == "" {
		sum = r.Header.Get("Content-MD5")
	}
	if b, err := base64.StdEncoding.DecodeString(sum); err == nil && len(b) == md5.Size {
		p.MD5 = b
	}
	if r.StatusCode == http.StatusPartialContent {
		p.Size = totalSize(r)
	}
	return p
}

// totalSize is the size of what an answer holds a range of.
func totalSize(r *http.Response) int64 {
	_, total, _ := strings.Cut(r.Header.Get("Content-Range"), "/")
	size, _ := strconv.ParseInt(total, 10, 64)
	return size
}

// ReadSmall returns a blob of at most limit bytes.
func (c *Client) ReadSmall(ctx context.Context, blob string, limit int64) ([]byte, error) {
	var out []byte
	err := c.do(ctx, request{method: http.MethodGet, url: blob, want: http.StatusOK}, func(r *http.Response) error {
		b, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
		if err != nil {
			return retryable{fmt.Errorf("reading body: %w", err)}
		}
		if int64(len(b)) > limit {
			return fmt.Errorf("blob %s is larger than %d bytes", redact(blob), limit)
		}
		out = b
		return nil
	})
	return out, err
}

// Create writes a block blob that must not exist yet. When it does the error is a *StatusError with Exists.
func (c *Client) Create(ctx context.Context, blob string, content []byte) error {
	return c.do(ctx, request{method: http.MethodPut, url: blob, body: content, want: http.StatusCreated,
		header: map[string]string{"x-ms-blob-type": "BlockBlob", "If-None-Match": "*"}}, nil)
}

// Put writes a whole block blob with its MD5.
func (c *Client) Put(ctx context.Context, blob string, content []byte) error {
	sum := md5.Sum(content)
	if c.s3(blob) {
		return c.do(ctx, s3Put(blob, content, sum), nil)
	}
	return c.do(ctx, request{method: http.MethodPut, url: blob, body: content, want: http.StatusCreated, header: map[string]string{
		"x-ms-blob-type": "BlockBlob", "Content-MD5": base64.StdEncoding.EncodeToString(sum[:]),
		"x-ms-blob-content-type": "application/octet-stream",
	}}, nil)
}

// CreateAppend makes an empty append blob and returns the length stored so far, which is not 0 when there was one already.
func (c *Client) CreateAppend(ctx context.Context, blob, contentType string) (int64, error) {
	err := c.do(ctx, request{method: http.MethodPut, url: blob, body: []byte{}, want: http.StatusCreated, header: map[string]string{
		"x-ms-blob-type": "AppendBlob", "If-None-Match": "*", "x-ms-blob-content-type": contentType,
	}}, nil)
	var se *StatusError
	if errors.As(err, &se) && se.Exists() {
		p, err := c.Head(ctx, blob)
		return p.Size, err
	}
	return 0, err
}

// Append writes p at position pos of an append blob, which must be its end; otherwise the error is a *StatusError with
// WrongPosition, and the caller asks Head where the end is: a try whose answer got lost has been stored all the same.
func (c *Client) Append(ctx context.Context, blob string, pos int64, p []byte) error {
	return c.do(ctx, request{method: http.MethodPut, url: withQuery(blob, "comp", "appendblock"), body: p, want: http.StatusCreated,
		header: map[string]string{"x-ms-blob-condition-appendpos": strconv.FormatInt(pos, 10)}}, nil)
}

// Delete removes a blob; one that is not there is removed already.
func (c *Client) Delete(ctx context.Context, blob string) error {
	want := http.StatusAccepted
	if c.s3(blob) {
		want = http.StatusNoContent
	}
	return c.do(ctx, request{method: http.MethodDelete, url: blob, want: want, also: http.StatusNotFound}, nil)
}

type request struct {
	method, url string
	header      map[string]string
	body        []byte
	want        int
	// also is a second accepted status; 0 means none.
	also int
}

func (c *Client) send(ctx context.Context, q request) (*http.Response, error) {
	var body io.Reader
	if q.body != nil {
		body = bytes.NewReader(q.body)
	}
	to := q.url
	if c.s3(q.url) {
		var err error
		if to, err = c.signedURL(ctx, q); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, q.method, to, body)
	if err != nil {
		return nil, fmt.Errorf("making request: %w", err)
	}
	for k, v := range q.header {
		req.Header.Set(k, v)
	}
	if to == q.url {
		req.Header.Set("x-ms-version", apiVersion)
		if err := c.authorize(req); err != nil {
			return nil, err
		}
	}
	resp, err := c.cfg.HTTP.Do(req)
	if err != nil {
		return nil, retryable{redactError(err)}
	}
	return resp, nil
}

// authorize adds the token to a request to the control plane.
func (c *Client) authorize(req *http.Request) error {
	if c.cfg.Token == nil || !c.Owns(req.URL.String()) {
		return nil
	}
	tok, err := c.cfg.Token()
	if err != nil {
		return retryable{fmt.Errorf("reading run token: %w", err)}
	}
	req.Header.Set("Authorization", "Bearer "+tok)
	return nil
}

func withQuery(rawURL, key, value string) string {
	sep := "?"
	if strings.Contains(rawURL, "?") {
		sep = "&"
	}
	return rawURL + sep + key + "=" + url.QueryEscape(value)
}

// redact drops the query, which may carry a signature.
func redact(rawURL string) string {
	s, _, _ := strings.Cut(rawURL, "?")
	return s
}

func redactError(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return fmt.Errorf("%s %s: %w", strings.ToUpper(ue.Op), redact(ue.URL), ue.Err)
	}
	return err
}
