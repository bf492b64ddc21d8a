package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
)

// servingMetrics is the command that sums up what was measured of an endpoint or a deployment.
func (a *app) servingMetrics(k kind, noun, what, names string) *cobra.Command {
	var offset string
	c := &cobra.Command{
		Use: "metrics", Short: "Show how " + what + " was used: requests by status code, latency, and what its pods used",
		Long: `Show how ` + what + ` was used in the last hour, or as --offset says. It is measured by the minute, is there a minute and a half later, and is
kept for 30 days, longer than the pods. Requests are those of a minute, latencies milliseconds. "monitor metrics list" gives the values one by one.`,
		Example: "  fairlead ml " + noun + " metrics " + names + " -g G -w W -o table\n  fairlead ml " + noun + " metrics " + names + " --offset 1d -g G -w W -o table",
	}
	c.Flags().StringVar(&offset, "offset", "1h", "`length` of the time until now: 30m, 1h, 7d")
	return a.about(k.one, c, func(ctx context.Context, p place) error {
		back, err := length(offset)
		if err != nil || back <= 0 {
			return usagef("--offset %q is not a length of time such as 30m, 1h or 7d", offset)
		}
		now := time.Now()
		rows, err := p.summaries(ctx, p.path, span(now.Add(-back), now), "statusCode eq '*'")
		if err != nil {
			return err
		}
		return a.print(rows, jobMetricsColumns...)
	})
}
