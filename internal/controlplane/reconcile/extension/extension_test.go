package extension

import (
	"errors"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/operation"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/typestest"
	"fairlead.dev/fairlead/internal/link"
)

func TestPlan(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	obs := func(gen int64, state string) *link.ExtensionStatus {
		return &link.ExtensionStatus{Generation: gen, State: state, Version: "0.1.0", Message: "why"}
	}
	for name, c := range map[string]struct {
		state    string
		observed *link.ExtensionStatus
		offline  string
		waited   time.Duration
		want     string // provisioningState, or gone
		install  string
		again    bool
		text     string
	}{
		"nothing yet":                 {state: "Creating", want: "Creating", install: "Pending", again: true},
		"older generation":            {state: "Updating", observed: obs(6, "Installed"), want: "Updating", install: "Pending", again: true},
		"under way":                   {state: "Creating", observed: obs(7, "Pending"), want: "Creating", install: "Pending", again: true},
		"installed":                   {state: "Creating", observed: obs(7, "Installed"), want: "Succeeded", install: "Installed"},
		"newer generation":            {state: "Creating", observed: obs(8, "Installed"), want: "Succeeded", install: "Installed"},
		"failed":                      {state: "Creating", observed: obs(7, "Failed"), want: "Failed", install: "Failed", text: "following error: why"},
		"fails later":                 {state: "Succeeded", observed: obs(7, "Failed"), want: "Failed", install: "Failed", text: "why"},
		"mends itself":                {state: "Failed", observed: obs(7, "Installed"), want: "Succeeded", install: "Installed"},
		"works on it by itself":       {state: "Succeeded", observed: obs(7, "Pending"), waited: 72 * time.Hour, want: "Succeeded", install: "Pending"},
		"offline":                     {state: "Creating", offline: "cluster edge is offline", want: "Creating", install: "Pending", again: true},
		"offline for two days":        {state: "Creating", offline: "cluster edge is offline", waited: 48 * time.Hour, want: "Failed", install: "Failed", text: "cluster edge is offline"},
		"removal under way":           {state: "Deleting", observed: obs(7, "Installed"), want: "Deleting", install: "Pending", again: true},
		"removed":                     {state: "Deleting", observed: obs(7, "Removed"), want: "gone"},
		"removal waits for cluster":   {state: "Deleting", observed: obs(7, "Installed"), offline: "away", waited: 72 * time.Hour, want: "Deleting", install: "Pending"},
		"removal gets nowhere":        {state: "Deleting", observed: obs(7, "Failed"), waited: 15 * time.Minute, want: "Failed", install: "Failed", text: "(why)"},
		"never installed":             {state: "Deleting", want: "Deleting", install: "Pending", again: true},
		"never installed and unknown": {state: "Deleting", waited: time.Minute, want: "gone"},
	} {
		t.Run(name, func(t *testing.T) {
			out := plan(input{now: start.Add(c.waited), since: start, state: c.state, generation: 7, observed: c.observed, offline: c.offline})
			if c.want == "gone" {
				if !out.gone {
					t.Errorf("stays: %+v", out)
				}
				return
			}
			if out.gone || out.state != c.want || out.installState != c.install || (out.again > 0) != c.again {
				t.Errorf("%+v", out)
			}
			if c.text != "" && (out.cause == nil || !strings.Contains(out.cause.Error(), c.text)) {
				t.Errorf("cause %v; want %q in it", out.cause, c.text)
			}
			if c.offline != "" && out.state == c.state && (len(out.statuses) == 0 || !strings.Contains(out.statuses[0].Message, c.offline)) {
				t.Errorf("statuses %+v do not say that the cluster is away", out.statuses)
			}
		})
	}
}

func TestReconcile(t *testing.T) {
	e := typestest.New(t)
	e.Base()
	e.Put(typestest.Cluster, typestest.ClusterBody())
	e.Heartbeat()
	e.Put(typestest.Extension, typestest.ExtensionBody)
	c := New(e.Deps)
	key := c.Keys(store.Change{Kind: "observed", Key: strings.ToLower(typestest.Cluster), Type: "extension/arcml"})[0]
	if key != strings.ToLower(typestest.Extension) {
		t.Fatalf("key %s", key)
	}
	e.Step(c, key)
	var want link.Extension
	e.Desired("extension/arcml", &want)
	e.Observe("extension/arcml", link.ExtensionStatus{Generation: want.Generation, State: "Installed", Version: "0.1.0",
		Checks: []link.Status{{Code: "HelmInstalled", Level: "Information", Message: "ok", Time: "2026-01-02T03:04:05Z"}}})
	e.Step(c, key)
	if e.Prop(key, "provisioningState") != "Succeeded" || e.Prop(key, "installState") != "Installed" || e.Prop(key, "currentVersion") != "0.1.0" {
		t.Errorf("%v", e.Show(key)["properties"])
	}
	version := e.Record(key).Version
	if e.Step(c, "cluster:"+typestest.Cluster); e.Record(key).Version != version {
		t.Error("written although nothing changed")
	}
	if err := e.TryDelete(typestest.Extension, false); err != nil {
		t.Fatal(err)
	}
	e.Step(c, key)
	if got := operation.State(e.Record(key).Body); got != "Deleting" {
		t.Errorf("provisioningState %s while the cluster uninstalls", got)
	}
	e.Observe("extension/arcml", link.ExtensionStatus{Generation: want.Generation, State: "Removed"})
	e.Step(c, key)
	if _, err := e.Store.Get(e.Ctx, key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v; want it gone", err)
	}
}
