package insight

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/arm"
)

// Query is what a client asks for.
type Query struct {
	Metrics []Definition
	// From and To bound the intervals: From is the beginning of the first, To the end of the last.
	From, To time.Time
	// Interval is Grain as a duration.
	Interval time.Duration
	Grain    string
	// Aggregations are of aggregations.
	Aggregations []string
	// Filter is about metrics that have status codes.
	Filter Filter
}

// Step is what is measured at once.
const Step = time.Minute

// maxValues bounds the intervals of one answer.
const maxValues = 31 * 24 * 60

// Parse reads the query parameters metricnames, timespan, interval, aggregation and $filter, by lower-case name; all are the metrics that there are.
func Parse(q map[string]string, all []Definition, now time.Time) (Query, error) {
	out := Query{Grain: grains[0].name, Interval: grains[0].d}
	for _, name := range words(q["metricnames"]) {
		d, ok := find(all, name)
		if !ok {
			return out, arm.Invalid("metricnames", "There is no metric %.80q. There are: %s.", name, strings.Join(names(all), ", "))
		}
		out.Metrics = append(out.Metrics, d)
	}
	if len(out.Metrics) == 0 {
		out.Metrics = all[:1]
	}
	if v := q["interval"]; v != "" {
		i := slices.IndexFunc(grains, func(g grain) bool { return strings.EqualFold(g.name, v) })
		if i < 0 {
			return out, arm.Invalid("interval", "interval=%.40q is not one of %s.", v, grainNames())
		}
		out.Grain, out.Interval = grains[i].name, grains[i].d
	}
	for _, name := range words(q["aggregation"]) {
		i := slices.IndexFunc(aggregations, func(a string) bool { return strings.EqualFold(a, name) })
		if i < 0 {
			return out, arm.Invalid("aggregation", "aggregation=%.40q is not one of %s.", name, strings.Join(aggregations, ", "))
		}
		out.Aggregations = append(out.Aggregations, aggregations[i])
	}
	if len(out.Aggregations) == 0 {
		out.Aggregations = aggregations[:1]
	}
	var err error
	if out.Filter, err = parseFilter(q["$filter"]); err != nil {
		return out, err
	}
	return out, out.span(q["timespan"], now)
}

// span reads "<start>/<end>"; without it, it is the last hour.
func (q *Query) span(text string, now time.Time) error {
	q.From, q.To = now.Add(-time.Hour), now
	if text != "" {
		from, to, _ := strings.Cut(text, "/")
		var errs [2]error
		q.From, errs[0] = time.Parse(time.RFC3339, from)
		q.To, errs[1] = time.Parse(time.RFC3339, to)
		if errs[0] != nil || errs[1] != nil {
			return arm.Invalid("timespan", "timespan=%.80q is not <start>/<end>, such as 2026-03-04T05:00:00Z/2026-03-04T06:00:00Z.", text)
		}
	}
	q.From, q.To = q.From.UTC().Truncate(q.Interval), q.To.UTC()
	if end := q.To.Truncate(q.Interval); end.Before(q.To) {
		q.To = end.Add(q.Interval)
	}
	if !q.From.Before(q.To) {
		return arm.Invalid("timespan", "timespan=%.80q ends before it begins.", text)
	}
	if n := q.To.Sub(q.From) / q.Interval; n > maxValues {
		return arm.Invalid("timespan", "timespan=%.80q has %d intervals of %s; at most %d are allowed. Ask for a shorter time or longer intervals.", text, n, q.Grain, maxValues)
	}
	return nil
}

func (q Query) timespan() string {
	return fmt.Sprintf("%s/%s", q.From.Format(time.RFC3339), q.To.Format(time.RFC3339))
}

func words(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' })
}

func names(all []Definition) []string {
	var out []string
	for _, d := range all {
		out = append(out, d.Name)
	}
	return out
}

func grainNames() string {
	var out []string
	for _, g := range grains {
		out = append(out, g.name)
	}
	return strings.Join(out, ", ")
}
