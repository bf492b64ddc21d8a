package blobclient

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// StatusError is an answer other than the one asked for.
type StatusError struct {
	Method, URL string
	Status      int
	// Code is the store's error word (BlobNotFound, AppendPositionConditionNotMet …), or "".
	Code string
	// Message is the store's own text.
	Message string
}

func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s %s: %d %s", e.Method, e.URL, e.Status, http.StatusText(e.Status))
	if e.Code != "" {
		s += " (" + e.Code + ")"
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// NotFound reports that there is no such blob.
func (e *StatusError) NotFound() bool { return e.Status == http.StatusNotFound }

// Exists reports that a blob that must not exist does.
func (e *StatusError) Exists() bool {
	return e.Status == http.StatusConflict || e.Status == http.StatusPreconditionFailed
}

// Changed reports that a blob is not the version that was asked for.
func (e *StatusError) Changed() bool { return e.Status == http.StatusPreconditionFailed }

// Denied reports that the token may not do this.
func (e *StatusError) Denied() bool { return e.denied() }

// WrongPosition reports that an append did not start at the blob's end.
func (e *StatusError) WrongPosition() bool { return e.Status == http.StatusPreconditionFailed }

func (e *StatusError) denied() bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden
}

func (e *StatusError) transient() bool {
	return e.Status >= 500 || e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout || e.denied()
}

// IsNotFound reports whether err says that there is no such blob.
func IsNotFound(err error) bool {
	var se *StatusError
	return errors.As(err, &se) && se.NotFound()
}

// retryable marks an error of the way there or back, not of the request.
type retryable struct{ error }

func (r retryable) Unwrap() error { return r.error }

const (
	firstWait = 100 * time.Millisecond
	maxWait   = 15 * time.Second
)

// do sends a request until it is answered for good, and gives an accepted answer to read, whose retryable errors send it again.
func (c *Client) do(ctx context.Context, q request, read func(*http.Response) error) error {
	p := patience{c: c, start: c.cfg.Now()}
	for try := 0; ; try++ {
		after, err := c.once(ctx, q, read)
		if err == nil {
			return nil
		}
		if !transient(err) || ctx.Err() != nil {
			return unwrapRetryable(err)
		}
		pause := backoff(try, after)
		if limit, over := p.over(err, pause); over {
			return fmt.Errorf("giving up after %s: %w", limit, unwrapRetryable(err))
		}
		if c.cfg.OnRetry != nil {
			c.cfg.OnRetry(unwrapRetryable(err), pause)
		}
		if werr := c.cfg.Wait(ctx, pause); werr != nil {
			return fmt.Errorf("%w (last try: %w)", werr, unwrapRetryable(err))
		}
	}
}

// once makes one try; after is what the answer's Retry-After asks for.
func (c *Client) once(ctx context.Context, q request, read func(*http.Response) error) (after time.Duration, err error) {
	resp, err := c.send(ctx, q)
	if err != nil {
		return 0, err
	}
	defer func() {
		_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection is used again
		_ = resp.Body.Close()
	}()
	if resp.StatusCode != q.want && (q.also == 0 || resp.StatusCode != q.also) {
		err := statusError(q, resp)
		if err.denied() {
			c.signed.forget(q)
		}
		return c.retryAfter(resp), err
	}
	if read == nil {
		return 0, nil
	}
	return 0, read(resp)
}

// transient reports whether another try may end otherwise.
func transient(err error) bool {
	var se *StatusError
	if errors.As(err, &se) {
		return se.transient()
	}
	var r retryable
	return errors.As(err, &r)
}

// patience is how long one call goes on failing: RetryFor since its start, and DeniedFor since the first of the denials that
// now follow one another. The time of an outage before them does not count as denied.
type patience struct {
	c      *Client
	start  time.Time
	denied time.Time // zero unless the last try was denied
}

// over reports whether the limit is passed after one more pause, and which.
func (p *patience) over(err error, pause time.Duration) (limit time.Duration, over bool) {
	now := p.c.cfg.Now()
	var se *StatusError
	if !errors.As(err, &se) || !se.denied() {
		p.denied = time.Time{}
	} else {
		if p.denied.IsZero() {
			p.denied = now
		}
		if limit = p.c.cfg.DeniedFor; now.Sub(p.denied)+pause > limit {
			return limit, true
		}
	}
	limit = p.c.cfg.RetryFor
	return limit, now.Sub(p.start)+pause > limit
}

func unwrapRetryable(err error) error {
	var r retryable
	if errors.As(err, &r) {
		return r.error
	}
	return err
}

func statusError(q request, resp *http.Response) *StatusError {
	e := &StatusError{Method: q.method, URL: redact(resp.Request.URL.String()), Status: resp.StatusCode, Code: resp.Header.Get("x-ms-error-code")}
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	var doc struct{ Code, Message string }
	if xml.Unmarshal(body, &doc) == nil {
		if e.Code == "" {
			e.Code = doc.Code
		}
		e.Message = doc.Message
	}
	return e
}

func (c *Client) retryAfter(resp *http.Response) time.Duration {
	v := resp.Header.Get("Retry-After")
	if s, err := strconv.Atoi(v); err == nil && s >= 0 {
		return min(time.Duration(s)*time.Second, time.Hour)
	}
	if t, err := http.ParseTime(v); err == nil {
		return min(max(0, t.Sub(c.cfg.Now())), time.Hour)
	}
	return 0
}

// backoff doubles from firstWait to maxWait with ±25 % of jitter, and is never shorter than what the server asked for.
func backoff(try int, after time.Duration) time.Duration {
	d := maxWait
	if try < 8 {
		d = min(maxWait, firstWait<<try)
	}
	d = time.Duration(float64(d) * (0.75 + rand.Float64()/2))
	return max(d, after)
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
