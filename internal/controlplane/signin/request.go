package signin

import (
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"fairlead.dev/fairlead/internal/client"
	"fairlead.dev/fairlead/internal/controlplane/issuer"
)

// CLIClient is the client id of Fairlead's own command line.
const CLIClient = client.PublicClientID

// clients are programs that sign people in. They run on the person's own machine and can keep no secret, so what they are called proves
// nothing: what protects a sign-in is that codes go to that machine only, and are bound to the one who asked (PKCE).
var clients = map[string]string{
	CLIClient:                              "Fairlead",
	"04b07795-8ddb-461a-bbee-02f9e1bf7b46": "Azure CLI",
	"1950a258-227b-4e31-a9cf-717495945fc2": "Azure PowerShell",
	"aebc6443-996d-45c2-90f0-388ff96faa56": "Visual Studio Code",
}

// request is what a client asks for, as the pages carry it.
type request struct {
	Client, Redirect, Mode, State, Nonce, Challenge string
	// Refresh: the client wants to go on without the person.
	Refresh bool
	// Hint is the name to begin with.
	Hint string
	// UserCode is that of the device which waits; then there is no redirect.
	UserCode string
}

// clientName is what a person knows the client as.
func (q request) clientName() string { return clients[strings.ToLower(q.Client)] }

var challengeRule = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// parseRequest reads the query of an authorization request. An error without a redirect must be shown to the person: nobody else can be trusted with it.
func parseRequest(v url.Values) (request, *issuer.Error) {
	q := request{Client: v.Get("client_id"), Mode: v.Get("response_mode"), State: v.Get("state"), Nonce: v.Get("nonce"),
		Challenge: v.Get("code_challenge"), Hint: v.Get("login_hint"), Refresh: hasScope(v.Get("scope"), "offline_access")}
	if q.clientName() == "" {
		return request{}, unknownClient(q.Client)
	}
	redirect := v.Get("redirect_uri")
	if !isLoopback(redirect) {
		return request{}, issuer.Refuse(http.StatusBadRequest, "invalid_request", 50011, "The redirect URI '%s' does not match those of the application. Programs that sign people in listen on this machine: http://localhost:PORT/.", clip(redirect))
	}
	q.Redirect = redirect
	bad := func(format string, args ...any) (request, *issuer.Error) {
		return q, issuer.Refuse(http.StatusBadRequest, "invalid_request", 900144, format, args...)
	}
	switch {
	case len(v.Encode()) > 8<<10:
		return bad("The request is longer than 8 KiB.")
	case v.Get("response_type") != "code":
		return q, issuer.Refuse(http.StatusBadRequest, "unsupported_response_type", 700054, "response_type is '%s'; this server supports 'code'.", clip(v.Get("response_type")))
	case q.Mode != "" && q.Mode != "query" && q.Mode != "form_post":
		return bad("response_mode is '%s'; this server supports 'query' and 'form_post'.", clip(q.Mode))
	case v.Get("code_challenge_method") != "S256" || !challengeRule.MatchString(q.Challenge):
		return bad("The request must contain 'code_challenge' with 'code_challenge_method=S256' (PKCE).")
	case v.Get("prompt") == "none":
		return q, issuer.Refuse(http.StatusBadRequest, "login_required", 50058, "A silent sign-in request was sent but no user is signed in: this server keeps no browser session.")
	}
	return q, nil
}

func unknownClient(id string) *issuer.Error {
	return issuer.Refuse(http.StatusBadRequest, "unauthorized_client", 700016, "Application with identifier '%s' was not found. Known are the client ids of Fairlead, Azure CLI, Azure PowerShell and Visual Studio Code.", clip(id))
}

// isLoopback reports whether an address leads to a program on the person's own machine (RFC 8252, 7.3).
func isLoopback(redirect string) bool {
	u, err := url.Parse(redirect)
	if err != nil || u.Scheme != "http" || u.User != nil || u.Fragment != "" || u.Opaque != "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip.To4() != nil && ip.IsLoopback()
}

func hasScope(scope, want string) bool {
	for s := range strings.FieldsSeq(scope) {
		if s == want {
			return true
		}
	}
	return false
}

// clip keeps what is repeated from a request short.
func clip(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
