// Package deployment tells clusters of online deployments, with the token by which their pods fetch model and code, and follows what
// becomes of them.
package deployment

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/reconcile/rollout"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/serving"
	"fairlead.dev/fairlead/internal/link"
)

// refresh is how often a deployment's token is looked at; it is renewed after a month.
const refresh = 12 * time.Hour

// New makes the controller; it uses Store, Clock, Desired, Blobs, CA and IssueFetchToken.
func New(d types.Deps) *rollout.Controller {
	return rollout.New(d, rollout.Kind{
		Name: "deployment", Type: serving.DeploymentType, Prefix: link.PrefixDeployment, Refresh: refresh,
		Told: func(rec store.Record) (rollout.Told, error) {
			st, err := serving.DecodeDeployment(rec)
			return rollout.Told{Cluster: st.Cluster, Key: types.DeploymentKey(st), Revision: st.Revision}, err
		},
		Tell: func(ctx context.Context, rec store.Record, old json.RawMessage) (func(context.Context, store.Tx, store.Record) (store.Record, error), error) {
			var was *link.Deployment
			if old != nil {
				was = &link.Deployment{}
				if err := json.Unmarshal(old, was); err != nil {
					return nil, fmt.Errorf("decoding desired deployment: %w", err)
				}
			}
			value, st, err := d.TellDeployment(ctx, rec, was)
			if err != nil {
				return nil, err
			}
			raw, err := json.Marshal(value)
			if err != nil {
				return nil, fmt.Errorf("encoding desired deployment: %w", err)
			}
			if len(raw) > link.MaxValue {
				return nil, fmt.Errorf("desired deployment is %d bytes; at most %d are allowed", len(raw), link.MaxValue)
			}
			return func(ctx context.Context, tx store.Tx, rec store.Record) (store.Record, error) {
				if err := d.Desired.Put(ctx, tx, st.Cluster, types.DeploymentKey(st), raw); err != nil {
					return rec, err
				}
				var err error
				rec.Internal, err = serving.Encode(st)
				return rec, err
			}, nil
		},
	})
}
