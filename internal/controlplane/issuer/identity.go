package issuer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/resource"
)

// byWorkload answers a run or the pods of a deployment that ask for tokens of a managed identity, with their own token as the proof.
func (is *Issuer) byWorkload(ctx context.Context, clientID, token string) (Claims, time.Duration, *oauthError) {
	who, err := is.Verify(ctx, token)
	switch {
	case errors.Is(err, ErrExpired):
		return Claims{}, 0, invalidClient(700024, "Client assertion failed: %s.", err)
	case errors.Is(err, ErrInvalid):
		return Claims{}, 0, invalidClient(50027, "Client assertion failed: %s.", err)
	case err != nil:
		return Claims{}, 0, is.broken(ctx, err)
	case who.Kind != KindRun && who.Kind != KindDeployment || is.cfg.Identities == nil:
		return Claims{}, 0, invalidClient(700021, "Client assertion failed: a token of a %s gives no other token.", who.Kind)
	}
	if ok, retry := is.asks.Take("workload " + who.ID); !ok { // not by client id: all runs of a compute have the same
		return Claims{}, 0, tooMany(clientID, retry)
	}
	c, err := is.cfg.Identities.Claims(ctx, who, clientID)
	if no, ok := errors.AsType[*NoIdentity](err); ok {
		return Claims{}, 0, refuse(http.StatusBadRequest, "unauthorized_client", 70021, "No matching federated identity record found for presented assertion: %s.", no.Reason)
	}
	if err != nil {
		return Claims{}, 0, is.broken(ctx, err)
	}
	return c, IdentityTTL, nil
}

// held refuses a token of a managed identity that the token's resource has not any more.
func (is *Issuer) held(ctx context.Context, p resource.Principal) error {
	if is.cfg.Identities == nil {
		return fmt.Errorf("%w: this server has no managed identities", ErrInvalid)
	}
	has, err := is.cfg.Identities.Held(ctx, p)
	if err != nil {
		return fmt.Errorf("checking managed identity %s: %w", p.ID, err)
	}
	if !has {
		return fmt.Errorf("%w: the managed identity was deleted, or taken away from %s", ErrInvalid, p.Scope)
	}
	return nil
}
