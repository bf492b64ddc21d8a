package issuer

import (
	"context"
	"crypto"
	"errors"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/throttle"
)

// bySecret finds the principal whose secret it is.
func (is *Issuer) bySecret(ctx context.Context, id, secret string) (Claims, time.Duration, *oauthError) {
	switch err := is.checks.Enter(ctx); {
	case errors.Is(err, throttle.ErrFull):
		return Claims{}, 0, tooMany(id, time.Second)
	case err != nil:
		return Claims{}, 0, is.broken(ctx, err)
	}
	defer is.checks.Leave()
	sp, err := findPrincipal(ctx, is.cfg.Store, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Claims{}, 0, is.broken(ctx, err)
	}
	computed, ended := false, Credential{}
	for _, c := range sp.Credentials {
		if c.Kind != KindSecret || c.Hint != "" && !strings.HasPrefix(secret, c.Hint) {
			continue
		}
		computed = true
		switch {
		case !c.Secret.matches(secret):
		case c.Ended(is.cfg.Now()):
			ended = c
		default:
			return principalClaims(sp), UserTTL, nil
		}
	}
	if !computed {
		dummyHash.matches(secret)
	}
	if ended.ID != "" {
		return Claims{}, 0, invalidClient(7000222, "The provided client secret of '%s' expired at %s. Make a new one: fairlead server principals reset.", id, stamp(ended.Ends))
	}
	return Claims{}, 0, invalidClient(7000215, "Invalid client secret provided, or no application '%s' in this tenant.", id)
}

// byCertificate finds the principal with one of whose certificates an assertion was signed.
func (is *Issuer) byCertificate(ctx context.Context, id string, a parsedAssertion) (Claims, time.Duration, *oauthError) {
	sp, err := findPrincipal(ctx, is.cfg.Store, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return Claims{}, 0, is.broken(ctx, err)
	}
	var keys []crypto.PublicKey
	certificates, ended := 0, Credential{}
	for _, c := range sp.Credentials {
		if c.Kind != KindCertificate {
			continue
		}
		certificates++
		switch {
		case !c.names(a):
		case c.Ended(is.cfg.Now()):
			ended = c
		default:
			key, err := c.publicKey()
			if err != nil {
				return Claims{}, 0, is.broken(ctx, err)
			}
			keys = append(keys, key)
		}
	}
	switch {
	case certificates == 0:
		return Claims{}, 0, unknownClient(id)
	case len(keys) == 0 && ended.ID != "":
		return Claims{}, 0, invalidClient(700027, "The certificate %s of '%s' ended at %s. Register a new one: fairlead server principals reset --append --cert FILE.", ended.Hint, id, stamp(ended.Ends))
	case len(keys) == 0:
		return Claims{}, 0, invalidClient(700027, "The certificate with identifier used to sign the client assertion is not registered on application '%s'.", id)
	}
	if oe := is.accept(ctx, a, keys...); oe != nil {
		return Claims{}, 0, oe
	}
	return principalClaims(sp), UserTTL, nil
}

func unknownClient(id string) *oauthError {
	return invalidClient(700016, "Application with identifier '%s' was not found, or has no key registered.", id)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
