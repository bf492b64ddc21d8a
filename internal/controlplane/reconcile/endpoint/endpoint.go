// Package endpoint tells clusters of online endpoints and follows what becomes of them.
package endpoint

import (
	"context"
	"encoding/json"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/reconcile/rollout"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/serving"
	"fairlead.dev/fairlead/internal/link"
)

// refresh bounds how long a router may go without a new public key of the issuer.
const refresh = 10 * time.Minute

// New makes the controller; it uses Store, Clock, Desired, Open and TokenKeys.
func New(d types.Deps) *rollout.Controller {
	return rollout.New(d, rollout.Kind{
		Name: "endpoint", Type: serving.EndpointType, Prefix: link.PrefixEndpoint, Refresh: refresh,
		Told: func(rec store.Record) (rollout.Told, error) {
			st, err := serving.DecodeEndpoint(rec)
			return rollout.Told{Cluster: st.Cluster, Key: types.EndpointKey(rec), Revision: st.Revision}, err
		},
		Tell: func(context.Context, store.Record, json.RawMessage) (func(context.Context, store.Tx, store.Record) (store.Record, error), error) {
			return d.TellEndpoint, nil
		},
	})
}
