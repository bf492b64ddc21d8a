package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/resource"
)

// withPrincipal requires a good bearer token and remembers who it speaks for.
func (s *server) withPrincipal(next http.Handler) http.Handler {
	return s.handle(func(w http.ResponseWriter, r *http.Request) error {
		p, err := Authenticate(s.cfg.Verify, r)
		if err != nil {
			ae, _ := errors.AsType[*arm.Error](err)
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer authorization_uri="%s/%s", error="invalid_token", error_description="%s"`,
				s.cfg.PublicURL, s.cfg.TenantID, strings.ReplaceAll(ae.Message, `"`, `'`)))
			return err
		}
		info(r.Context()).principal = p.ID
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), keyPrincipal, p)))
		return nil
	})
}

// Authenticate reads the bearer token of a request. Its error is always an *arm.Error with status 401.
func Authenticate(verify VerifyFunc, r *http.Request) (resource.Principal, error) {
	h := r.Header.Get("Authorization")
	if h == "" {
		return resource.Principal{}, arm.Errorf(http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
	}
	scheme, token, _ := strings.Cut(h, " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return resource.Principal{}, arm.Errorf(http.StatusUnauthorized, "AuthenticationFailedInvalidHeader", "Authentication failed. The 'Authorization' header is provided in an invalid format; it must be 'Bearer <token>'.")
	}
	p, err := verify(r.Context(), token)
	switch {
	case errors.Is(err, issuer.ErrExpired):
		return p, &arm.Error{Status: http.StatusUnauthorized, Code: "ExpiredAuthenticationToken", Message: "The access token has expired: " + detail(err) + ". Log in again.", Cause: nil}
	case err != nil:
		return p, arm.Errorf(http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid: %s.", detail(err))
	}
	return p, nil
}

// detail is what follows the first colon of an error: the reason without the sentinel.
func detail(err error) string {
	_, after, ok := strings.Cut(err.Error(), ": ")
	if !ok {
		return err.Error()
	}
	return after
}

// principal is who asks; withPrincipal has made sure there is one.
func principal(ctx context.Context) resource.Principal {
	p, _ := ctx.Value(keyPrincipal).(resource.Principal)
	return p
}
