package signin

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/uuid"
	"golang.org/x/oauth2"
)

// OutsideConfig names an OpenID Connect provider. All fields but CAFile and Name are required.
type OutsideConfig struct {
	// Issuer is the provider's address, as its discovery document and its tokens have it.
	Issuer, ClientID, ClientSecret string
	// Name is on the button; "" is the issuer's host. CAFile verifies the provider beside the system's authorities.
	Name, CAFile string
	// Redirect is where the provider sends the browser back; register it there.
	Redirect string
}

// Outside is a provider that vouches for people.
type Outside struct {
	cfg  OutsideConfig
	http *http.Client

	mu       sync.Mutex
	provider *oidc.Provider // nil before the first use: a provider that is away does not keep the server from starting
}

// NewOutside checks the configuration; it asks nobody yet.
func NewOutside(cfg OutsideConfig) (*Outside, error) {
	u, err := url.Parse(cfg.Issuer)
	if err != nil || u.Host == "" || u.Scheme != "https" && !isLoopback(cfg.Issuer) {
		return nil, fmt.Errorf("issuer %q: want https://host[/path]", cfg.Issuer)
	}
	if cfg.ClientID == "" {
		return nil, errors.New("the client id that the provider knows this server by is missing")
	}
	cfg.Name = cmp.Or(cfg.Name, u.Host)
	t := http.DefaultTransport.(*http.Transport).Clone()
	if cfg.CAFile != "" {
		pem, err := os.ReadFile(cfg.CAFile)
		if err != nil {
			return nil, err
		}
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", cfg.CAFile)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &Outside{cfg: cfg, http: &http.Client{Transport: t, Timeout: 15 * time.Second}}, nil
}

func (o *Outside) discover(ctx context.Context) (*oidc.Provider, *oauth2.Config, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.provider == nil {
		p, err := oidc.NewProvider(oidc.ClientContext(ctx, o.http), o.cfg.Issuer)
		if err != nil {
			return nil, nil, fmt.Errorf("asking %s for its configuration: %w", o.cfg.Issuer, err)
		}
		o.provider = p
	}
	return o.provider, &oauth2.Config{ClientID: o.cfg.ClientID, ClientSecret: o.cfg.ClientSecret, Endpoint: o.provider.Endpoint(), RedirectURL: o.cfg.Redirect,
		Scopes: []string{oidc.ScopeOpenID, "profile", "email"}}, nil
}

// trip is what the browser carries to the provider and back.
type trip struct {
	Request request
	// Nonce and Verifier bind the provider's answer to the trip, Cookie the trip to the browser.
	Nonce, Verifier, Cookie string
}

const cookieName = "fairlead_signin"

func hashed(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// serveLeave sends the browser to the provider.
func (s *SignIn) serveLeave(w http.ResponseWriter, r *http.Request) {
	var q request
	if err := s.open(forPage, r.URL.Query().Get("ticket"), &q); err != nil || s.cfg.Outside == nil {
		s.fail(w, http.StatusBadRequest, pageOld)
		return
	}
	_, client, err := s.cfg.Outside.discover(r.Context())
	if err != nil {
		s.away(w, r, err)
		return
	}
	cookie := rand.Text()
	t := trip{Request: q, Nonce: rand.Text(), Verifier: oauth2.GenerateVerifier(), Cookie: hashed(cookie)}
	state, err := s.seal(forOutside, t, s.cfg.Now().Add(PageTTL))
	if err != nil {
		s.broken(r.Context(), w, err)
		return
	}
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: cookie, Path: "/" + s.cfg.TenantID + "/signin", MaxAge: int(PageTTL / time.Second), HttpOnly: true,
		Secure: strings.HasPrefix(s.cfg.PublicURL, "https:"), SameSite: http.SameSiteLaxMode})
	http.Redirect(w, r, client.AuthCodeURL(state, oidc.Nonce(t.Nonce), oauth2.S256ChallengeOption(t.Verifier)), http.StatusSeeOther)
}

func (s *SignIn) away(w http.ResponseWriter, r *http.Request, err error) {
	s.cfg.Log.ErrorContext(r.Context(), "outside sign-in", "error", err)
	s.fail(w, http.StatusBadGateway, s.cfg.Outside.cfg.Name+" does not answer as it should. Try again, or tell the administrator, who finds the reason in the server's log.")
}

// serveReturn takes the browser back with the provider's answer.
func (s *SignIn) serveReturn(w http.ResponseWriter, r *http.Request) {
	var t trip
	query := r.URL.Query()
	cookie, err := r.Cookie(cookieName)
	if s.cfg.Outside == nil || err != nil || s.open(forOutside, query.Get("state"), &t) != nil || hashed(cookie.Value) != t.Cookie {
		s.fail(w, http.StatusBadRequest, pageOld)
		return
	}
	if reason := query.Get("error"); reason != "" {
		s.fail(w, http.StatusForbidden, s.cfg.Outside.cfg.Name+" did not sign you in: "+clip(cmp.Or(query.Get("error_description"), reason)))
		return
	}
	p, err := s.cfg.Outside.vouch(r.Context(), query.Get("code"), t)
	if err != nil {
		s.away(w, r, err)
		return
	}
	s.askConfirm(w, r, t.Request, p)
}

// vouch redeems the provider's code and says who signed in there.
func (o *Outside) vouch(ctx context.Context, code string, t trip) (who, error) {
	provider, client, err := o.discover(ctx)
	if err != nil {
		return who{}, err
	}
	ctx = oidc.ClientContext(ctx, o.http)
	tok, err := client.Exchange(ctx, code, oauth2.VerifierOption(t.Verifier))
	if err != nil {
		return who{}, fmt.Errorf("redeeming the provider's code: %w", err)
	}
	raw, _ := tok.Extra("id_token").(string)
	id, err := provider.Verifier(&oidc.Config{ClientID: o.cfg.ClientID}).Verify(ctx, raw)
	if err != nil {
		return who{}, fmt.Errorf("checking the provider's ID token: %w", err)
	}
	if id.Nonce != t.Nonce {
		return who{}, errors.New("the provider's ID token is of another sign-in")
	}
	c, err := o.profile(ctx, provider, id, tok)
	if err != nil {
		return who{}, err
	}
	email := ""
	if c.EmailVerified {
		email = c.Email
	}
	p := who{ObjectID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(id.Issuer+"\n"+id.Subject)).String(), Username: cmp.Or(email, c.Username, id.Subject)}
	p.Name = cmp.Or(c.Name, p.Username)
	return p, nil
}

// profile is what a provider tells of a person besides the subject, which alone says who it is.
type profile struct {
	Name          string `json:"name"`
	Username      string `json:"preferred_username"`
	Email         string `json:"email"`
	EmailVerified bool   `json:"email_verified"`
}

// profile reads the ID token, and asks the provider where that does not name the person.
func (o *Outside) profile(ctx context.Context, provider *oidc.Provider, id *oidc.IDToken, tok *oauth2.Token) (profile, error) {
	var c profile
	if err := id.Claims(&c); err != nil {
		return c, fmt.Errorf("reading the provider's ID token: %w", err)
	}
	if c.Username != "" || c.Email != "" || provider.UserInfoEndpoint() == "" {
		return c, nil
	}
	info, err := provider.UserInfo(ctx, oauth2.StaticTokenSource(tok))
	if err != nil {
		return c, fmt.Errorf("asking the provider who signed in: %w", err)
	}
	if info.Subject != id.Subject {
		return c, errors.New("the provider tells of another person than its ID token")
	}
	if err := info.Claims(&c); err != nil {
		return c, fmt.Errorf("reading what the provider tells: %w", err)
	}
	return c, nil
}

// confirmation is what somebody is asked whom the provider has signed in, perhaps without a question: a link alone must not have
// a program act for who follows it.
type confirmation struct {
	Request request
	Who     who
}

func (s *SignIn) askConfirm(w http.ResponseWriter, r *http.Request, q request, p who) {
	ticket, err := s.seal(forConfirm, confirmation{q, p}, s.cfg.Now().Add(PageTTL))
	if err != nil {
		s.broken(r.Context(), w, err)
		return
	}
	title := "Sign in?"
	if q.UserCode != "" {
		title = "Sign in on another device?"
	}
	s.show(w, http.StatusOK, "confirm", page{Title: title, Client: q.clientName(), Device: shownCode(q.UserCode), Name: p.Name, Ticket: ticket, Action: s.base() + "/signin/confirm"})
}

// serveConfirm takes the answer.
func (s *SignIn) serveConfirm(w http.ResponseWriter, r *http.Request) {
	var c confirmation
	if err := s.open(forConfirm, r.PostForm.Get("ticket"), &c); err != nil {
		s.fail(w, http.StatusBadRequest, pageOld)
		return
	}
	s.finish(w, r, c.Request, c.Who)
}
