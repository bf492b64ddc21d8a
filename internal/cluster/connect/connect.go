// Package connect is the cluster's end of `connectedk8s proxy`: it serves the API server to callers whom the control plane names,
// each as themselves, by impersonation. What a caller may do is for the cluster's own RBAC to say.
package connect

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/internal/link"
)

// Server answers targets of kind "kube". It is safe for concurrent use.
type Server struct {
	api       *url.URL
	transport http.RoundTripper
	token     func(ctx context.Context) (string, error)
	buffers   link.Buffers
	log       *slog.Logger
}

// New makes a Server for the API server that config reaches. Only its address and CA are used: token gives the bearer token of a
// service account that may impersonate callers and should have no other right.
func New(config *rest.Config, token func(ctx context.Context) (string, error), log *slog.Logger) (*Server, error) {
	anonymous := rest.AnonymousClientConfig(config)
	api, _, err := rest.DefaultServerUrlFor(anonymous)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's address: %w", err)
	}
	tlsConfig, err := rest.TLSConfigFor(anonymous)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's CA: %w", err)
	}
	if tlsConfig == nil {
		tlsConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return &Server{api: api, transport: transport(tlsConfig), token: token, log: log}, nil
}

// transport speaks HTTP/1.1 only: upgrades (exec, port-forward) need it, and a reader that stops stalls no other request.
func transport(config *tls.Config) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		TLSClientConfig: config, Protocols: &protocols, Proxy: http.ProxyFromEnvironment, DisableCompression: true,
		DialContext:         (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second, MaxIdleConnsPerHost: 8, IdleConnTimeout: 90 * time.Second,
		ReadBufferSize: link.BufferSize, WriteBufferSize: link.BufferSize,
	}
}

// Handle serves one stream, which is one HTTP connection; link.ServeRelay calls it with a target that link has validated.
func (s *Server) Handle(ctx context.Context, t link.Target, stream net.Conn) {
	if t.Kind != link.KindKube {
		_ = link.AnswerTarget(stream, fmt.Errorf("the agent serves relay targets of kind %q, not %q", link.KindKube, t.Kind))
		return
	}
	if err := link.AnswerTarget(stream, nil); err != nil {
		return
	}
	l := newListener(ctx, stream)
	server := &http.Server{Handler: s.as(t), ReadHeaderTimeout: 30 * time.Second, MaxHeaderBytes: 1 << 20,
		BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug)}
	_ = server.Serve(l) // until the connection is closed
}

// as is a handler that passes requests on in the name of the target's user.
func (s *Server) as(t link.Target) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := s.token(r.Context())
		if err != nil {
			s.log.Error("getting the token that impersonates callers", "error", err)
			refuse(w, http.StatusBadGateway, "the agent has no token for the API server; its log says why")
			return
		}
		proxy := &httputil.ReverseProxy{
			Transport: s.transport, FlushInterval: -1, BufferPool: &s.buffers, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
			Rewrite: func(p *httputil.ProxyRequest) {
				p.SetURL(s.api)
				clean(p.Out.Header)
				p.Out.Header.Set("Authorization", "Bearer "+token)
				impersonate(p.Out.Header, t)
			},
			ModifyResponse: s.checkAnswer,
			ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
				var own *refusal
				switch {
				case r.Context().Err() != nil:
					panic(http.ErrAbortHandler) // a plain return would be an empty 200
				case errors.As(err, &own):
					refuse(w, http.StatusBadGateway, own.text)
				default:
					s.log.Warn("reaching the API server", "error", err)
					refuse(w, http.StatusBadGateway, "the agent cannot reach the cluster's API server: "+err.Error())
				}
			},
		}
		proxy.ServeHTTP(w, r)
	})
}

// refusal is an answer of the API server that speaks of the agent, not of the caller.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

// checkAnswer keeps the API server's 401 from telling callers that their login is bad: the token is the agent's.
func (s *Server) checkAnswer(res *http.Response) error {
	if res.StatusCode != http.StatusUnauthorized {
		return nil
	}
	s.log.Error("the API server refuses the token that impersonates callers")
	return &refusal{"the API server does not accept the agent's service account; its log has more"}
}

// clean drops every header by which a request could say who it comes from.
func clean(h http.Header) {
	for name := range h {
		low := strings.ToLower(name)
		if strings.HasPrefix(low, "impersonate-") || strings.HasPrefix(low, "x-remote-") || low == "authorization" || low == "cookie" {
			delete(h, name)
		}
	}
}

// impersonate writes who the request is for. The API server adds system:authenticated.
func impersonate(h http.Header, t link.Target) {
	h.Set("Impersonate-User", t.User)
	for _, g := range t.Groups {
		h.Add("Impersonate-Group", g)
	}
	h.Set("Impersonate-Extra-"+url.PathEscape(link.ExtraKind), t.UserKind)
}

// refuse answers in the form that kubectl reads.
func refuse(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status: metav1.StatusFailure, Reason: metav1.StatusReasonServiceUnavailable, Code: int32(code), Message: message})
}
