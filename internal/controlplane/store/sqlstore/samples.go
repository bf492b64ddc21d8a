package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

const (
	sqlSamples   = `SELECT owner, at, vals FROM samples WHERE owner = ? AND at >= ? AND at < ? ORDER BY at`
	sqlPutSample = `INSERT INTO samples (owner, at, vals) VALUES (?, ?, ?)
		ON CONFLICT (owner, at) DO UPDATE SET vals = excluded.vals WHERE samples.vals <> excluded.vals`
	sqlThrough    = `SELECT COALESCE(MAX(at), 0) FROM sampled_through WHERE cluster = ?`
	sqlPutThrough = `INSERT INTO sampled_through (cluster, at) VALUES (?, ?)
		ON CONFLICT (cluster) DO UPDATE SET at = excluded.at WHERE sampled_through.at < excluded.at`
)

// Samples lists an owner's samples from one time on and before another.
func (r reader) Samples(ctx context.Context, owner string, from, to time.Time) ([]store.Sample, error) {
	samples, err := collect(ctx, r.q, sqlSamples, []any{owner, micros(from), micros(to)}, func(s *store.Sample) []any {
		return []any{&s.Owner, timeOf(&s.At), blobOf(&s.Values)}
	})
	if err != nil {
		return nil, fmt.Errorf("listing samples of %q: %w", owner, err)
	}
	return samples, nil
}

// SampledThrough is up to when a cluster has sent its samples.
func (r reader) SampledThrough(ctx context.Context, cluster string) (time.Time, error) {
	us, err := queryInt(ctx, r.q, sqlThrough, cluster)
	if err != nil {
		return time.Time{}, fmt.Errorf("reading up to when %q was sampled: %w", cluster, err)
	}
	return fromMicros(us), nil
}

// PutSamples writes samples, in place of those of the same owner and time.
func (t *tx) PutSamples(ctx context.Context, samples []store.Sample) error {
	for _, s := range samples {
		if err := checkKey("owner", s.Owner); err != nil {
			return fmt.Errorf("writing samples of %q: %w", s.Owner, err)
		}
		if s.At.IsZero() || len(s.Values) == 0 {
			return fmt.Errorf("writing samples of %q: %w", s.Owner, errors.New("a sample has a time and values"))
		}
		if err := t.queue(ctx, &Stmt{SQL: sqlPutSample, Args: []any{s.Owner, micros(s.At), blob(s.Values)}}); err != nil {
			return err
		}
	}
	return nil
}

// SetSampledThrough raises what SampledThrough says.
func (t *tx) SetSampledThrough(ctx context.Context, cluster string, at time.Time) error {
	if err := checkKey("cluster", cluster); err != nil {
		return fmt.Errorf("writing up to when %q was sampled: %w", cluster, err)
	}
	return t.queue(ctx, &Stmt{SQL: sqlPutThrough, Args: []any{cluster, micros(at)}})
}
