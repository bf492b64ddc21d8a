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
	"time"
)

// Of connections to pods.
const dialTimeout, dialKeepAlive = 2 * time.Second, 15 * time.Second

// proxy hands requests to pods by the standard library.
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
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: dialKeepAlive}
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, &dialError{err}
			}
			return conn, nil
		},
		DisableCompression: true, MaxIdleConnsPerHost: keptPerPod, IdleConnTimeout: keepPod,
		MaxResponseHeaderBytes: largestAnswerHead, WriteBufferSize: 16 << 10, ReadBufferSize: 16 << 10, Protocols: new(http.Protocols),
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

// exchangeKey is where a request's context has its exchange.
type exchangeKey struct{}

// exchange is a request at pods by the standard library.
type exchange struct {
	attempt
	cancel context.CancelCauseFunc
	caller *http.ResponseController
}

func exchangeOf(ctx context.Context) *exchange { return ctx.Value(exchangeKey{}).(*exchange) }

func (p *proxy) serve(w http.ResponseWriter, r *http.Request, c *call) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	x := &exchange{attempt: attempt{call: c}, cancel: cancel, caller: http.NewResponseController(w)}
	defer x.release()
	p.reverse.ServeHTTP(w, r.WithContext(context.WithValue(ctx, exchangeKey{}, x)))
}

func rewrite(r *httputil.ProxyRequest) {
	x := exchangeOf(r.In.Context())
	u := r.Out.URL
	u.Scheme, u.Opaque, u.RawQuery = "http", "", r.In.URL.RawQuery
	u.Path, u.RawPath = unescaped(x.target)
	maps.DeleteFunc(r.Out.Header, func(name string, _ []string) bool { return withheld(name) })
	set(r.Out.Header, x.toPod(nil))
}

// RoundTrip implements http.RoundTripper.
func (p *proxy) RoundTrip(r *http.Request) (*http.Response, error) {
	x := exchangeOf(r.Context())
	var body *upload
	if r.Body != nil && r.Body != http.NoBody {
		body = &upload{ReadCloser: r.Body, call: x.call, caller: x.caller, begun: time.Now()}
	}
	var res *http.Response
	try := func(addr string) (err error) { res, err = p.try(r, x, addr, body); return err }
	err := x.deliver(r.Context(), try, func() bool { return body == nil || !body.touched.Load() })
	return res, err
}

func (p *proxy) try(r *http.Request, x *exchange, addr string, body *upload) (*http.Response, error) {
	out, u := *r, *r.URL
	u.Host = addr
	out.URL = &u
	clock := newClock(x.deployment.Timeout, func() { x.cancel(errTimeout) })
	defer clock.over()
	if body != nil {
		body.clock = clock
		out.Body = body
	}
	via := p.http1
	if x.isGRPC() {
		via = p.http2
	}
	res, err := via.RoundTrip(&out)
	if err != nil {
		return nil, err
	}
	if body != nil {
		body.answered()
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		res.Body = &answerBody{ReadCloser: res.Body, x: x, ctx: r.Context()}
	}
	return res, nil
}

// answerBody notices when the pod's answer breaks off.
type answerBody struct {
	io.ReadCloser
	x   *exchange
	ctx context.Context
}

// Read implements io.Reader.
func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && b.ctx.Err() == nil && !b.x.uploadFailed.Load() {
		b.x.broken.Store(true)
	}
	return n, err
}

// modify turns a pod's answer into the endpoint's.
func modify(res *http.Response) error {
	x := exchangeOf(res.Request.Context())
	maps.DeleteFunc(res.Header, func(name string, _ []string) bool { return x.replaced(name) })
	status, fields := x.answered(res.StatusCode, x.toCaller(nil))
	set(res.Header, fields)
	if status != res.StatusCode {
		res.StatusCode, res.Status = status, ""
	}
	return nil
}

func fail(w http.ResponseWriter, r *http.Request, err error) {
	x := exchangeOf(r.Context())
	faultOf(r.Context(), err, x.call).write(w, x.call)
}
