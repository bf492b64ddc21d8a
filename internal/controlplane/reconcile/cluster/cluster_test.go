package cluster

import (
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
)

func TestPlan(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for name, c := range map[string]struct {
		seen, certEnd time.Time
		state         string
		again         time.Duration
	}{
		"never seen":                {state: "Connecting"},
		"just seen":                 {seen: now, state: "Connected", again: 30 * time.Second},
		"seen a while ago":          {seen: ago(29 * time.Second), state: "Connected", again: time.Second},
		"three heartbeats missed":   {seen: ago(30 * time.Second), state: "Offline", again: pollOffline},
		"long away":                 {seen: ago(time.Hour), state: "Offline", again: pollOffline},
		"certificate ends first":    {seen: now, certEnd: now.Add(time.Second), state: "Connected", again: time.Second},
		"waits for certificate end": {certEnd: now.Add(time.Hour), state: "Connecting", again: time.Hour},
		"certificate over":          {seen: now, certEnd: now, state: "Expired"},
	} {
		if state, again := plan(now, c.seen, c.certEnd); state != c.state || again != c.again {
			t.Errorf("%s: %s, %v; want %s, %v", name, state, again, c.state, c.again)
		}
	}
}

func TestReconcile(t *testing.T) {
	e := typestest.New(t)
	e.Base()
	e.Put(typestest.Cluster, typestest.ClusterBody())
	c := New(e.Deps)
	state := func() any {
		t.Helper()
		e.Step(c, typestest.Cluster)
		return typestest.Stored(t, e.Record(typestest.Cluster), "connectivityStatus")
	}
	if got := state(); got != "Connecting" {
		t.Errorf("before the first heartbeat: %v", got)
	}
	e.Heartbeat()
	if got := state(); got != "Connected" {
		t.Errorf("after a heartbeat: %v", got)
	}
	version := e.Record(typestest.Cluster).Version
	e.Advance(10 * time.Second)
	e.Heartbeat()
	if state(); e.Record(typestest.Cluster).Version != version {
		t.Error("a heartbeat that says nothing new was written to the record")
	}
	e.Advance(30 * time.Second)
	if got := state(); got != "Offline" {
		t.Errorf("after 30 s of silence: %v", got)
	}
	e.Heartbeat()
	if got := state(); got != "Connected" {
		t.Errorf("after it came back: %v", got)
	}
}
