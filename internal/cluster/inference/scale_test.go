package inference

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

// step is so many polling intervals with a load, and the pods that there are after them.
type step struct {
	intervals    int
	busy, queued int
	peak         int
	lost         bool
	want         int32
}

// TestScale replays sequences of load. Each begins with the pods that the scale's min says, as the reference's does.
func TestScale(t *testing.T) {
	from := func(lowest, highest int32) v1alpha1.DeploymentScale {
		return v1alpha1.DeploymentScale{Min: lowest, Max: highest, TargetUtilizationPercentage: 70, PollingIntervalSeconds: 1}
	}
	for name, tt := range map[string]struct {
		scale       v1alpha1.DeploymentScale
		concurrency int32
		steps       []step
	}{
		"the reference's example: 200 busy at 0.7": {from(1, 1000), 1, []step{{1, 200, 0, 200, false, 286}}},
		"idle stays at min":                        {from(1, 10), 1, []step{{100, 0, 0, 0, false, 1}}},
		"up at once, down after 20 intervals": {from(1, 10), 1, []step{
			{1, 3, 2, 5, false, 8}, {19, 0, 0, 0, false, 8}, {1, 0, 0, 0, false, 8}, {1, 0, 0, 0, false, 1}}},
		"never above max":                         {from(1, 4), 1, []step{{1, 100, 900, 1000, false, 4}}},
		"what is queued counts like what is busy": {from(1, 10), 2, []step{{1, 2, 5, 7, false, 5}}},
		"at the target nothing changes":           {from(1, 10), 10, []step{{60, 7, 0, 7, false, 1}, {1, 8, 0, 8, false, 2}}},
		"a burst inside the window keeps the pods": {from(1, 10), 1, []step{
			{1, 5, 0, 5, false, 8}, {15, 0, 0, 0, false, 8}, {1, 0, 0, 4, false, 8}, {19, 0, 0, 0, false, 6}, {2, 0, 0, 0, false, 1}}},
		"down to what the window needed": {from(1, 10), 1, []step{{1, 6, 0, 6, false, 9}, {20, 2, 0, 2, false, 9}, {1, 2, 0, 2, false, 3}}},
		"to zero, and back for one request": {from(0, 5), 1, []step{
			{1, 1, 0, 1, false, 2}, {20, 0, 0, 0, false, 2}, {1, 0, 0, 0, false, 0}, {50, 0, 0, 0, false, 0}, {1, 0, 1, 1, false, 2}}},
		"short requests that no poll sees keep a pod": {from(0, 5), 1, []step{{100, 0, 0, 1, false, 1}}},
		"a silent router takes no pods away, but the others add some": {from(1, 10), 1, []step{
			{1, 5, 0, 5, false, 8}, {60, 0, 0, 0, true, 8}, {1, 7, 0, 7, true, 10}, {20, 0, 0, 0, false, 10}, {1, 0, 0, 0, false, 1}}},
		"a slow poll is slow to take away": {v1alpha1.DeploymentScale{Min: 1, Max: 3, TargetUtilizationPercentage: 70, PollingIntervalSeconds: 10}, 1,
			[]step{{1, 2, 0, 2, false, 3}, {20, 0, 0, 0, false, 3}, {1, 0, 0, 0, false, 1}}},
		"nothing said means 70 % every second": {v1alpha1.DeploymentScale{Min: 1, Max: 9}, 0, []step{{1, 7, 0, 7, false, 9}, {20, 0, 0, 0, false, 9}, {1, 0, 0, 0, false, 1}}},
	} {
		t.Run(name, func(t *testing.T) {
			var h history
			now, pods := time.Unix(1_000_000, 0), max(tt.scale.Min, 1)
			if tt.scale.Min == 0 {
				pods = 1
			}
			for i, s := range tt.steps {
				for range s.intervals {
					pods = h.next(now, tt.scale, tt.concurrency, pods, load{busy: s.busy, queued: s.queued, peak: s.peak, complete: !s.lost})
					now = now.Add(interval(tt.scale))
				}
				if pods != s.want {
					t.Fatalf("after step %d: %d pods, want %d", i, pods, s.want)
				}
			}
		})
	}
	t.Run("new bounds hold at once", func(t *testing.T) {
		var h history
		got := []int32{h.next(time.Unix(1, 0), from(3, 5), 1, 1, load{complete: true}), h.next(time.Unix(2, 0), from(1, 2), 1, 5, load{complete: true})}
		if diff := cmp.Diff([]int32{3, 2}, got); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzScale: whatever routers tell, the number of pods is within its bounds, and does not fall while the load says otherwise.
func FuzzScale(f *testing.F) {
	f.Add(3, 2, 5, int32(1), int32(10), int32(2), true)
	f.Add(-1, 1<<62, -5, int32(0), int32(1), int32(0), false)
	f.Fuzz(func(t *testing.T, busy, queued, peak int, current, highest, concurrency int32, complete bool) {
		if highest < 1 || current < 0 || current > highest || busy < 0 || queued < 0 || busy > 1<<40 || queued > 1<<40 {
			t.Skip()
		}
		s := v1alpha1.DeploymentScale{Min: 0, Max: highest}
		var h history
		got := h.next(time.Unix(1, 0), s, concurrency, current, load{busy: busy, queued: queued, peak: peak, complete: complete})
		if got < current || got > highest {
			t.Errorf("%d pods of %d, at most %d", got, current, highest)
		}
	})
}
