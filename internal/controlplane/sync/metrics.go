package sync

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/controlplane/desired"
	"fairlead.dev/fairlead/internal/controlplane/insight"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/link"
)

// maxAhead is how far a cluster's clock may be ahead of this one's.
const maxAhead = 5 * time.Minute

// metricsState tells a cluster up to when its samples are here, so that it goes on from there after any outage.
func (s *server) metricsState(w http.ResponseWriter, r *http.Request, p resource.Principal) error {
	through, err := s.Store.SampledThrough(r.Context(), p.Scope)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(link.MetricsState{Through: through})
}

// metrics takes samples of the cluster's jobs, endpoints and deployments. Those of what the cluster does not have (any more) are left out, and so
// are metrics that this version does not know.
func (s *server) metrics(w http.ResponseWriter, r *http.Request, p resource.Principal) error {
	var req link.MetricsRequest
	data, err := readBody(w, r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, &req); err != nil {
		return arm.Invalid("", "The body is not {\"samples\":[{\"key\":…,\"time\":…,\"values\":{…}}],\"through\":…}: %v.", err)
	}
	samples, err := s.checkSamples(req)
	if err != nil {
		return err
	}
	err = s.Store.Update(r.Context(), func(tx store.Tx) error { return putSamples(r.Context(), tx, p.Scope, samples, req.Through) })
	if err != nil {
		return fmt.Errorf("recording samples: %w", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *server) checkSamples(req link.MetricsRequest) ([]store.Sample, error) {
	if len(req.Samples) > link.MaxSamples {
		return nil, arm.Invalid("samples", "%d samples; post at most %d at once.", len(req.Samples), link.MaxSamples)
	}
	latest := s.Clock().Add(maxAhead)
	if req.Through.After(latest) {
		return nil, arm.Invalid("through", "through is %s, which is more than %s ahead of this server's clock; set the clocks of the cluster's nodes.", req.Through.UTC().Format(time.RFC3339), maxAhead)
	}
	out := make([]store.Sample, 0, len(req.Samples))
	for i, in := range req.Samples {
		at := fmt.Sprintf("samples[%d]", i)
		switch {
		case !jobKey.MatchString(in.Key) && !servingKey.MatchString(in.Key):
			return nil, arm.Invalid(at+".key", "%.150q is not the key of a job, endpoint or deployment; want %s<32 hex digits>, %s<name> or %s<endpoint>/<name>.",
				in.Key, link.PrefixJob, link.PrefixEndpoint, link.PrefixDeployment)
		case !in.Time.Equal(in.Time.Truncate(time.Minute)) || in.Time.Unix() <= 0:
			return nil, arm.Invalid(at+".time", "%s is not the end of a minute, such as 2026-03-04T05:06:00Z.", in.Time.UTC().Format(time.RFC3339Nano))
		case in.Time.After(latest):
			return nil, arm.Invalid(at+".time", "%s is more than %s ahead of this server's clock; set the clocks of the cluster's nodes.", in.Time.UTC().Format(time.RFC3339), maxAhead)
		}
		values := make(map[string]float64, len(in.Values))
		for name, v := range in.Values {
			if insight.Measured(name) && !math.IsNaN(v) && !math.IsInf(v, 0) {
				values[name] = v
			}
		}
		if len(values) == 0 {
			continue
		}
		doc, err := json.Marshal(values)
		if err != nil {
			return nil, fmt.Errorf("encoding a sample: %w", err)
		}
		out = append(out, store.Sample{Owner: in.Key, At: in.Time.UTC(), Values: doc})
	}
	return out, nil
}

// putSamples writes those of what is in the cluster's desired map, which is what this side has given it to run.
func putSamples(ctx context.Context, tx store.Tx, cluster string, samples []store.Sample, through time.Time) error {
	owners := map[string]string{}
	kept := samples[:0:0]
	for _, sample := range samples {
		owner, looked := owners[sample.Owner]
		if !looked {
			var err error
			if owner, err = ownerOf(ctx, tx, cluster, sample.Owner); err != nil {
				return err
			}
			owners[sample.Owner] = owner
		}
		if owner != "" {
			sample.Owner = owner
			kept = append(kept, sample)
		}
	}
	if err := tx.PutSamples(ctx, kept); err != nil || through.IsZero() {
		return err
	}
	return tx.SetSampledThrough(ctx, cluster, through.UTC())
}

// ownerOf is whose a key's samples are: a job's id in the cluster, which no other job has, or the resource of an endpoint or deployment; "" when
// the cluster has no such thing.
func ownerOf(ctx context.Context, tx store.Tx, cluster, key string) (string, error) {
	e, err := desired.Find(ctx, tx, cluster, key)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if id, job := strings.CutPrefix(key, link.PrefixJob); job {
		return id, nil
	}
	var v struct{ Resource string }
	if err := json.Unmarshal(e.Value, &v); err != nil {
		return "", fmt.Errorf("reading desired %s of %s: %w", key, cluster, err)
	}
	return strings.ToLower(v.Resource), nil
}
