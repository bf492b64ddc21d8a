package issuer

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/go-jose/go-jose/v4"
)

// serveDiscovery is the OpenID Connect discovery document.
func (is *Issuer) serveDiscovery(w http.ResponseWriter, r *http.Request) {
	if oe := is.checkTenant(r.PathValue("tenant")); oe != nil {
		is.sendError(w, r, oe)
		return
	}
	base := is.cfg.PublicURL + "/" + is.cfg.TenantID
	doc := map[string]any{
		"issuer":                                is.Name(),
		"token_endpoint":                        is.TokenURL(),
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "client_secret_basic", "private_key_jwt", "none"},
		"token_endpoint_auth_signing_alg_values_supported": []string{"RS256", "PS256"},
		"grant_types_supported":                            is.grants(),
		"response_types_supported":                         []string{"code"},
		"response_modes_supported":                         []string{"query", "form_post"},
		"subject_types_supported":                          []string{"public"},
		"id_token_signing_alg_values_supported":            []string{"RS256"},
		"scopes_supported":                                 []string{"openid", "profile", "offline_access", is.cfg.PublicURL + "/.default"},
		"claims_supported":                                 []string{"sub", "iss", "aud", "exp", "iat", "nbf", "jti", "oid", "tid", "appid", "azp", "name", "preferred_username", "nonce", "kind", "scope_id", "ver"},
		"tenant_region_scope":                              nil,
	}
	if is.cfg.People != nil {
		doc["device_authorization_endpoint"] = base + "/oauth2/v2.0/devicecode"
		doc["revocation_endpoint"] = base + "/oauth2/v2.0/revoke"
		doc["code_challenge_methods_supported"] = []string{"S256"}
	}
	sendJSON(w, http.StatusOK, doc)
}

// KeySet is the JSON web key set that verifies all tokens but runs', as text.
func (is *Issuer) KeySet() (string, error) {
	var set jose.JSONWebKeySet
	for _, k := range is.ring.Load().public().Keys {
		if k.Algorithm == string(jose.RS256) {
			set.Keys = append(set.Keys, k)
		}
	}
	raw, err := json.Marshal(set)
	if err != nil {
		return "", fmt.Errorf("encoding key set: %w", err)
	}
	return string(raw), nil
}

// serveKeys is the JSON web key set.
func (is *Issuer) serveKeys(w http.ResponseWriter, r *http.Request) {
	if oe := is.checkTenant(r.PathValue("tenant")); oe != nil {
		is.sendError(w, r, oe)
		return
	}
	w.Header().Set("Cache-Control", "public, max-age=3600")
	sendJSON(w, http.StatusOK, is.ring.Load().public())
}
