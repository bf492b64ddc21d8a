package gate

import (
	"time"

	"fairlead.dev/fairlead/api/routerload"
)

// maxAskers is how many askers a gate keeps peaks for; who did not ask for longest is forgotten.
const maxAskers = 8

// asker is somebody who asks for the load, and the peak since the last time.
type asker struct {
	name string
	peak int
	at   time.Time
}

// note raises the peaks to the load of now; the gate is locked.
func (g *Gate) note() {
	n := g.busy + g.queued
	for i := range g.askers {
		g.askers[i].peak = max(g.askers[i].peak, n)
	}
}

// Load is what the gate carries, with the peak since the same asker asked before.
func (g *Gate) Load(name string) routerload.Load {
	g.mu.Lock()
	defer g.mu.Unlock()
	load := routerload.Load{Busy: g.busy, Queued: g.queued, Peak: g.busy + g.queued}
	now, oldest := time.Now(), 0
	for i := range g.askers {
		if a := &g.askers[i]; a.name == name {
			load.Peak, a.peak, a.at = max(load.Peak, a.peak), load.Peak, now
			return load
		}
		if g.askers[i].at.Before(g.askers[oldest].at) {
			oldest = i
		}
	}
	a := asker{name: name, peak: load.Peak, at: now}
	if len(g.askers) < maxAskers {
		g.askers = append(g.askers, a)
	} else {
		g.askers[oldest] = a
	}
	return load
}
