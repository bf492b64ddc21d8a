package job

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/link"
)

// build makes the desired value of a job.
func build(rec store.Record, st runstate.State, secret map[string]string) (json.RawMessage, error) {
	doc, err := json.Marshal(st.Spec)
	if err != nil {
		return nil, fmt.Errorf("encoding job document: %w", err)
	}
	spec, err := json.Marshal(v1alpha1.AmlJobSpec{Job: v1alpha1.JobSpec{
		JobID: st.JobID, Name: rec.Name, Image: st.Image, InstanceType: st.InstanceType, InstanceCount: st.InstanceCount,
		ShmSize: st.ShmSize, MaxRestarts: st.MaxRestarts, TimeoutSeconds: st.Spec.TimeoutSeconds, Cancel: st.CancelRequested,
		Options: v1alpha1.JobOptions{CommonRuntimeJobSpec: doc},
	}})
	if err != nil {
		return nil, fmt.Errorf("encoding AmlJob: %w", err)
	}
	raw, err := json.Marshal(link.Job{ID: st.JobID, Resource: rec.ID, Namespace: st.Namespace, Labels: types.ClusterLabels(arm.MustParseID(rec.ID), st.Compute, map[string]string{"ml.azure.com/run-id": rec.Name}), Spec: spec, Secret: secret, Started: !st.StartedAt.IsZero()})
	if err != nil {
		return nil, fmt.Errorf("encoding desired job: %w", err)
	}
	if len(raw) > link.MaxValue {
		return nil, fmt.Errorf("desired job is %d bytes; at most %d are allowed", len(raw), link.MaxValue)
	}
	return raw, nil
}

// secrets are the keys of the job's Secret: a new token, and the log key that readers of the live log already have if the
// cluster was told of the job before.
func (c *Controller) secrets(ctx context.Context, rec store.Record, was runstate.State, id string) (map[string]string, error) {
	token, err := c.d.IssueRunToken(ctx, rec.Key, id, tokenTTL)
	if err != nil {
		return nil, fmt.Errorf("issuing run token: %w", err)
	}
	var old link.Job
	if was.JobID != "" {
		if old, err = c.desired(ctx, c.d.Store, was.Cluster, id); err != nil && !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
	}
	key := old.Secret[commonruntime.SecretLogKey]
	if key == "" {
		b := make([]byte, 32)
		if _, err := rand.Read(b); err != nil {
			return nil, fmt.Errorf("making log key: %w", err)
		}
		key = hex.EncodeToString(b)
	}
	out := map[string]string{commonruntime.SecretToken: token, commonruntime.SecretLogKey: key}
	if c.d.CA != "" {
		out[commonruntime.SecretCA] = c.d.CA
	}
	return out, nil
}

// desired reads a job's desired value, or store.ErrNotFound.
func (c *Controller) desired(ctx context.Context, r store.Reader, cluster, id string) (link.Job, error) {
	raw, err := c.d.Desired.Get(ctx, r, cluster, link.PrefixJob+id)
	if err != nil {
		return link.Job{}, err
	}
	var j link.Job
	if err := json.Unmarshal(raw, &j); err != nil {
		return link.Job{}, fmt.Errorf("decoding desired job %s: %w", id, err)
	}
	return j, nil
}
