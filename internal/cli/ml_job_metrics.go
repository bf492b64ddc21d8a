package cli

import (
	"context"
	"math"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/insights"
	ml "fairlead.dev/fairlead/api/machinelearning"
)

var jobMetricsColumns = cols("Metric=metric", "Unit=unit", "Minimum=minimum", "Average=average", "Maximum=maximum", "Last=last", "Minutes=minutes")

func (a *app) mlJobMetrics() *cobra.Command {
	var t jobTarget
	c := a.leaf(&cobra.Command{
		Use: "metrics", Short: "Show what CPU, memory and GPUs a job used",
		Long: `Show what CPU, memory and GPUs a job used, over all its time and pods. It is measured by the minute and there a minute and a half
later; a job of a few seconds may have none. "monitor metrics list" gives the values one by one.`,
		Example: "  fairlead ml job metrics -n NAME -g G -w W -o table",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, _, path, err := a.job(&t)
			if err != nil {
				return err
			}
			rows, err := s.jobMetrics(cmd.Context(), path, time.Now())
			if err != nil {
				return err
			}
			return a.print(rows, jobMetricsColumns...)
		},
	})
	a.jobFlags(c, &t)
	return c
}

// jobMetrics sums up a job's series from its start to its end, or until now. Metrics of which nothing was measured are left out.
func (s *session) jobMetrics(ctx context.Context, path string, now time.Time) ([]map[string]any, error) {
	rows := []map[string]any{}
	job, err := s.get(ctx, path, apiML)
	if err != nil {
		return nil, err
	}
	props := sub(job, "properties", "properties")
	from, err := time.Parse(time.RFC3339, text(props, ml.PropStartTime))
	if err != nil {
		return rows, nil // it has not started
	}
	to, err := time.Parse(time.RFC3339, text(props, ml.PropEndTime))
	if err != nil {
		to = now
	}
	return s.summaries(ctx, path, span(from, to.Add(time.Minute)), "")
}

// summaries sums up all series of a resource in a time, those that have status codes by code if codes is a filter that splits them.
func (s *session) summaries(ctx context.Context, path, timespan, codes string) ([]map[string]any, error) {
	rows := []map[string]any{}
	known, err := s.definitions(ctx, path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, d := range known.Value {
		names = append(names, d.Name.Value)
	}
	q := url.Values{"metricnames": {strings.Join(names, ",")}, "timespan": {timespan}, "interval": {"PT1M"}}
	if codes != "" {
		q.Set("$filter", codes)
	}
	got, err := s.metrics(ctx, path, q)
	if err != nil {
		return nil, err
	}
	for _, m := range got.Value {
		for _, series := range m.Timeseries {
			if row := summary(m, series); row != nil {
				rows = append(rows, row)
			}
		}
	}
	return rows, nil
}

// summary is the row of a metric's series, or nil.
func summary(m insights.Metric, series insights.Timeseries) map[string]any {
	n, total, least, most, last := 0, 0.0, math.Inf(1), math.Inf(-1), 0.0
	for _, v := range series.Data {
		if v.Average == nil {
			continue
		}
		last = *v.Average
		n, total, least, most = n+1, total+last, min(least, last), max(most, last)
	}
	if n == 0 {
		return nil
	}
	short := func(v float64) float64 { return math.Round(v*10) / 10 }
	name := m.Name.Value
	for _, of := range series.MetadataValues {
		name += " " + of.Value
	}
	return map[string]any{"metric": name, "unit": m.Unit, "minimum": short(least), "average": short(total / float64(n)), "maximum": short(most), "last": short(last), "minutes": n}
}
