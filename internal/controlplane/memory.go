package controlplane

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// trimEvery is how often the server looks whether it is idle.
	trimEvery = 5 * time.Second
	// trimQuiet is what may be allocated in trimEvery for the server to count as idle.
	trimQuiet = 4 << 20
	// trimAfter is what must have been allocated since the last time for a collection to be worth its work.
	trimAfter = 16 << 20
)

// heap is the Go heap at one moment, in bytes.
type heap struct {
	// live is what the last collection found in use, allocated the sum since the start.
	live, allocated uint64
}

func readHeap() heap {
	s := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return heap{live: s[0].Value.Uint64(), allocated: s[1].Value.Uint64()}
}

// trim reports whether a server whose heap was like before a moment ago, and like last when it was trimmed last, should be trimmed
// now: there may be much to give back, and nothing goes on that would soon need it again. A big heap must have changed much.
func (h heap) trim(before, last heap) bool {
	return h.allocated-before.allocated < trimQuiet && h.allocated-last.allocated > max(trimAfter, h.live/2)
}

// trimMemory gives back what a burst has left behind. By itself the Go runtime collects when the heap has doubled, or after two
// minutes: the 19 MiB that checking one client secret takes would stay for that long in a server that has nothing to do.
func trimMemory(ctx context.Context) error {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	var last heap
	for before := readHeap(); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now := readHeap()
		if now.trim(before, last) {
			debug.FreeOSMemory()
			now = readHeap()
			last = now
		}
		before = now
	}
}
