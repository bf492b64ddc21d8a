package front

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/router/gate"
)

// maxTries is at how many pods a request is tried.
const maxTries = 3

// proxy hands requests to pods.
type proxy struct {
	http1, http2 http.RoundTripper
	reverse      *httputil.ReverseProxy
}

func newProxy(log *slog.Logger) *proxy {
	p := &proxy{http1: transport(false), http2: transport(true)}
	p.reverse = &httputil.ReverseProxy{
		Rewrite: rewrite, Transport: p, ModifyResponse: modify, ErrorHandler: fail, BufferPool: &buffers,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return p
}

// transport keeps connections to pods for as short as a server may that closes them soon after (gunicorn: 2 s), so that no request is
// written to one that is being closed.
func transport(http2 bool) *http.Transport {
	dialer := &net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, &dialError{err}
			}
			return conn, nil
		},
		DisableCompression: true, MaxIdleConnsPerHost: 512, IdleConnTimeout: 1500 * time.Millisecond,
		MaxResponseHeaderBytes: 256 << 10, WriteBufferSize: 16 << 10, ReadBufferSize: 16 << 10, Protocols: new(http.Protocols),
	}
	if http2 {
		t.Protocols.SetUnencryptedHTTP2(true)
		t.IdleConnTimeout = time.Minute // HTTP/2 says goodbye before it closes.
	} else {
		t.Protocols.SetHTTP1(true)
	}
	return t
}

// dialError is a connection that was not made: the pod has seen nothing of the request.
type dialError struct{ error }

// Unwrap is for errors.As.
func (e *dialError) Unwrap() error { return e.error }

func isDial(err error) bool {
	var d *dialError
	return errors.As(err, &d)
}

// callKey is where a request's context has its attempt.
type callKey struct{}

// attempt is a request at pods: the ticket of the one that it is at, and how it went there.
type attempt struct {
	*call
	cancel  context.CancelCauseFunc
	ticket  *gate.Ticket
	outcome gate.Outcome
	broken  atomic.Bool // the pod's answer broke off
}

func attemptOf(ctx context.Context) *attempt { return ctx.Value(callKey{}).(*attempt) }

func (p *proxy) serve(w http.ResponseWriter, r *http.Request, c *call) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	a := &attempt{call: c, cancel: cancel}
	defer a.release()
	p.reverse.ServeHTTP(w, r.WithContext(context.WithValue(ctx, callKey{}, a)))
}

func (a *attempt) release() {
	if a.ticket == nil {
		return
	}
	if a.broken.Load() {
		a.outcome = gate.Failed
	}
	a.ticket.Release(a.outcome)
	a.ticket = nil
}

func rewrite(r *httputil.ProxyRequest) {
	a := attemptOf(r.In.Context())
	r.SetXForwarded()
	u := r.Out.URL
	u.Scheme, u.Opaque, u.RawQuery = "http", "", r.In.URL.RawQuery
	u.Path, u.RawPath = unescaped(a.target)
	h := r.Out.Header
	h.Del("Authorization") // The key opens the endpoint, and is nothing to the model.
	h.Del(HeaderEndpoint)
	h.Set(HeaderRequestID, a.id)
	setOrDel(h, HeaderClientRequestID, a.clientID)
	h.Set(HeaderDeployment, a.deployment.Name)
}

func setOrDel(h http.Header, name, value string) {
	if value == "" {
		h.Del(name)
		return
	}
	h.Set(name, value)
}

// RoundTrip implements http.RoundTripper: it waits for a pod and tries the request there, and at others as long as nothing was sent.
func (p *proxy) RoundTrip(r *http.Request) (*http.Response, error) {
	a := attemptOf(r.Context())
	var body *retryBody
	if r.Body != nil && r.Body != http.NoBody {
		body = &retryBody{ReadCloser: r.Body}
	}
	var avoid []string
	for {
		queued := time.Now()
		ticket, err := a.deployment.Gate.Acquire(r.Context(), avoid...)
		a.queued += time.Since(queued)
		if err != nil {
			return nil, err
		}
		a.ticket, a.outcome, a.pod = ticket, gate.Unused, ticket.Addr
		a.tries++
		res, err := p.try(r, a, body)
		if err == nil {
			return res, nil
		}
		refused := isDial(err)
		switch {
		case refused && r.Context().Err() == nil:
			a.outcome = gate.Refused
		case errors.Is(context.Cause(r.Context()), errTimeout) || r.Context().Err() == nil && !(body != nil && body.failed.Load()):
			a.outcome = gate.Failed
		}
		a.release()
		untouched := body == nil || !body.touched.Load()
		if a.tries >= maxTries || r.Context().Err() != nil || !untouched || !refused && !idempotent(r.Method) {
			return nil, err
		}
		avoid = append(avoid, ticket.Addr)
	}
}

func (p *proxy) try(r *http.Request, a *attempt, body *retryBody) (*http.Response, error) {
	out, u := *r, *r.URL
	u.Host = a.ticket.Addr
	out.URL = &u
	if body != nil {
		out.Body = body
	}
	timer := time.AfterFunc(a.deployment.Timeout, func() { a.cancel(errTimeout) })
	defer timer.Stop()
	via := p.http1
	if isGRPC(r.ProtoMajor, r.Header) {
		via = p.http2
	}
	res, err := via.RoundTrip(&out)
	if err != nil {
		return nil, err
	}
	a.outcome = gate.Answered
	if res.StatusCode != http.StatusSwitchingProtocols {
		res.Body = &answerBody{ReadCloser: res.Body, a: a, ctx: r.Context()}
	}
	return res, nil
}

// idempotent says whether a request may reach two pods (RFC 9110, 9.2.2).
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// retryBody can be given to another try as long as nothing was read of it.
type retryBody struct {
	io.ReadCloser
	touched, failed atomic.Bool
}

// Read implements io.Reader.
func (b *retryBody) Read(p []byte) (int, error) {
	b.touched.Store(true)
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.failed.Store(true)
	}
	return n, err
}

// Close leaves the body to the server, which closes it after the request.
func (b *retryBody) Close() error { return nil }

// answerBody notices when the pod's answer breaks off.
type answerBody struct {
	io.ReadCloser
	a   *attempt
	ctx context.Context
}

// Read implements io.Reader.
func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && b.ctx.Err() == nil {
		b.a.broken.Store(true)
	}
	return n, err
}

// modify turns a pod's answer into the endpoint's.
func modify(res *http.Response) error {
	a := attemptOf(res.Request.Context())
	h := res.Header
	h.Set(HeaderRequestID, a.id)
	setOrDel(h, HeaderClientRequestID, a.clientID)
	h.Set(HeaderDeployment, a.deployment.Name)
	if a.cors { // two answers to a browser's question are none
		maps.DeleteFunc(h, func(name string, _ []string) bool { return strings.HasPrefix(name, "Access-Control-") })
	}
	if a.scoring && res.StatusCode == http.StatusInternalServerError {
		// The reference's table has 502 for an exception in run(), and 500 for the router's own.
		h.Set(headerModelStatus, strconv.Itoa(res.StatusCode))
		h.Set(headerModelReason, "Internal Server Error")
		res.StatusCode, res.Status = http.StatusBadGateway, ""
		a.reason = "ModelError"
	}
	return nil
}

func fail(w http.ResponseWriter, r *http.Request, err error) {
	a := attemptOf(r.Context())
	faultOf(r.Context(), err, a.call).write(w, a.call)
}
