package link

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Config says how a cluster reaches its control plane.
type Config struct {
	// Endpoint is the control plane's URL.
	Endpoint string
	// CA is the PEM bundle that verifies the control plane; empty means the system's.
	CA []byte
	// TokenSource gives a bearer token that is valid now; it is asked before every request and may cache.
	TokenSource func(ctx context.Context) (string, error)
	// Refused, if not nil, is told of a token that the control plane answered with 401, so that TokenSource gives it no more.
	Refused func(token string)
	// Proxy chooses the proxy of a request; nil means HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
	Proxy func(*http.Request) (*url.URL, error)
	Log   *slog.Logger
	// Silence is how long a stream may bring no line before it is opened anew; 0 means 30 s.
	Silence time.Duration
	// MaxBackoff bounds the pause between attempts; 0 means 8 s.
	MaxBackoff time.Duration
}

// Client is the cluster's side of the link. It is safe for concurrent use.
type Client struct {
	cfg  Config
	http *http.Client
}

// StatusError is an answer of the control plane other than the expected one.
type StatusError struct {
	Status  int
	Message string
}

// Error says status and message.
func (e *StatusError) Error() string {
	return fmt.Sprintf("the control plane answered %d: %s", e.Status, e.Message)
}

// NewClient checks a Config and makes a Client.
func NewClient(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" {
		return nil, fmt.Errorf("link endpoint %q: want https://<host>[:<port>]", cfg.Endpoint)
	}
	if cfg.TokenSource == nil {
		return nil, errors.New("link: a TokenSource is needed")
	}
	cfg.Endpoint = strings.TrimSuffix(cfg.Endpoint, "/")
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(cfg.CA) > 0 {
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(cfg.CA) {
			return nil, errors.New("link: the CA bundle holds no PEM certificate")
		}
	}
	if cfg.Proxy == nil {
		cfg.Proxy = http.ProxyFromEnvironment
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Silence == 0 {
		cfg.Silence = 30 * time.Second
	}
	if cfg.MaxBackoff == 0 {
		cfg.MaxBackoff = 8 * time.Second
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true) // WebSockets need it, and a stalled stream then stalls nothing else
	t := &http.Transport{Proxy: cfg.Proxy, TLSClientConfig: tlsConfig, Protocols: &protocols,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second, IdleConnTimeout: 90 * time.Second,
		DisableCompression: true} // a compressor per stream costs the control plane more memory than it saves
	return &Client{cfg: cfg, http: &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse // a token goes to the endpoint only
	}}}, nil
}

func (c *Client) request(ctx context.Context, method, pathAndQuery string, body io.Reader) (*http.Response, error) {
	token, err := c.cfg.TokenSource(ctx)
	if err != nil {
		return nil, fmt.Errorf("getting a token: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.cfg.Endpoint+pathAndQuery, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode >= 300 {
		defer res.Body.Close()
		return nil, c.refusal(res, token)
	}
	return res, nil
}

// refusal is the error of an answer other than the expected one to a request with a token.
func (c *Client) refusal(res *http.Response, token string) error {
	if res.StatusCode == http.StatusUnauthorized && c.cfg.Refused != nil {
		c.cfg.Refused(token)
	}
	text, _ := io.ReadAll(io.LimitReader(res.Body, 4096))
	return &StatusError{res.StatusCode, strings.TrimSpace(string(text))}
}

// backoff is the pause before an attempt: random up to a bound that doubles with every failure.
type backoff struct {
	max time.Duration
	n   int
}

func (b *backoff) reset() { b.n = 0 }

// wait pauses; false when ctx ended first.
func (b *backoff) wait(ctx context.Context) bool {
	bound := min(b.max, 250*time.Millisecond<<min(b.n, 16))
	b.n++
	t := time.NewTimer(time.Millisecond + rand.N(bound))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Follow brings every event of the desired map below prefix to apply, in order, until ctx ends, whose error it returns. It
// connects again after any failure and resumes after the last event that apply took. An error of apply is a failure too:
// the same event, or a new snapshot, comes again.
func (c *Client) Follow(ctx context.Context, prefix string, apply func(ctx context.Context, e Event) error) error {
	f := &follower{c: c, prefix: prefix, apply: apply}
	b := backoff{max: c.cfg.MaxBackoff}
	for {
		lines, err := f.once(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if lines > 0 {
			b.reset()
		}
		level := slog.LevelWarn
		if errors.Is(err, io.EOF) { // as every stream does after a while
			level = slog.LevelDebug
		}
		c.cfg.Log.Log(ctx, level, "the desired stream ended; connecting again", "prefix", prefix, "after", f.seq, "err", err)
		c.http.CloseIdleConnections() // they lead where the stream came from, and a load balancer may know better by now
		if !b.wait(ctx) {
			return ctx.Err()
		}
	}
}

type follower struct {
	c      *Client
	prefix string
	seq    int64
	apply  func(ctx context.Context, e Event) error
}

var errSilent = errors.New("the stream brought no line for too long")

// once follows one connection; it returns how many events were applied.
func (f *follower) once(ctx context.Context) (lines int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(f.c.cfg.Silence, func() { cancel(errSilent) })
	defer watch.Stop()
	q := url.Values{"prefix": {f.prefix}, "after": {strconv.FormatInt(f.seq, 10)}}
	res, err := f.c.request(ctx, http.MethodGet, DesiredPath+"?"+q.Encode(), nil)
	if err != nil {
		return 0, cmpErr(ctx, err)
	}
	defer res.Body.Close()
	sc := newEventScanner(res.Body)
	for sc.Scan() {
		watch.Stop() // apply may take its time
		e, err := ParseEvent(sc.Bytes())
		if err != nil {
			return lines, err
		}
		if err := f.apply(ctx, e); err != nil {
			return lines, fmt.Errorf("applying %s of %q: %w", e.Type, e.Key, err)
		}
		f.seq = max(f.seq, e.Seq)
		if e.Type == EventReset {
			f.seq = 0 // until the bookmark that ends the snapshot
		}
		lines++
		watch.Reset(f.c.cfg.Silence)
	}
	if err := sc.Err(); err != nil {
		return lines, cmpErr(ctx, err)
	}
	return lines, io.EOF
}

// cmpErr prefers the reason why a context was cancelled.
func cmpErr(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

func newEventScanner(r io.Reader) *bufio.Scanner {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 16<<10), MaxValue+64<<10)
	return sc
}

// ParseEvent reads one line of the desired stream.
func ParseEvent(line []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		return Event{}, fmt.Errorf("reading an event: %w", err)
	}
	switch e.Type {
	case EventReset, EventBookmark:
	case EventPut, EventDelete:
		if e.Key == "" || (e.Type == EventPut && len(bytes.TrimSpace(e.Value)) == 0) {
			return Event{}, fmt.Errorf("reading an event: %s without key or value", e.Type)
		}
	default:
		return Event{}, fmt.Errorf("reading an event: unknown type %.40q", e.Type)
	}
	if e.Seq < 0 {
		return Event{}, fmt.Errorf("reading an event: sequence number %d", e.Seq)
	}
	return e, nil
}
