// Package identity serves tokens of a managed identity to the processes of a pod, on loopback, in the two ways that Azure's libraries know:
//
//	GET /token?api-version=2017-09-01&resource=…[&clientid=…]    header secret             (Azure ML)
//	GET /token?api-version=2019-08-01&resource=…[&client_id=…]   header X-IDENTITY-HEADER  (App Service)
//
// The header is what a page or a server that is tricked into fetching an address cannot send. The tokens come from the control plane,
// to which the pod proves itself with its own token.
package identity

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/runtime/loopback"
)

// path is the one path that is served.
const path = commonruntime.IdentityPath

// Config is what a server needs. All fields are required but Secret, Log and Now.
type Config struct {
	Identity commonruntime.Identity
	// Secret is what those who ask must send; by default one of the server's own.
	Secret string
	// Assertion is the pod's own token; it is asked for each time, since it may be renewed.
	Assertion func() (string, error)
	// HTTP reaches the control plane.
	HTTP *http.Client
	Now  func() time.Time
	Log  *slog.Logger
}

// Server gives tokens to those who know its secret.
type Server struct {
	cfg    Config
	tokens cache
}

// New makes a server.
func New(cfg Config) *Server {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.HTTP != nil {
		direct := *cfg.HTTP // the pod's token goes to the control plane only
		direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		cfg.HTTP = &direct
	}
	cfg.Secret = cmp.Or(cfg.Secret, rand.Text())
	return &Server{cfg: cfg}
}

// Environ are the variables that lead Azure's libraries to the server at an address.
func (s *Server) Environ(address string) map[string]string {
	return s.cfg.Identity.Environ(address, s.cfg.Secret)
}

// Serve answers on l until stop is called.
func (s *Server) Serve(l net.Listener) (stop func()) { return loopback.Serve(l, s, time.Minute) }

// answer is a token as both kinds of client read it.
type answer struct {
	AccessToken string `json:"access_token"`
	ClientID    string `json:"client_id"`
	// ExpiresOn is in seconds since 1970, a text as in the reference.
	ExpiresOn string `json:"expires_on"`
	Resource  string `json:"resource"`
	TokenType string `json:"token_type"`
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	resource, err := s.asked(r)
	var t token
	if err == nil {
		t, err = s.tokens.get(r.Context(), resource, s.cfg)
	}
	if err != nil {
		s.refuse(w, err)
		return
	}
	write(w, http.StatusOK, answer{AccessToken: t.text, ClientID: s.cfg.Identity.ClientID, ExpiresOn: strconv.FormatInt(t.expires.Unix(), 10), Resource: resource, TokenType: "Bearer"})
}

// problem is an error as clients read it: the first two names are those of OAuth, the others those of App Service.
type problem struct {
	Code        string `json:"error"`
	Description string `json:"error_description"`
	Status      int    `json:"statusCode"`
	Message     string `json:"message"`
}

func (p *problem) Error() string { return p.Description }

func refusal(status int, code, format string, args ...any) *problem {
	text := fmt.Sprintf(format, args...)
	return &problem{Code: code, Description: text, Status: status, Message: text}
}

// refuse says no; what is not a problem may pass.
func (s *Server) refuse(w http.ResponseWriter, err error) {
	p, ok := errors.AsType[*problem](err)
	if !ok {
		p = refusal(http.StatusServiceUnavailable, "temporarily_unavailable", "The control plane gave no token: %v. Try again.", err)
		w.Header().Set("Retry-After", "5")
	}
	s.cfg.Log.Warn("no token of the managed identity given", "status", p.Status, "reason", p.Description)
	write(w, p.Status, p)
}

func write(w http.ResponseWriter, status int, v any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone
}

// asked reads for which resource a request wants a token, or refuses it.
func (s *Server) asked(r *http.Request) (string, error) {
	switch {
	case r.URL.Path != path:
		return "", refusal(http.StatusNotFound, "invalid_request", "%s is not served; tokens are at %s.", r.URL.Path, path)
	case r.Method != http.MethodGet:
		return "", refusal(http.StatusMethodNotAllowed, "invalid_request", "%s is not served; send GET.", r.Method)
	case !loopback.Named(r.Host):
		return "", refusal(http.StatusForbidden, "invalid_request", "The Host header is %q; tokens are given at 127.0.0.1 only.", r.Host)
	case loopback.Forwarded(r):
		return "", refusal(http.StatusForbidden, "invalid_request", "The request was forwarded; tokens are given to processes of this pod only.")
	case !s.knows(r.Header):
		return "", refusal(http.StatusUnauthorized, "unauthorized", "The header secret (value of MSI_SECRET) or X-IDENTITY-HEADER (value of IDENTITY_HEADER) is missing or wrong.")
	}
	return s.query(r.URL.Query())
}

// knows compares the secret in constant time.
func (s *Server) knows(h http.Header) bool {
	for _, name := range []string{"secret", "X-IDENTITY-HEADER"} {
		if v := h.Get(name); v != "" {
			return loopback.Same(v, s.cfg.Secret)
		}
	}
	return false
}

func (s *Server) query(q url.Values) (string, error) {
	if v := q.Get("api-version"); v != "2017-09-01" && v != "2019-08-01" {
		return "", refusal(http.StatusBadRequest, "invalid_request", "api-version is %q; it must be 2017-09-01 or 2019-08-01.", v)
	}
	resource := q.Get("resource")
	if resource == "" || len(resource) > 1024 {
		return "", refusal(http.StatusBadRequest, "invalid_request", "resource is missing or longer than 1024 bytes; give what the token is for, such as https://management.azure.com/.")
	}
	id := s.cfg.Identity
	for name, is := range map[string]string{
		"clientid": id.ClientID, "client_id": id.ClientID, "object_id": id.PrincipalID, "principal_id": id.PrincipalID, "mi_res_id": id.ResourceID, "msi_res_id": id.ResourceID,
	} {
		if v := q.Get(name); v != "" && !strings.EqualFold(v, is) {
			return "", refusal(http.StatusBadRequest, "invalid_request",
				"No User Assigned or Delegated Managed Identity found for specified ClientId/ResourceId/PrincipalId: %s is %q, and this pod's identity has client id %s.", name, v, id.ClientID)
		}
	}
	return resource, nil
}
