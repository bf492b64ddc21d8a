package issuer

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"fairlead.dev/fairlead/internal/controlplane/resource"
)

// Errors of Verify, for the caller's choice of error code; both mean 401.
var (
	ErrExpired = errors.New("token has expired")
	ErrInvalid = errors.New("token is not valid")
)

// Claims is who a token speaks for.
type Claims struct {
	// Subject is the object id, ClientID the application (the same for all but users).
	Subject, ClientID string
	// Name is what systemData shows.
	Name string
	// Kind is one of the Kind constants.
	Kind string
	// Scope is the lower-case key of the cluster (Agent, Extension), the job (Run) or the deployment (Deployment) that the token is limited
	// to, or of the resource that has the identity (ManagedIdentity); "" otherwise.
	Scope string
	// ScopeSeq is the Seq of the record of Scope (Agent, Extension, ManagedIdentity); 0 otherwise.
	ScopeSeq int64
	// Audience is who shall take the token; "" is this control plane, which takes no other.
	Audience string
}

type private struct {
	Kind     string `json:"kind"`
	Scope    string `json:"scope_id,omitempty"`
	ScopeSeq int64  `json:"scope_seq,omitempty"`
	Name     string `json:"name,omitempty"`
	ObjectID string `json:"oid"`
	TenantID string `json:"tid"`
	AppID    string `json:"appid,omitempty"`
	AZP      string `json:"azp,omitempty"`
	IDType   string `json:"idtyp,omitempty"`
	Version  string `json:"ver"`
}

// Issue signs a token that lives for ttl, at most LongestTTL.
func (is *Issuer) Issue(_ context.Context, c Claims, ttl time.Duration) (string, error) {
	if ttl > LongestTTL {
		return "", fmt.Errorf("signing token: it would live for %s and outlive its key; at most %s is possible", ttl, LongestTTL)
	}
	now := is.cfg.Now()
	signer, err := jose.NewSigner(is.ring.Load().at(now).signs(c.Kind), (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("making signer: %w", err)
	}
	std := jwt.Claims{Issuer: is.Name(), Subject: c.Subject, Audience: jwt.Audience{cmp.Or(c.Audience, is.cfg.PublicURL)}, ID: uuid.NewString(),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(ttl))}
	priv := private{Kind: c.Kind, Scope: strings.ToLower(c.Scope), ScopeSeq: c.ScopeSeq, Name: c.Name, ObjectID: c.Subject, TenantID: is.cfg.TenantID, AppID: c.ClientID, AZP: c.ClientID, Version: "2.0"}
	if c.Kind != KindUser {
		priv.IDType = "app"
	}
	tok, err := jwt.Signed(signer).Claims(std).Claims(priv).Serialize()
	if err != nil {
		return "", fmt.Errorf("signing token: %w", err)
	}
	return tok, nil
}

// Verify checks a token's signature, issuer, audience and times, and returns who it speaks for; a managed identity's is good only while
// the resource that it was issued for has the identity. The error wraps ErrExpired or ErrInvalid and says what is wrong without repeating
// the token.
func (is *Issuer) Verify(ctx context.Context, token string) (resource.Principal, error) {
	p, err := is.signed(ctx, token)
	if err == nil && p.Kind == KindManagedIdentity {
		err = is.held(ctx, p)
	}
	if err != nil {
		return resource.Principal{}, err
	}
	return p, nil
}

func (is *Issuer) signed(ctx context.Context, token string) (resource.Principal, error) {
	if len(token) > 16<<10 {
		return resource.Principal{}, fmt.Errorf("%w: longer than 16 KiB", ErrInvalid)
	}
	keys := is.ring.Load()
	if p, ok := is.verified.get(token, is.cfg.Now(), keys); ok {
		return p, nil
	}
	tok, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		return resource.Principal{}, fmt.Errorf("%w: not a JSON web token signed with RS256 or ES256", ErrInvalid)
	}
	kid := tok.Headers[0].KeyID
	key, ok := keys.byKID[kid]
	if !ok {
		key, ok = is.reread(ctx).byKID[kid]
	}
	if !ok {
		return resource.Principal{}, fmt.Errorf("%w: signed by a key that this server does not have", ErrInvalid)
	}
	var std jwt.Claims
	var priv private
	if err := tok.Claims(key, &std, &priv); err != nil {
		return resource.Principal{}, fmt.Errorf("%w: signature does not match", ErrInvalid)
	}
	err = std.ValidateWithLeeway(jwt.Expected{Issuer: is.Name(), AnyAudience: jwt.Audience{is.cfg.PublicURL}, Time: is.cfg.Now()}, Leeway)
	switch {
	case errors.Is(err, jwt.ErrExpired):
		return resource.Principal{}, fmt.Errorf("%w: it ended at %s", ErrExpired, std.Expiry.Time().UTC().Format(time.RFC3339))
	case err != nil:
		return resource.Principal{}, fmt.Errorf("%w: %s", ErrInvalid, strings.TrimPrefix(err.Error(), "go-jose/go-jose/jwt: "))
	case std.Expiry == nil || priv.ObjectID == "" || priv.Kind == "":
		return resource.Principal{}, fmt.Errorf("%w: exp, oid or kind is missing", ErrInvalid)
	}
	if _, curve := key.(*ecdsa.PublicKey); curve && priv.Kind != KindRun {
		return resource.Principal{}, fmt.Errorf("%w: signed by a key that is not for a %s", ErrInvalid, priv.Kind)
	}
	p := resource.Principal{ID: priv.ObjectID, Name: priv.Name, Kind: priv.Kind, Scope: priv.Scope, ScopeSeq: priv.ScopeSeq,
		Expires: std.Expiry.Time().Add(Leeway)}
	is.verified.add(token, kid, p)
	return p, nil
}
