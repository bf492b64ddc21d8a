package sqlstore

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// pointSize is what one point takes when packed: value, step and time, big endian. A value that is no number is a NaN.
const pointSize = 24

const sqlPoints = `SELECT points FROM tracked_points WHERE run = ? AND key = ? ORDER BY id`

func pack(points []store.TrackedMetric) []byte {
	b := make([]byte, 0, pointSize*len(points))
	for _, p := range points {
		v := p.Value
		if p.NaN {
			v = math.NaN()
		}
		b = binary.BigEndian.AppendUint64(b, math.Float64bits(v))
		b = binary.BigEndian.AppendUint64(b, uint64(p.Step))
		b = binary.BigEndian.AppendUint64(b, uint64(p.At))
	}
	return b
}

func unpack(out []store.TrackedMetric, key string, b []byte) ([]store.TrackedMetric, error) {
	if len(b)%pointSize != 0 {
		return nil, fmt.Errorf("points of metric %q are %d bytes, which is no multiple of %d", key, len(b), pointSize)
	}
	for ; len(b) > 0; b = b[pointSize:] {
		p := store.TrackedMetric{Key: key, Value: math.Float64frombits(binary.BigEndian.Uint64(b)),
			Step: int64(binary.BigEndian.Uint64(b[8:])), At: int64(binary.BigEndian.Uint64(b[16:]))}
		if math.IsNaN(p.Value) {
			p.Value, p.NaN = 0, true
		}
		out = append(out, p)
	}
	return out, nil
}

// TrackedHistory lists a metric's points by time, step and value. Those that were sent twice are there once.
func (r reader) TrackedHistory(ctx context.Context, run int64, key string) ([]store.TrackedMetric, error) {
	chunks, err := collect(ctx, r.q, sqlPoints, []any{run, key}, func(b *json.RawMessage) []any { return []any{blobOf(b)} })
	var out []store.TrackedMetric
	for _, c := range chunks {
		if err == nil {
			out, err = unpack(out, key, c)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("reading metric %q: %w", key, err)
	}
	order := func(a, b store.TrackedMetric) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Step, b.Step), cmp.Compare(a.Value, b.Value), compareBool(a.NaN, b.NaN))
	}
	if !slices.IsSortedFunc(out, order) {
		slices.SortStableFunc(out, order)
	}
	return slices.Compact(out), nil
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// newer reports whether a metric's point takes the place of another as the latest.
func newer(a, b store.TrackedMetric) bool {
	return cmp.Or(cmp.Compare(a.Step, b.Step), cmp.Compare(a.At, b.At), cmp.Compare(a.Value, b.Value)) > 0
}

// LogTracked appends points and writes parameters and tags.
func (t *tx) LogTracked(ctx context.Context, run int64, metrics []store.TrackedMetric, params, tags []store.TrackedText) error {
	byKey := map[string][]store.TrackedMetric{}
	var keys []string
	for _, m := range metrics {
		if err := checkKey("metric", m.Key); err != nil {
			return err
		}
		if byKey[m.Key] == nil {
			keys = append(keys, m.Key)
		}
		byKey[m.Key] = append(byKey[m.Key], m)
	}
	stmts := make([]*Stmt, 0, 2*len(keys)+len(params)+len(tags))
	for _, key := range keys {
		points := byKey[key]
		last := points[0]
		for _, p := range points[1:] {
			if newer(p, last) {
				last = p
			}
		}
		stmts = append(stmts, &Stmt{SQL: sqlPutPoints, Args: []any{run, key, pack(points)}},
			&Stmt{SQL: sqlPutLatest, Args: []any{run, key, last.Value, last.NaN, last.Step, last.At}})
	}
	for _, list := range []struct {
		text   string
		values []store.TrackedText
	}{{sqlPutParam, params}, {sqlPutTag, tags}} {
		for _, v := range list.values {
			if err := errors.Join(checkKey("key", v.Key), checkText("value of "+v.Key, v.Value)); err != nil {
				return err
			}
			stmts = append(stmts, &Stmt{SQL: list.text, Args: []any{run, v.Key, v.Value}})
		}
	}
	return t.queue(ctx, stmts...)
}
