// Package signin is how people sign in: in a browser with a password of the users file or at an outside OpenID Connect provider,
// for a program on the same machine (authorization code with PKCE) or on another one (device code).
//
//	GET  /{tenant}/oauth2/v2.0/authorize     the page; its form posts to /{tenant}/signin
//	POST /{tenant}/oauth2/v2.0/devicecode    a code to type in at /common/oauth2/deviceauth
//	POST /{tenant}/oauth2/v2.0/revoke        ends what a refresh token continues
//
// What it gives out (codes, refresh tokens) is redeemed at the issuer's token endpoint. Between the steps everything is in sealed
// texts that the browser carries; only device codes that wait, and sign-ins that go on, are in the store. There is no session cookie.
package signin

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/throttle"
	"fairlead.dev/fairlead/internal/controlplane/users"
)

// How long things last.
const (
	PageTTL   = 15 * time.Minute // from opening the page to signing in
	CodeTTL   = 5 * time.Minute  // from there to the client's redeeming the code
	DeviceTTL = 15 * time.Minute
	// RefreshTTL is how long a client may rest before it has to sign in again, SignInTTL how long a sign-in lasts at most, and
	// OutsideTTL that of a person whom an outside provider vouched for, because nobody tells us when it would not any more.
	RefreshTTL = 14 * 24 * time.Hour
	SignInTTL  = 90 * 24 * time.Hour
	OutsideTTL = 24 * time.Hour
)

// Config is what sign-in needs. All fields but Outside and Now are required.
type Config struct {
	PublicURL, TenantID string
	Store               store.Store
	Box                 *seal.Box
	// Users are people with a password, Outside a provider that vouches for others.
	Users   *users.File
	Outside *Outside
	Now     func() time.Time
	Log     *slog.Logger
}

// SignIn serves the pages. It is the issuer's People.
type SignIn struct {
	cfg     Config
	issuer  *issuer.Issuer
	guesses *throttle.Limiter // wrong passwords, by name and address
	devices *throttle.Limiter // device codes asked for, by address
	polls   *throttle.Limiter // of a device code
	checks  *throttle.Gate
}

// New makes it.
func New(cfg Config) *SignIn {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &SignIn{cfg: cfg, guesses: throttle.Guesses(cfg.Now), devices: throttle.New(cfg.Now, 20, 0.2), polls: throttle.New(cfg.Now, 5, 0.5),
		checks: throttle.NewGate()}
}

// Register adds the pages to mux. Errors are answered, and tenants checked, as is does.
func (s *SignIn) Register(mux *http.ServeMux, is *issuer.Issuer) {
	s.issuer = is
	for pattern, h := range map[string]func(http.ResponseWriter, *http.Request){
		"GET /{tenant}/oauth2/v2.0/authorize":   s.serveAuthorize,
		"POST /{tenant}/signin":                 s.servePassword,
		"GET /{tenant}/signin/outside":          s.serveLeave,
		"GET /{tenant}/signin/callback":         s.serveReturn,
		"POST /{tenant}/signin/confirm":         s.serveConfirm,
		"POST /{tenant}/oauth2/v2.0/devicecode": s.serveDeviceCode,
		"GET /{tenant}/oauth2/deviceauth":       s.serveDevicePage,
		"POST /{tenant}/oauth2/deviceauth":      s.serveUserCode,
		"POST /{tenant}/oauth2/v2.0/revoke":     s.serveRevoke,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
			if oe := is.CheckTenant(r.PathValue("tenant")); oe != nil {
				is.SendError(w, r, oe)
				return
			}
			if err := r.ParseForm(); err != nil {
				is.SendError(w, r, issuer.Refuse(http.StatusBadRequest, "invalid_request", 90014, "The request is not a URL-encoded form."))
				return
			}
			h(w, r)
		})
	}
}

// base is where the pages are.
func (s *SignIn) base() string { return s.cfg.PublicURL + "/" + s.cfg.TenantID }

// who is somebody whose right to be called so was checked.
type who struct {
	ObjectID, Username, Name string
	// Proof changes with a local user's password; it is "" for a person of the outside provider.
	Proof string `json:",omitempty"`
}

func local(u users.User) who {
	return who{ObjectID: u.ObjectID(), Username: u.Name, Name: u.Title(), Proof: fingerprint(u.Password)}
}

func (w who) person(client, nonce string) issuer.Person {
	return issuer.Person{ObjectID: w.ObjectID, Username: w.Username, Name: w.Name, ClientID: client, Nonce: nonce}
}

// errSealed: a text that the browser or client carried is not one of ours, or is too old.
var errSealed = errors.New("expired or not made here")

// sealed texts say what they are for, so that one of a kind does not open as another.
type purpose string

const (
	forPage    purpose = "signin/page"
	forOutside purpose = "signin/outside"
	forConfirm purpose = "signin/confirm"
	forCode    purpose = "signin/code"
	forDevice  purpose = "signin/device"
	forRefresh purpose = "signin/refresh"
)

type envelope struct {
	Until time.Time
	Value json.RawMessage
}

func (s *SignIn) seal(p purpose, v any, until time.Time) (string, error) {
	raw, err := json.Marshal(v)
	if err == nil {
		raw, err = json.Marshal(envelope{until, raw})
	}
	if err != nil {
		return "", fmt.Errorf("encoding %s: %w", p, err)
	}
	return base64.RawURLEncoding.EncodeToString(s.cfg.Box.Seal(raw, []byte(p))), nil
}

// open reads a sealed text into v; the error is errSealed.
func (s *SignIn) open(p purpose, text string, v any) error {
	var e envelope
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		raw, err = s.cfg.Box.Open(raw, []byte(p))
	}
	if err == nil {
		err = json.Unmarshal(raw, &e)
	}
	if err == nil {
		err = json.Unmarshal(e.Value, v)
	}
	if err != nil || !s.cfg.Now().Before(e.Until) {
		return errSealed
	}
	return nil
}

// broken shows a page for an error that is not the person's fault.
func (s *SignIn) broken(ctx context.Context, w http.ResponseWriter, err error) {
	s.cfg.Log.ErrorContext(ctx, "sign-in", "error", err)
	s.fail(w, http.StatusInternalServerError, "Something went wrong on the server. Please try again.")
}
