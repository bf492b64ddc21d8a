// Package tracking passes requests of MLflow's clients in a pod on to the control plane:
//
//	mlflow ──http──▶ 127.0.0.1 ──https, the run's newest token──▶ control plane
//
// A client reads its token from an environment that nobody can change while it runs, and a job may outlive the token that it began
// with. The client also needs no CA, and a control plane that is away is an answer that clients repeat.
package tracking

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"fairlead.dev/fairlead/internal/runtime/loopback"
)

// Config is what a server needs. All fields are required but Log.
type Config struct {
	// Workspace is the address of the workspace's tracking at the control plane.
	Workspace *url.URL
	// First is the token that clients were given, Token the newest of the run.
	First string
	Token func() (string, error)
	// Transport reaches the control plane.
	Transport http.RoundTripper
	Log       *slog.Logger
}

// Server passes requests on.
type Server struct {
	cfg   Config
	proxy *httputil.ReverseProxy
}

// Workspace is the address at a control plane that an address of the form azureml://<host>/mlflow/v1.0/… means; nil for other forms.
func Workspace(trackingURI, controlPlane string) (*url.URL, error) {
	tracking, err := url.Parse(trackingURI)
	if err != nil || tracking.Scheme != "azureml" {
		return nil, err
	}
	u, err := url.Parse(controlPlane)
	if err != nil {
		return nil, err
	}
	u.Path = strings.TrimSuffix(tracking.Path, "/")
	return u, nil
}

// New makes a server.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg}
	s.proxy = &httputil.ReverseProxy{Rewrite: s.rewrite, Transport: cfg.Transport, ErrorHandler: s.away, FlushInterval: -1,
		ErrorLog: slog.NewLogLogger(cfg.Log.Handler(), slog.LevelWarn)}
	return s
}

// Environ are the variables that lead clients to the server at an address.
func (s *Server) Environ(address string) map[string]string {
	return map[string]string{"MLFLOW_TRACKING_URI": "http://" + address + s.cfg.Workspace.Path, "MLFLOW_TRACKING_TOKEN": s.cfg.First}
}

// Serve answers on l until stop is called.
func (s *Server) Serve(l net.Listener) (stop func()) { return loopback.Serve(l, s, 0) }

// ServeHTTP passes one request on, or refuses it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case !loopback.Named(r.Host) || loopback.Forwarded(r):
		refuse(w, http.StatusForbidden, "PERMISSION_DENIED", "This address is for processes of this pod only.")
	case !ok || !loopback.Same(bearer, s.cfg.First):
		refuse(w, http.StatusUnauthorized, "UNAUTHENTICATED", "The token is not the one in MLFLOW_TRACKING_TOKEN.")
	case !strings.HasPrefix(r.URL.Path, s.cfg.Workspace.Path+"/") || strings.Contains(r.URL.Path, "/../"):
		refuse(w, http.StatusNotFound, "ENDPOINT_NOT_FOUND", fmt.Sprintf("%s is not below MLFLOW_TRACKING_URI.", r.URL.Path))
	default:
		s.proxy.ServeHTTP(w, r)
	}
}

func (s *Server) rewrite(p *httputil.ProxyRequest) {
	p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = s.cfg.Workspace.Scheme, s.cfg.Workspace.Host, ""
	p.Out.Header.Del("Authorization")
	token, err := s.cfg.Token()
	if err != nil {
		s.cfg.Log.Error("reading the run's token", "error", err)
		return
	}
	p.Out.Header.Set("Authorization", "Bearer "+token)
}

func (s *Server) away(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return
	}
	s.cfg.Log.Warn("experiment tracking is not reached", "error", err)
	w.Header().Set("Retry-After", "5")
	refuse(w, http.StatusServiceUnavailable, "TEMPORARILY_UNAVAILABLE", "The control plane is not reached: "+err.Error())
}

func refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error_code": code, "message": message}) // the client has gone
}
