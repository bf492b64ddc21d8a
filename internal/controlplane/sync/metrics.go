package sync

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
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

// metrics takes samples of the cluster's jobs. Those of jobs that the cluster does not have (any more) are left out, and so
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
		case !jobKey.MatchString(in.Key):
			return nil, arm.Invalid(at+".key", "%.150q is not the key of a job; want %s<32 hex digits>.", in.Key, link.PrefixJob)
		case !in.Time.Equal(in.Time.Truncate(time.Minute)) || in.Time.Unix() <= 0:
			return nil, arm.Invalid(at+".time", "%s is not the end of a minute, such as 2026-03-04T05:06:00Z.", in.Time.UTC().Format(time.RFC3339Nano))
		case in.Time.After(latest):
			return nil, arm.Invalid(at+".time", "%s is more than %s ahead of this server's clock; set the clocks of the cluster's nodes.", in.Time.UTC().Format(time.RFC3339), maxAhead)
		}
		values := make(map[string]float64, len(in.Values))
		for name, v := range in.Values {
			if _, known := insight.Lookup(name); known && !math.IsNaN(v) && !math.IsInf(v, 0) {
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
		out = append(out, store.Sample{Owner: strings.TrimPrefix(in.Key, link.PrefixJob), At: in.Time.UTC(), Values: doc})
	}
	return out, nil
}

// putSamples writes those of jobs that are in the cluster's desired map, which is what this side has given it to run.
func putSamples(ctx context.Context, tx store.Tx, cluster string, samples []store.Sample, through time.Time) error {
	known := map[string]bool{}
	kept := samples[:0:0]
	for _, sample := range samples {
		ours, looked := known[sample.Owner]
		if !looked {
			entries, err := tx.Desired(ctx, cluster, link.PrefixJob+sample.Owner, 0)
			if err != nil {
				return err
			}
			ours = len(entries) > 0
			known[sample.Owner] = ours
		}
		if ours {
			kept = append(kept, sample)
		}
	}
	if err := tx.PutSamples(ctx, kept); err != nil || through.IsZero() {
		return err
	}
	return tx.SetSampledThrough(ctx, cluster, through.UTC())
}
