package insight

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/api/insights"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/types/serving"
)

var epoch = time.Date(2026, 3, 4, 5, 0, 0, 0, time.UTC)

// at is a time some minutes and seconds after epoch.
func at(minutes, seconds int) time.Time {
	return epoch.Add(time.Duration(minutes)*time.Minute + time.Duration(seconds)*time.Second)
}

func sample(minutes int, values string) store.Sample {
	return store.Sample{Owner: "j", At: at(minutes, 0), Values: json.RawMessage(values)}
}

func TestParse(t *testing.T) {
	q, err := Parse(map[string]string{}, used, at(90, 30))
	if err != nil || q.From != at(30, 0) || q.To != at(91, 0) || q.Grain != "PT1M" || !cmp.Equal(q.Aggregations, []string{"Average"}) || len(q.Metrics) != 1 {
		t.Errorf("without parameters: %+v, %v", q, err)
	}
	q, err = Parse(map[string]string{"metricnames": "cpuutilizationmillicores,CpuUtilizationPercentage", "interval": "pt5m",
		"timespan": "2026-03-04T05:01:00Z/2026-03-04T07:11:00+02:00", "aggregation": "maximum, Average"}, used, epoch)
	if err != nil || q.From != epoch || q.To != at(15, 0) || q.Interval != 5*time.Minute || !cmp.Equal(q.Aggregations, []string{"Maximum", "Average"}) ||
		len(q.Metrics) != 2 || q.Metrics[0].Name != "CpuUtilizationMillicores" {
		t.Errorf("with all of them: %+v, %v", q, err)
	}
	for name, c := range map[string]struct {
		q    map[string]string
		want string
	}{
		"metric":      {map[string]string{"metricnames": "Cpu"}, "CpuUtilizationMillicores"},
		"interval":    {map[string]string{"interval": "PT2M"}, "PT5M"},
		"aggregation": {map[string]string{"aggregation": "Median"}, "Average"},
		"filter":      {map[string]string{"$filter": "statusCode gt 400"}, "statusCodeClass eq '5xx'"},
		"one time":    {map[string]string{"timespan": "2026-03-04T05:00:00Z"}, "<start>/<end>"},
		"backwards":   {map[string]string{"timespan": "2026-03-04T06:00:00Z/2026-03-04T05:00:00Z"}, "before it begins"},
		"too long":    {map[string]string{"timespan": "2024-03-04T06:00:00Z/2026-03-04T05:00:00Z"}, "longer intervals"},
	} {
		_, err := Parse(c.q, used, epoch)
		var ae *arm.Error
		if !errors.As(err, &ae) || ae.Status != 400 || !strings.Contains(ae.Message, c.want) {
			t.Errorf("%s: %v; want 400 with %q", name, err, c.want)
		}
	}
}

// numbers is a metric's values, one text an interval.
func numbers(m insights.Metric) string {
	var out []string
	show := func(name string, v *float64) string {
		if v == nil {
			return ""
		}
		return fmt.Sprintf("%s%g", name, *v)
	}
	for _, v := range m.Timeseries[0].Data {
		out = append(out, show("a", v.Average)+show("<", v.Minimum)+show(">", v.Maximum)+show("t", v.Total)+show("n", v.Count))
	}
	return strings.Join(out, " ")
}

func TestAnswer(t *testing.T) {
	samples := []store.Sample{
		sample(1, `{"CpuUtilizationMillicores":500,"CpuCapacityMillicores":2000}`), // of minute 0
		sample(2, `{"CpuUtilizationMillicores":1000,"CpuCapacityMillicores":2000}`),
		sample(4, `{"CpuUtilizationMillicores":1500}`),
		sample(6, `{"CpuCapacityMillicores":2000}`),
	}
	q := Query{From: epoch, To: at(6, 0), Interval: time.Minute, Grain: "PT1M", Aggregations: []string{"Average"}}
	for _, name := range []string{"CpuUtilizationMillicores", "CpuUtilizationPercentage"} {
		d, _ := find(used, name)
		q.Metrics = append(q.Metrics, d)
	}
	got, err := Answer(Resource{ID: "/r", Region: "local"}, q, samples)
	if err != nil {
		t.Fatal(err)
	}
	if cpu, percent := numbers(got.Value[0]), numbers(got.Value[1]); cpu != "a500 a1000  a1500  " || percent != "a25 a50    " {
		t.Errorf("by the minute: %q, %q", cpu, percent)
	}
	q.Interval, q.Grain, q.To, q.Aggregations = 5*time.Minute, "PT5M", at(10, 0), aggregations
	if got, err = Answer(Resource{ID: "/r", Region: "local"}, q, samples); err != nil {
		t.Fatal(err)
	}
	if cpu := numbers(got.Value[0]); cpu != "a1000<500>1500t3000n3 " {
		t.Errorf("by five minutes: %q", cpu)
	}
	if want := "2026-03-04T05:00:00Z/2026-03-04T05:10:00Z"; got.Timespan != want {
		t.Errorf("timespan %q, want %q", got.Timespan, want)
	}
}

func TestMeasured(t *testing.T) {
	for name, want := range map[string]bool{"CpuUtilizationMillicores": true, "cpuutilizationmillicores": false, "CpuUtilizationPercentage": false, "X": false,
		"RequestsPerMinute": false, "RequestsPerMinute/200": true, "RequestsPerMinute/2000": false, "RequestsPerMinute/": false, "RequestLatency": true, "RequestLatency/200": false} {
		if got := Measured(name); got != want {
			t.Errorf("Measured(%s) = %t, want %t: only what is measured is stored", name, got, want)
		}
	}
	for _, resourceType := range []string{"microsoft.machinelearningservices/workspaces/jobs", serving.EndpointType, serving.DeploymentType} {
		for _, d := range Of(resourceType) {
			for _, name := range []string{d.Part, d.Whole} {
				if d.Part != "" && !Measured(name) {
					t.Errorf("%s is made of %s, which is not measured", d.Name, name)
				}
			}
		}
	}
}

// TestCodes: requests are counted by code; they add up, or are split as a filter asks.
func TestCodes(t *testing.T) {
	samples := []store.Sample{
		sample(1, `{"RequestsPerMinute/200":90,"RequestsPerMinute/404":4,"RequestsPerMinute/503":6,"RequestLatency":1.5}`),
		sample(2, `{"RequestsPerMinute/200":10,"RequestLatency":2.5}`),
	}
	for filter, want := range map[string]string{
		"":                           "a100 a10",
		"statusCode eq '*'":          "200: a90 a10, 404: a4 , 503: a6 ",
		"statuscode EQ '503'":        "503: a6 ",
		"statusCodeClass eq '*'":     "2xx: a90 a10, 4xx: a4 , 5xx: a6 ",
		" statusCodeClass eq '5XX' ": "5xx: a6 ",
		"statusCode eq '999'":        "",
	} {
		q, err := Parse(map[string]string{"metricnames": "RequestsPerMinute,RequestLatency", "$filter": filter, "timespan": "2026-03-04T05:00:00Z/2026-03-04T05:02:00Z"}, Of(serving.EndpointType), epoch)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Answer(Resource{ID: "/r", Region: "local"}, q, samples)
		if err != nil {
			t.Fatal(err)
		}
		var parts []string
		for _, series := range got.Value[0].Timeseries {
			text := numbers(insights.Metric{Timeseries: []insights.Timeseries{series}})
			if len(series.MetadataValues) > 0 {
				text = series.MetadataValues[0].Value + ": " + text
			}
			parts = append(parts, text)
		}
		if text := strings.Join(parts, ", "); text != want {
			t.Errorf("%q: %q, want %q", filter, text, want)
		}
		if latency := numbers(got.Value[1]); latency != "a1.5 a2.5" {
			t.Errorf("%q: latency %q", filter, latency)
		}
	}
}

// FuzzFilter: whatever is asked for, the answer is a filter or says what there is.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"", "statusCode eq '*'", "statusCodeClass eq '5xx'", "statusCode eq '", "x eq '*'"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := parseFilter(text); err == nil && got.Dimension != "" && got.Dimension != byCode && got.Dimension != byClass {
			t.Errorf("%q: %+v", text, got)
		}
	})
}
