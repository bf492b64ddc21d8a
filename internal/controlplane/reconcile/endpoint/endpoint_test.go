package endpoint_test

import (
	"encoding/json"
	"testing"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/controlplane/issuer"
	"fairlead.dev/fairlead/internal/controlplane/reconcile/endpoint"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
	"fairlead.dev/fairlead/internal/link"
)

// TestRoutersLearnKeysInTime: a cluster is told of a new signing key by itself, long before the key signs.
func TestRoutersLearnKeysInTime(t *testing.T) {
	e := typestest.New(t)
	e.Serving()
	c := endpoint.New(e.Deps)
	id := typestest.Workspace + "/onlineEndpoints/tokens"
	e.Put(id, `{"properties":{"compute":"k8s","authMode":"amltoken"}}`)
	for _, keys := range []string{`{"keys":["first"]}`, `{"keys":["second","first"]}`} {
		e.KeySet = keys
		result := e.Step(c, id)
		if result.RequeueAfter <= 0 || result.RequeueAfter > issuer.Settle/10 {
			t.Errorf("looks again after %s; a key signs after %s", result.RequeueAfter, issuer.Settle)
		}
		var told link.Endpoint
		var spec v1alpha1.OnlineEndpointSpec
		if !e.Desired(link.PrefixEndpoint+"tokens", &told) || json.Unmarshal(told.Spec, &spec) != nil || spec.Auth.Tokens.JWKS != keys {
			t.Errorf("the router is told %+v", spec.Auth)
		}
	}
}
