// Package issuer is the OAuth 2 and OpenID Connect token issuer of the control plane. Programs prove who they are:
//
//	POST /{tenant}/oauth2/v2.0/token   grant_type=client_credentials
//	  client_id + client_secret (form or Basic)        service principals
//	  client_id + client_assertion (private_key_jwt)   agents (client_id is the cluster's resource id), service principals with a key
//	  client_id + client_assertion (token of a run     the managed identity of that client id, which the run or deployment was given
//	    or of a deployment)
//
// and for people the token endpoint redeems what the pages of package signin gave out (codes, device codes, refresh tokens).
// Tokens are JSON web tokens for one audience, the control plane's public URL: RS256, those of runs ES256.
package issuer

import (
	"context"
	"crypto"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/throttle"
)

// Lifetimes of tokens and of what proves the right to one.
const (
	UserTTL     = time.Hour
	IdentityTTL = time.Hour
	AgentTTL    = 4 * time.Hour
	// MaxAssertion is how far in the future a client assertion may expire.
	MaxAssertion = 10 * time.Minute
	// Leeway is the difference of clocks that is forgiven.
	Leeway = time.Minute
)

// Tokens issued to a client id: at once, and a second in the long run.
const askBurst, askPerSecond = 60, 2.0

// Kinds of principals, as in the claim "kind".
const (
	KindUser             = "User"
	KindServicePrincipal = "ServicePrincipal"
	KindAgent            = "Agent"
	KindExtension        = "Extension"
	KindRun              = "Run"
	KindManagedIdentity  = "ManagedIdentity"
	KindDeployment       = "Deployment" // the pods of an online deployment
)

// Agent is what is known of a client id that is a resource id.
type Agent struct {
	// Keys sign its assertions, the one that was registered last first. A former one is here while it may still be the agent's.
	Keys []crypto.PublicKey
	// Scope and ScopeSeq are Key and Seq of the resource that a token is limited to.
	Scope    string
	ScopeSeq int64
}

// KeyLookup finds the agent of a client id that is a resource id. It returns store.ErrNotFound for a client that is not known, ErrExpired for a key that has ended.
type KeyLookup func(ctx context.Context, clientID string) (Agent, error)

// Identities knows managed identities.
type Identities interface {
	// Claims is who a token speaks for that a run or a deployment asks for by the client id of an identity. The error is a *NoIdentity when
	// it may not.
	Claims(ctx context.Context, who resource.Principal, clientID string) (Claims, error)
	// Held reports whether the resource that a token of an identity was issued for still has the identity.
	Held(ctx context.Context, p resource.Principal) (bool, error)
}

// NoIdentity refuses a workload the tokens of an identity; Reason is told to it.
type NoIdentity struct{ Reason string }

func (e *NoIdentity) Error() string { return e.Reason }

// Config is what an issuer needs. All fields are required but FormerKeys, KeyAge, Identities, People, Now and Log.
type Config struct {
	// Keys are the signing keys.
	Keys KeyStore
	// FormerKeys is a folder that earlier releases kept signing keys in; those found there are taken over, and the files stay.
	FormerKeys string
	// KeyAge is for how long a key signs; 0 does not rotate.
	KeyAge time.Duration
	// PublicURL is the audience of every token and the base of the issuer's name.
	PublicURL string
	TenantID  string
	Store     store.Store
	Agents    KeyLookup
	// Identities is asked for managed identities; nil knows none.
	Identities Identities
	// People are those who may sign in; nil lets nobody.
	People People
	Now    func() time.Time
	Log    *slog.Logger
}

// Issuer issues and verifies tokens.
type Issuer struct {
	cfg      Config
	ring     atomic.Pointer[keyring]
	asks     *throttle.Limiter // by client id
	guesses  *throttle.Limiter // by client id and address
	audience map[string]bool
	verified verified
	checks   *throttle.Gate // of secrets

	reading sync.Mutex // of keys
	readAt  time.Time
}

// New loads the signing keys, making the first one when there is none. Run looks after them.
func New(ctx context.Context, cfg Config) (*Issuer, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	u, err := url.Parse(cfg.PublicURL)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("public URL %q: want https://host[:port]", cfg.PublicURL)
	}
	cfg.PublicURL = strings.TrimSuffix(cfg.PublicURL, "/")
	if cfg.FormerKeys != "" {
		if err := cfg.Keys.takeOver(ctx, cfg.FormerKeys, cfg.Now()); err != nil {
			return nil, fmt.Errorf("taking over signing keys: %w", err)
		}
	}
	is := &Issuer{cfg: cfg, asks: throttle.New(cfg.Now, askBurst, askPerSecond), guesses: throttle.Guesses(cfg.Now),
		audience: map[string]bool{}, checks: throttle.NewGate()}
	for _, a := range append([]string{cfg.PublicURL}, referenceAudiences...) {
		is.audience[a] = true
	}
	if err := is.tendKeys(ctx); err != nil {
		return nil, fmt.Errorf("loading signing keys: %w", err)
	}
	return is, nil
}

// referenceAudiences are names that clients of the reference ask tokens for; here they all mean this control plane.
var referenceAudiences = []string{
	"https://management.azure.com", "https://management.core.windows.net", "https://ml.azure.com", "https://storage.azure.com",
	"https://graph.microsoft.com", "https://vault.azure.net",
}

// derivedAudience begins the name that azure-ai-ml makes up for a cloud's ML service from what follows the second label of the
// portal's host: "https://ml.azure." for localhost, "https://ml.azure.com:8443" for fairlead.example.com:8443.
const derivedAudience = "https://ml.azure."

// Name is the "iss" of the tokens.
func (is *Issuer) Name() string { return is.cfg.PublicURL + "/" + is.cfg.TenantID + "/v2.0" }

// TokenURL is the address of the token endpoint.
func (is *Issuer) TokenURL() string {
	return is.cfg.PublicURL + "/" + is.cfg.TenantID + "/oauth2/v2.0/token"
}
