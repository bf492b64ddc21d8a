package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// testSamples: a minute is kept once, however often it comes; a cluster's mark only rises; what is old goes.
func testSamples(t *testing.T, open Opener) {
	ctx, s := start(t, open)
	at := func(minute int) time.Time {
		return epoch.Truncate(time.Minute).Add(time.Duration(minute) * time.Minute)
	}
	sample := func(owner string, minute int, values string) store.Sample {
		return store.Sample{Owner: owner, At: at(minute), Values: raw(values)}
	}
	write := func(through time.Time, samples ...store.Sample) {
		update(t, ctx, s, func(tx store.Tx) error {
			return errors.Join(tx.PutSamples(ctx, samples), tx.SetSampledThrough(ctx, cluster, through))
		})
	}
	expect := func(owner string, from, to int, want ...store.Sample) {
		t.Helper()
		got, err := s.Samples(ctx, owner, at(from), at(to))
		if err != nil || !cmp.Equal(want, got) {
			t.Errorf("samples of %s: %v (-want +got):\n%s", owner, err, cmp.Diff(want, got))
		}
	}
	marked := func(want time.Time) {
		t.Helper()
		if got, err := s.SampledThrough(ctx, cluster); err != nil || !got.Equal(want) {
			t.Errorf("sampled through %v, %v; want %v", got, err, want)
		}
	}
	marked(time.Time{})
	changes := last(t, ctx, s)
	write(at(2), sample("a", 2, `{"cpu":2}`), sample("a", 1, `{"cpu":1}`), sample("b", 1, `{"cpu":7}`))
	write(at(1), sample("a", 2, `{"cpu":2.5}`), sample("b", 1, `{"cpu":7}`))
	marked(at(2))
	expect("a", 0, 9, sample("a", 1, `{"cpu":1}`), sample("a", 2, `{"cpu":2.5}`))
	expect("a", 1, 2, sample("a", 1, `{"cpu":1}`))
	expect("b", 0, 9, sample("b", 1, `{"cpu":7}`))
	expect("c", 0, 9)
	if got := last(t, ctx, s); got != changes {
		t.Errorf("the newest change is %d, want %d: nobody follows samples", got, changes)
	}
	for name, bad := range map[string]store.Sample{"no owner": sample("", 1, `{}`), "no time": {Owner: "a", Values: raw(`{}`)}, "no values": {Owner: "a", At: epoch}} {
		if err := s.Update(ctx, func(tx store.Tx) error { return tx.PutSamples(ctx, []store.Sample{bad}) }); err == nil {
			t.Errorf("a sample with %s is taken", name)
		}
	}
	const month = 30 * 24 * time.Hour
	if err := s.(store.Compactor).Compact(ctx, at(2).Add(month)); err != nil {
		t.Fatal(err)
	}
	expect("a", 0, 9, sample("a", 2, `{"cpu":2.5}`))
	expect("b", 0, 9)
	marked(at(2))
}
