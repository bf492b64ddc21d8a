package types

import (
	"context"
	"encoding/json"
	"fmt"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/identity"
	"fairlead.dev/fairlead/internal/controlplane/types/serving"
)

// giveIdentity chooses the one identity that a deployment's pods speak as: the first of those of the deployment, its endpoint or its compute,
// whichever of them is the first to say anything of identities. None is said, too.
func (d Deps) giveIdentity(ctx context.Context, p *resource.Put, endpoint store.Record, st *serving.Deployment) error {
	own := *p.Record
	var err error
	if own.Body, err = json.Marshal(map[string]any{"identity": p.Body["identity"]}); err != nil {
		return fmt.Errorf("encoding identity of %s: %w", own.Key, err)
	}
	if own.Internal, err = st.Order.Encode(); err != nil {
		return err
	}
	own.Seq = 0 // its token says which deployment of the name it is
	compute, err := p.Tx.Get(ctx, st.Compute)
	if err != nil {
		return fmt.Errorf("reading compute %s: %w", st.Compute, err)
	}
	st.SpeaksAs, st.Spec.Identity = identity.Grant{}, nil
	for _, carrier := range []store.Record{own, endpoint, compute} {
		var said struct {
			Identity struct{ Type string } `json:"identity"`
		}
		if err := unmarshalBody(carrier, &said); err != nil {
			return err
		}
		if said.Identity.Type == "" {
			continue
		}
		list, err := identity.Of(ctx, p.Tx, carrier)
		if err != nil || len(list) == 0 {
			return err
		}
		is := list[0]
		st.SpeaksAs = identity.Grant{Principal: is.PrincipalID, Carrier: carrier.Key, CarrierSeq: carrier.Seq}
		st.Spec.Identity = &v1alpha1.ManagedIdentity{ClientID: is.ClientID, PrincipalID: is.PrincipalID, ResourceID: is.ResourceID, TokenURL: d.tokenURL()}
		return nil
	}
	return nil
}

// tokenURL is the issuer's token endpoint.
func (d Deps) tokenURL() string { return d.PublicURL + "/" + d.TenantID + "/oauth2/v2.0/token" }
