package insight

import (
	"encoding/json"
	"fmt"
	"time"

	"fairlead.dev/fairlead/api/insights"
	"fairlead.dev/fairlead/internal/controlplane/store"
)

// minute is what was measured in one; At is its beginning.
type minute struct {
	at     time.Time
	values map[string]float64
}

// Answer puts samples together as a query asks. Samples are named after the end of their minute, intervals after their beginning.
func Answer(r Resource, q Query, samples []store.Sample) (insights.Response, error) {
	out := insights.Response{Timespan: q.timespan(), Interval: q.Grain, Namespace: r.Type, ResourceRegion: r.Region}
	minutes := make([]minute, 0, len(samples))
	for _, s := range samples {
		m := minute{at: s.At.Add(-Step)}
		if err := json.Unmarshal(s.Values, &m.values); err != nil {
			return out, fmt.Errorf("reading a sample of %s: %w", s.At, err)
		}
		minutes = append(minutes, m)
	}
	for _, d := range q.Metrics {
		out.Value = append(out.Value, insights.Metric{
			ID: r.ID + "/providers/Microsoft.Insights/metrics/" + d.Name, Type: "Microsoft.Insights/metrics", Name: d.wireName(),
			DisplayDescription: d.Help, Unit: d.Unit, ErrorCode: "Success",
			Timeseries: d.timeseries(q, minutes),
		})
	}
	return out, nil
}

// of is a metric's value in a minute.
func (d Definition) of(m minute) (float64, bool) {
	if d.Part == "" {
		v, ok := m.values[d.Name]
		return v, ok
	}
	part, ok := m.values[d.Part]
	whole := m.values[d.Whole]
	if !ok || whole <= 0 {
		return 0, false
	}
	return 100 * part / whole, true
}

// series has one value for each interval.
func (d Definition) series(q Query, minutes []minute) []insights.Value {
	data := []insights.Value{}
	for at := q.From; at.Before(q.To); at = at.Add(q.Interval) {
		end := at.Add(q.Interval)
		var s sum
		for len(minutes) > 0 && minutes[0].at.Before(end) {
			if v, ok := d.of(minutes[0]); ok && !minutes[0].at.Before(at) {
				s.add(v)
			}
			minutes = minutes[1:]
		}
		data = append(data, s.value(at, q.Aggregations))
	}
	return data
}

// sum gathers the minutes of an interval.
type sum struct {
	n               float64
	total, min, max float64
}

func (s *sum) add(v float64) {
	if s.n == 0 {
		s.min, s.max = v, v
	}
	s.n, s.total, s.min, s.max = s.n+1, s.total+v, min(s.min, v), max(s.max, v)
}

func (s *sum) value(at time.Time, aggregations []string) insights.Value {
	out := insights.Value{TimeStamp: at}
	if s.n == 0 {
		return out
	}
	average := s.total / s.n
	for _, a := range aggregations {
		switch a {
		case "Average":
			out.Average = &average
		case "Minimum":
			out.Minimum = &s.min
		case "Maximum":
			out.Maximum = &s.max
		case "Total":
			out.Total = &s.total
		case "Count":
			out.Count = &s.n
		}
	}
	return out
}
