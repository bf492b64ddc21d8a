package server

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

func TestMetrics(t *testing.T) {
	e := newEnv(t)
	e.must(201, "PUT", box, `{"location":"local"}`)
	err := e.store.Update(t.Context(), func(tx store.Tx) error {
		return tx.PutSamples(t.Context(), []store.Sample{
			{Owner: strings.ToLower(box), At: e.now().Truncate(time.Minute), Values: json.RawMessage(`{"CpuUtilizationMillicores":250}`)},
			{Owner: strings.ToLower(box), At: e.now().Truncate(time.Minute).Add(-time.Minute), Values: json.RawMessage(`{"CpuUtilizationMillicores":750}`)},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	at := box + "/providers/microsoft.insights/"
	golden(t, "metrics.json", e.must(200, "GET", at+"metrics?metricnames=CpuUtilizationMillicores&aggregation=Average,Maximum&interval=PT1M&timespan=2026-01-02T03:01:00Z/2026-01-02T03:05:00Z&"+ver, "", "as: reader").body)
	golden(t, "metric-definitions.json", e.must(200, "GET", at+"metricDefinitions?"+ver, "", "as: reader").body)
	if a := e.do("GET", at+"metrics?metricnames=Cpu&"+ver, ""); a.status != 400 || !strings.Contains(a.body, "CpuUtilizationMillicores") {
		t.Errorf("an unknown metric: %d %s", a.status, a.body)
	}
	for path, want := range map[string]int{
		strings.Replace(at, "b1", "b2", 1) + "metrics": 404, group + "/providers/Fairlead.Test/slow/s/providers/microsoft.insights/metrics": 404,
	} {
		if a := e.do("GET", path+"?"+ver, ""); a.status != want {
			t.Errorf("GET %s: %d %s, want %d", path, a.status, a.body, want)
		}
	}
	e.must(201, "PUT", group+"/providers/Fairlead.Test/slow/s", `{"location":"local"}`)
	if a := e.do("GET", group+"/providers/Fairlead.Test/slow/s/providers/microsoft.insights/metrics?"+ver, ""); a.status != 400 || !strings.Contains(a.body, "jobs, online endpoints") {
		t.Errorf("a type without metrics: %d %s", a.status, a.body)
	}
	if a := e.do("GET", at+"metrics?"+ver, "", "as: stranger"); a.status != 403 {
		t.Errorf("a stranger: %d", a.status)
	}
	if a := e.do("DELETE", at+"metrics?"+ver, ""); a.status != 405 {
		t.Errorf("DELETE: %d", a.status)
	}
}
