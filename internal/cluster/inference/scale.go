package inference

import (
	"time"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
)

// slowness is how many polling intervals a lower load must last before pods are taken away.
const slowness = 20

// What an autoscaled deployment has that names nothing else.
const (
	defaultTarget   = 70
	defaultInterval = time.Second
)

// load is what all routers carry for one deployment at one moment.
type load struct {
	busy, queued int
	// peak is the highest busy + queued since the moment before, so that short bursts keep pods.
	peak int
	// complete is false when not every router answered: there may be more.
	complete bool
}

// history is what the autoscaler remembers of one deployment.
type history struct {
	// since is when the unbroken row of complete loads began.
	since time.Time
	// recent are the pods that were needed within the last window.
	recent []need
}

type need struct {
	at   time.Time
	pods int32
}

// next is how many pods there shall be. More load adds pods at once; pods go when for 20 polling intervals fewer would have done, down to
// as many as that time needed at its busiest. A router that does not answer never takes pods away.
func (h *history) next(now time.Time, s v1alpha1.DeploymentScale, concurrency, current int32, l load) int32 {
	pods := max(current, podsFor(l.busy+l.queued, s, concurrency))
	h.remember(now, window(s), max(podsFor(max(l.busy+l.queued, l.peak), s, concurrency), 0), l.complete)
	if pods == current && !h.since.IsZero() && now.Sub(h.since) >= window(s) {
		pods = min(current, h.busiest())
	}
	return clamp(pods, s)
}

// podsFor is the least number of pods whose utilization, load / (pods × concurrency), is not above the target.
func podsFor(requests int, s v1alpha1.DeploymentScale, concurrency int32) int32 {
	target := int64(s.TargetUtilizationPercentage)
	if target <= 0 {
		target = defaultTarget
	}
	perPod := int64(max(concurrency, 1)) * target
	return int32(min((int64(requests)*100+perPod-1)/perPod, int64(s.Max)))
}

func clamp(pods int32, s v1alpha1.DeploymentScale) int32 { return min(max(pods, s.Min), s.Max) }

func interval(s v1alpha1.DeploymentScale) time.Duration {
	if s.PollingIntervalSeconds <= 0 {
		return defaultInterval
	}
	return time.Duration(s.PollingIntervalSeconds) * time.Second
}

func window(s v1alpha1.DeploymentScale) time.Duration { return slowness * interval(s) }

func (h *history) remember(now time.Time, window time.Duration, pods int32, complete bool) {
	if !complete {
		h.since = time.Time{}
	} else if h.since.IsZero() {
		h.since = now
	}
	kept := h.recent[:0]
	for _, n := range h.recent {
		if now.Sub(n.at) <= window {
			kept = append(kept, n)
		}
	}
	h.recent = append(kept, need{now, pods})
}

func (h *history) busiest() int32 {
	most := int32(0)
	for _, n := range h.recent {
		most = max(most, n.pods)
	}
	return most
}
