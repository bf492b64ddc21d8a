// Package kubeproxy serves one connected cluster's Kubernetes API on the loopback interface, for programs that cannot ask for
// tokens: it passes requests on to the control plane with the user's own, renewed, token.
package kubeproxy

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/link"
)

// Config is what New needs.
type Config struct {
	// Endpoint is the control plane's address, CAPEM verifies it in addition to the system's CAs.
	Endpoint string
	CAPEM    []byte
	// Path is the only one that is served, with everything below it.
	Path string
	// Token gives the user's token for the control plane; it is asked before every request.
	Token func(ctx context.Context) (string, error)
}

// Server is a proxy with a certificate and a password of its own, which are new each time.
type Server struct {
	cfg      Config
	endpoint *url.URL
	cert     tls.Certificate
	proxy    *httputil.ReverseProxy
	// CAPEM verifies the server; Password is the bearer token that it wants, so that no other user of the machine can use it.
	CAPEM    []byte
	Password string
}

// New makes a Server.
func New(cfg Config) (*Server, error) {
	endpoint, err := url.Parse(cfg.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("reading the control plane's address: %w", err)
	}
	s := &Server{cfg: cfg, endpoint: endpoint, Password: rand.Text()}
	if s.cert, s.CAPEM, err = selfSigned(time.Now()); err != nil {
		return nil, err
	}
	transport, err := transport(cfg.CAPEM)
	if err != nil {
		return nil, err
	}
	s.proxy = &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1, BufferPool: &link.Buffers{}, ErrorLog: log.New(io.Discard, "", 0),
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = endpoint.Scheme, endpoint.Host, ""
			token, _ := p.In.Context().Value(tokenKey{}).(string)
			p.Out.Header.Set("Authorization", "Bearer "+token)
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil {
				panic(http.ErrAbortHandler) // a plain return would be an empty 200
			}
			refuse(w, http.StatusServiceUnavailable, "ServiceUnavailable", fmt.Sprintf("the control plane at %s cannot be reached: %v", cfg.Endpoint, err))
		},
	}
	return s, nil
}

// transport speaks HTTP/1.1 only: exec and port-forward need it.
func transport(caPEM []byte) (*http.Transport, error) {
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if len(caPEM) > 0 && !pool.AppendCertsFromPEM(caPEM) {
		return nil, errors.New("the control plane's CA file holds no PEM certificate")
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, Protocols: &protocols,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext, TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 8, IdleConnTimeout: 90 * time.Second, DisableCompression: true,
		ReadBufferSize: link.BufferSize, WriteBufferSize: link.BufferSize,
	}, nil
}

type tokenKey struct{}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	if subtle.ConstantTimeCompare([]byte(given), []byte(s.Password)) != 1 {
		refuse(w, http.StatusUnauthorized, "Unauthorized", "this proxy serves only the kubeconfig that it wrote")
		return
	}
	if r.URL.Path != s.cfg.Path && !strings.HasPrefix(r.URL.Path, s.cfg.Path+"/") {
		refuse(w, http.StatusNotFound, "NotFound", "this proxy serves only "+s.cfg.Path)
		return
	}
	token, err := s.cfg.Token(r.Context())
	if err != nil {
		refuse(w, http.StatusUnauthorized, "Unauthorized", "the proxy has no token for the control plane: "+err.Error())
		return
	}
	s.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), tokenKey{}, token)))
}

// Serve serves until ctx ends; then it ends what is under way and returns nil.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{Handler: s, ReadHeaderTimeout: 30 * time.Second, ErrorLog: log.New(io.Discard, "", 0),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{s.cert}, MinVersion: tls.VersionTLS12}, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	err := server.ServeTLS(l, "", "")
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("serving on %s: %w", l.Addr(), err)
}

// refuse answers in the form that kubectl reads.
func refuse(w http.ResponseWriter, code int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure",
		"reason": reason, "code": code, "message": message})
}
