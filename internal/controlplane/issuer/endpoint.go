package issuer

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/throttle"
)

// maxForm bounds the body of a token request, in bytes.
const maxForm = 64 << 10

// Register adds the issuer's paths, below /{tenant}/, to mux.
func (is *Issuer) Register(mux *http.ServeMux) {
	add := func(method string, h http.HandlerFunc, paths ...string) {
		for _, p := range paths {
			mux.HandleFunc(p, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != method && !(r.Method == http.MethodHead && method == http.MethodGet) {
					w.Header().Set("Allow", method)
					is.sendError(w, r, refuse(http.StatusMethodNotAllowed, "invalid_request", 900561, "The endpoint only accepts %s requests. Received a %s request.", method, r.Method))
					return
				}
				h(w, r)
			})
		}
	}
	add(http.MethodPost, is.serveToken, "/{tenant}/oauth2/v2.0/token", "/{tenant}/oauth2/token")
	add(http.MethodGet, is.serveDiscovery, "/{tenant}/v2.0/.well-known/openid-configuration", "/{tenant}/.well-known/openid-configuration")
	add(http.MethodGet, is.serveKeys, "/{tenant}/discovery/v2.0/keys", "/{tenant}/discovery/keys")
}

// oauthError is an error body as Azure's login service sends it.
type oauthError struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []int  `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`

	status int
	retry  time.Duration
}

func refuse(status int, name string, code int, format string, args ...any) *oauthError {
	return &oauthError{Error: name, Description: fmt.Sprintf("AADSTS%d: ", code) + fmt.Sprintf(format, args...), Codes: []int{code}, status: status}
}

func invalidClient(code int, format string, args ...any) *oauthError {
	return refuse(http.StatusUnauthorized, "invalid_client", code, format, args...)
}

func (is *Issuer) serveToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Pragma", "no-cache")
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	g, oe := is.token(r)
	if oe != nil {
		is.sendError(w, r, oe)
		return
	}
	secs := int(g.ttl / time.Second)
	now := is.cfg.Now()
	answer := map[string]any{"token_type": "Bearer", "expires_in": secs, "ext_expires_in": secs, "access_token": g.access}
	maps.Copy(answer, g.more)
	if strings.HasSuffix(r.URL.Path, "/oauth2/token") { // the older endpoint sends numbers as strings, and more of them
		n := func(i int64) string { return fmt.Sprint(i) }
		answer["expires_in"], answer["ext_expires_in"] = n(int64(secs)), n(int64(secs))
		answer["expires_on"], answer["not_before"] = n(now.Add(g.ttl).Unix()), n(now.Unix())
		answer["resource"] = r.PostForm.Get("resource")
	}
	sendJSON(w, http.StatusOK, answer)
}

// grantedTokens is a good answer: the access token, how long it lives, and what people's clients get besides.
type grantedTokens struct {
	access string
	ttl    time.Duration
	more   map[string]any
}

// token answers a token request.
func (is *Issuer) token(r *http.Request) (grantedTokens, *oauthError) {
	none := grantedTokens{}
	if oe := is.checkTenant(r.PathValue("tenant")); oe != nil {
		return none, oe
	}
	if err := r.ParseForm(); err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return none, refuse(http.StatusRequestEntityTooLarge, "invalid_request", 90014, "The request body is larger than %d bytes.", maxForm)
		}
		return none, refuse(http.StatusBadRequest, "invalid_request", 90014, "The request body is not a URL-encoded form.")
	}
	grant := r.PostForm.Get("grant_type")
	if grant == "device_code" { // as Azure's libraries for Go say it
		grant = GrantDevice
	}
	person := is.cfg.People != nil && slices.Contains([]string{GrantCode, GrantRefresh, GrantDevice}, grant)
	switch {
	case grant == "":
		return none, refuse(http.StatusBadRequest, "invalid_request", 900144, "The request body must contain the following parameter: 'grant_type'.")
	case grant != "client_credentials" && !person:
		return none, refuse(http.StatusBadRequest, "unsupported_grant_type", 70003, "The app requested an unsupported grant type '%s'. This server supports %s.", grant, strings.Join(is.grants(), ", "))
	}
	if oe := is.checkScope(r); oe != nil {
		return none, oe
	}
	if person {
		return is.byPerson(r, grant)
	}
	c, ttl, oe := is.authenticate(r)
	if oe != nil {
		return none, oe
	}
	tok, err := is.Issue(r.Context(), c, ttl)
	if err != nil {
		return none, is.broken(r.Context(), err)
	}
	return grantedTokens{access: tok, ttl: ttl}, nil
}

// grants are the grant types that the token endpoint takes.
func (is *Issuer) grants() []string {
	if is.cfg.People == nil {
		return []string{"client_credentials"}
	}
	return []string{"client_credentials", GrantCode, GrantRefresh, GrantDevice}
}

func (is *Issuer) broken(ctx context.Context, err error) *oauthError {
	is.cfg.Log.ErrorContext(ctx, "token request", "error", err)
	return refuse(http.StatusInternalServerError, "server_error", 90033, "A transient error has occurred. Please try again.")
}

// checkTenant accepts the tenant's id and the names that stand for any tenant.
func (is *Issuer) checkTenant(tenant string) *oauthError {
	switch t := strings.ToLower(tenant); t {
	case strings.ToLower(is.cfg.TenantID), "common", "organizations":
		return nil
	default:
		return refuse(http.StatusBadRequest, "invalid_request", 90002, "Tenant '%s' not found. This server has one tenant, '%s'.", tenant, is.cfg.TenantID)
	}
}

// checkScope checks that a token is asked for this control plane, by any of its names. "extension" is no audience but asks for less.
func (is *Issuer) checkScope(r *http.Request) *oauthError {
	asked := strings.Fields(r.PostForm.Get("scope"))
	if res := r.PostForm.Get("resource"); res != "" {
		asked = append(asked, res)
	}
	for _, s := range asked {
		switch s {
		case "extension", "openid", "profile", "offline_access":
			continue
		}
		aud := strings.TrimRight(strings.TrimSuffix(s, "/.default"), "/")
		if u, err := url.Parse(aud); is.audience[aud] || strings.HasPrefix(aud, derivedAudience) || aud == is.cfg.TenantID || err == nil && u.Scheme == "https" && u.Host == r.Host && u.Path == "" {
			continue
		}
		return refuse(http.StatusBadRequest, "invalid_resource", 500011, "The resource principal named %s was not found in the tenant %s. Ask for scope '%s/.default'.", s, is.cfg.TenantID, is.cfg.PublicURL)
	}
	return nil
}

// authenticate finds out who asks.
func (is *Issuer) authenticate(r *http.Request) (Claims, time.Duration, *oauthError) {
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if u, p, ok := r.BasicAuth(); ok {
		bu, err1 := url.QueryUnescape(u)
		bp, err2 := url.QueryUnescape(p)
		if err1 != nil || err2 != nil {
			return Claims{}, 0, refuse(http.StatusBadRequest, "invalid_request", 90014, "The Basic credentials are not URL-encoded.")
		}
		if secret != "" || id != "" && id != bu {
			return Claims{}, 0, refuse(http.StatusBadRequest, "invalid_request", 90023, "The client authenticates in two ways at once; send the credentials in the header or in the form.")
		}
		id, secret = bu, bp
	}
	assertion := r.PostForm.Get("client_assertion")
	var parsed parsedAssertion
	if assertion != "" {
		if t := r.PostForm.Get("client_assertion_type"); t != AssertionType {
			return Claims{}, 0, refuse(http.StatusBadRequest, "invalid_request", 7000216, "'client_assertion_type' is '%s'; it must be '%s'.", t, AssertionType)
		}
		var err error
		if parsed, err = parseAssertion(assertion, is.Name()); err != nil {
			return Claims{}, 0, invalidClient(50027, "Invalid client assertion: %s.", err)
		}
		if id == "" {
			id = parsed.clientID
		}
	}
	if id == "" {
		return Claims{}, 0, refuse(http.StatusBadRequest, "invalid_request", 900144, "The request body must contain the following parameter: 'client_id'.")
	}
	if parsed.own {
		return is.byWorkload(r.Context(), id, assertion)
	}
	c, ttl, oe := is.prove(r, id, secret, parsed)
	if oe != nil {
		return Claims{}, 0, oe
	}
	// Counted once it is known who asks, so that nobody can use up another's share.
	if ok, retry := is.asks.Take(strings.ToLower(id)); !ok {
		return Claims{}, 0, tooMany(id, retry)
	}
	return c, ttl, nil
}

// prove checks the one credential of a request.
func (is *Issuer) prove(r *http.Request, id, secret string, a parsedAssertion) (Claims, time.Duration, *oauthError) {
	switch {
	case a.token != nil && a.clientID != id:
		return Claims{}, 0, invalidClient(700021, "The assertion's sub is not the client id '%s'.", id)
	case a.token != nil && strings.HasPrefix(id, "/"): // failures are not counted: a signature can't be guessed
		return is.byAgent(r, id, a)
	case a.token != nil:
		return is.byCertificate(r.Context(), id, a)
	case secret != "":
		return is.guess(r, id, secret)
	}
	return Claims{}, 0, invalidClient(7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
}

func tooMany(id string, retry time.Duration) *oauthError {
	oe := refuse(http.StatusTooManyRequests, "temporarily_unavailable", 90055, "Too many token requests, or too many failed ones, for client '%s', or too many at this time. Try again after the seconds in Retry-After.", id)
	oe.retry = retry
	return oe
}

// guess checks a secret at the cost of one guess of the client id from this address, which a right secret gets back.
func (is *Issuer) guess(r *http.Request, id, secret string) (Claims, time.Duration, *oauthError) {
	key := strings.ToLower(id) + " " + throttle.Origin(r)
	if ok, retry := is.guesses.Take(key); !ok {
		return Claims{}, 0, tooMany(id, retry)
	}
	c, ttl, oe := is.bySecret(r.Context(), id, secret)
	if oe == nil || oe.status != http.StatusUnauthorized {
		is.guesses.GiveBack(key)
	}
	return c, ttl, oe
}

// byAgent finds the cluster whose agent signed an assertion.
func (is *Issuer) byAgent(r *http.Request, id string, a parsedAssertion) (Claims, time.Duration, *oauthError) {
	ctx := r.Context()
	agent, err := is.cfg.Agents(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Claims{}, 0, unknownClient(id)
	case errors.Is(err, ErrExpired):
		return Claims{}, 0, invalidClient(700027, "The certificate registered for '%s' has expired. Connect the cluster again.", id)
	case err != nil:
		return Claims{}, 0, is.broken(ctx, err)
	}
	if oe := is.accept(ctx, a, agent.Keys...); oe != nil {
		return Claims{}, 0, oe
	}
	c := Claims{Subject: uuid.NewSHA1(uuid.NameSpaceURL, []byte(agent.Scope)).String(), ClientID: id, Name: id[strings.LastIndex(id, "/")+1:], Kind: KindAgent, Scope: agent.Scope, ScopeSeq: agent.ScopeSeq}
	for _, s := range strings.Fields(r.PostForm.Get("scope")) {
		if s == "extension" {
			c.Kind = KindExtension
		}
	}
	return c, AgentTTL, nil
}

// accept checks an assertion by keys, of which one made it, and uses it up.
func (is *Issuer) accept(ctx context.Context, a parsedAssertion, keys ...crypto.PublicKey) *oauthError {
	c, err := is.check(a, keys)
	if err != nil {
		return invalidClient(700027, "Client assertion failed: %s.", err)
	}
	first, err := is.firstUse(ctx, a.clientID, c)
	switch {
	case err != nil:
		return is.broken(ctx, err)
	case !first:
		return invalidClient(700027, "Client assertion failed: the assertion's jti was used before; sign a new assertion for every request.")
	}
	return nil
}

func (is *Issuer) sendError(w http.ResponseWriter, r *http.Request, oe *oauthError) {
	oe.Timestamp = is.cfg.Now().UTC().Format("2006-01-02 15:04:05Z")
	oe.TraceID = w.Header().Get("x-ms-request-id")
	oe.CorrelationID = r.Header.Get("client-request-id")
	if oe.CorrelationID == "" || len(oe.CorrelationID) > 64 {
		oe.CorrelationID = oe.TraceID
	}
	if oe.retry > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(int(math.Ceil(oe.retry.Seconds()))))
	}
	if oe.status == http.StatusUnauthorized {
		if _, _, basic := r.BasicAuth(); basic {
			w.Header().Set("WWW-Authenticate", `Basic realm="fairlead"`)
		}
	}
	sendJSON(w, oe.status, oe)
}

func sendJSON(w http.ResponseWriter, status int, v any) {
	raw, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "encoding answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(append(raw, '\n')) // the client has gone
}
