package cli

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fairlead.dev/fairlead/api/insights"
	"fairlead.dev/fairlead/internal/client"
)

func (a *app) monitor() *cobra.Command {
	metrics := noun("metrics", "Metrics of a resource", a.metricsList(), a.metricsDefinitions())
	return noun("monitor", "What was measured of resources", metrics)
}

// metricsFlags are those of the reference.
type metricsFlags struct {
	resource, interval, from, to, offset, filter string
	metrics, aggregation                         []string
}

func (a *app) metricsList() *cobra.Command {
	var f metricsFlags
	c := a.leaf(&cobra.Command{
		Use: "list", Short: "List values of a resource's metrics",
		Long: `List values of a resource's metrics. Jobs, online endpoints and their deployments have metrics, by the minute, for 30 days; "monitor metrics list-definitions" says which.`,
		Example: `  fairlead monitor metrics list --resource JOB_ID --metrics CpuUtilizationMillicores -o table
  fairlead monitor metrics list --resource JOB_ID --metrics CpuMemoryUtilizationMegabytes --interval 5m --aggregation Maximum --offset 1d
  fairlead monitor metrics list --resource ENDPOINT_ID --metrics RequestsPerMinute --filter "statusCode eq '*'" -o table`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.runMetrics(cmd.Context(), f) },
	})
	fs := c.Flags()
	fs.StringVar(&f.resource, "resource", "", "`id` of the resource")
	multiVar(fs, &f.metrics, "metrics", "space-separated `names` of metrics")
	multiVar(fs, &f.metrics, "metric", "same as --metrics")
	multiVar(fs, &f.aggregation, "aggregation", "space-separated `ways` to put the minutes of an interval together: Average, Count, Maximum, Minimum, Total")
	fs.StringVar(&f.filter, "filter", "", "`which` status codes: statusCode eq '*' for all, each for itself; statusCode eq '503'; statusCodeClass eq '5xx'")
	fs.StringVar(&f.interval, "interval", "1m", "`length` of an interval: 1m, 5m, 15m, 30m, 1h, 6h, 12h, 1d")
	fs.StringVar(&f.from, "start-time", "", "first `time`, such as 2026-03-04T05:06:00Z (default: --offset before the end)")
	fs.StringVar(&f.to, "end-time", "", "last `time` (default: now)")
	fs.StringVar(&f.offset, "offset", "1h", "`length` of the time asked for, when one end is given")
	return c
}

func (a *app) runMetrics(ctx context.Context, f metricsFlags) error {
	if err := require(need{"--resource", f.resource}); err != nil {
		return err
	}
	span, err := f.timespan(time.Now())
	if err != nil {
		return err
	}
	s, err := a.connect()
	if err != nil {
		return err
	}
	q := url.Values{"timespan": {span}, "interval": {isoInterval(f.interval)}}
	if len(f.metrics) > 0 {
		q.Set("metricnames", strings.Join(f.metrics, ","))
	}
	if len(f.aggregation) > 0 {
		q.Set("aggregation", strings.Join(f.aggregation, ","))
	}
	if f.filter != "" {
		q.Set("$filter", f.filter)
	}
	got, err := s.metrics(ctx, f.resource, q)
	if err != nil {
		return err
	}
	if a.output == "table" && a.query == "" {
		return a.print(metricRows(got))
	}
	return a.print(got)
}

// timespan is <start>/<end>.
func (f metricsFlags) timespan(now time.Time) (string, error) {
	offset, err := length(f.offset)
	if err != nil {
		return "", usagef("--offset %q is not a length of time such as 30m, 1h or 7d", f.offset)
	}
	var from, to time.Time
	for flag, t := range map[string]*time.Time{"--start-time": &from, "--end-time": &to} {
		text := map[string]string{"--start-time": f.from, "--end-time": f.to}[flag]
		if text == "" {
			continue
		}
		if *t, err = time.Parse(time.RFC3339, text); err != nil {
			return "", usagef("%s %q is not a time such as 2026-03-04T05:06:00Z", flag, text)
		}
	}
	switch {
	case to.IsZero() && from.IsZero():
		to, from = now, now.Add(-offset)
	case to.IsZero():
		to = from.Add(offset)
	case from.IsZero():
		from = to.Add(-offset)
	}
	return span(from, to), nil
}

func span(from, to time.Time) string {
	return from.UTC().Format(time.RFC3339) + "/" + to.UTC().Format(time.RFC3339)
}

// length reads 30m, 1h30m or 7d.
func length(text string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		d, err := time.ParseDuration(days + "h")
		return 24 * d, err
	}
	return time.ParseDuration(text)
}

// isoInterval turns the reference's short form (5m) into that of the API (PT5M). What is neither, the server refuses by name.
func isoInterval(text string) string {
	switch upper := strings.ToUpper(text); {
	case strings.HasPrefix(upper, "P"):
		return upper
	case strings.HasSuffix(upper, "D"):
		return "P" + upper
	default:
		return "PT" + upper
	}
}

func (s *session) metrics(ctx context.Context, resource string, q url.Values) (insights.Response, error) {
	var out insights.Response
	q.Set("api-version", insights.APIVersion)
	res, err := s.Do(ctx, client.Request{Method: http.MethodGet, Path: insightsPath(resource, "metrics"), Query: q})
	if err != nil {
		return out, err
	}
	return out, res.Decode(&out)
}

func insightsPath(resource, what string) string {
	return "/" + strings.Trim(resource, "/") + "/providers/Microsoft.Insights/" + what
}

// metricRows has a row for each interval of each metric in which something was measured, as the reference's table.
func metricRows(r insights.Response) []map[string]any {
	rows := []map[string]any{}
	for _, m := range r.Value {
		for _, series := range m.Timeseries {
			for _, v := range series.Data {
				row := map[string]any{}
				for name, value := range map[string]*float64{"Average": v.Average, "Count": v.Count, "Maximum": v.Maximum, "Minimum": v.Minimum, "Total": v.Total} {
					if value != nil {
						row[name] = *value
					}
				}
				if len(row) > 0 {
					row["Timestamp"], row["Name"] = v.TimeStamp.Format(time.DateTime), m.Name.Value
					for _, of := range series.MetadataValues {
						row[of.Name.Value] = of.Value
					}
					rows = append(rows, row)
				}
			}
		}
	}
	return rows
}

func (a *app) metricsDefinitions() *cobra.Command {
	var resource string
	c := a.leaf(&cobra.Command{
		Use: "list-definitions", Short: "List the metrics that a resource has", Example: "  fairlead monitor metrics list-definitions --resource JOB_ID -o table",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := require(need{"--resource", resource}); err != nil {
				return err
			}
			s, err := a.connect()
			if err != nil {
				return err
			}
			got, err := s.definitions(cmd.Context(), resource)
			if err != nil {
				return err
			}
			return a.print(got.Value, cols("Name=name.value", "Unit=unit", "Description=displayDescription")...)
		},
	})
	c.Flags().StringVar(&resource, "resource", "", "`id` of the resource")
	return c
}

func (s *session) definitions(ctx context.Context, resource string) (insights.Definitions, error) {
	var out insights.Definitions
	return out, s.Get(ctx, insightsPath(resource, "metricDefinitions"), insights.APIVersion, &out)
}
