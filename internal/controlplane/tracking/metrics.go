package tracking

import (
	"slices"

	"fairlead.dev/fairlead/internal/controlplane/store"
)

// Limits of what is answered of histories.
const (
	maxHistory = 25000
	maxRuns    = 100
)

func getHistory(c *call) (any, error) {
	var req struct {
		runRef
		Key        string   `json:"metric_key"`
		MaxResults *integer `json:"max_results"`
		PageToken  string   `json:"page_token"`
	}
	if err := c.decode(&req); err != nil {
		return nil, err
	}
	if err := required("metric_key", req.Key); err != nil {
		return nil, err
	}
	from, err := parsePage(req.PageToken)
	if err != nil {
		return nil, err
	}
	all, err := c.history(req.id(), req.Key)
	if err != nil {
		return nil, err
	}
	limit, err := limited(req.MaxResults, maxHistory, 1<<31-1)
	if err != nil {
		return nil, err
	}
	some, next := cut(all, from, min(limit, maxHistory))
	out := make([]wireMetric, len(some))
	for i, m := range some {
		out[i] = metricOf(m)
	}
	return listed("metrics", out, next), nil
}

// maxReads is how many histories are read at once: each whole, for every page of it, since its points are put in order of time.
const maxReads = 4

// history reads a metric's points, in turn with other requests.
func (c *call) history(id, key string) ([]store.TrackedMetric, error) {
	select {
	case c.reads <- struct{}{}:
		defer func() { <-c.reads }()
	case <-c.ctx.Done():
		return nil, c.ctx.Err()
	}
	run, err := c.run(c.store(), id)
	if err != nil {
		return nil, err
	}
	return c.store().TrackedHistory(c.ctx, run.Seq, key)
}

// bulk is a request for the histories of several runs.
type bulk struct {
	Run        []string `json:"run_id"`
	Runs       []string `json:"run_ids"`
	Key        string   `json:"metric_key"`
	MaxResults *integer `json:"max_results"`
	Start      *integer `json:"start_step"`
	End        *integer `json:"end_step"`
}

func (c *call) bulk() (bulk, int, error) {
	var req bulk
	if err := c.decode(&req); err != nil {
		return req, 0, err
	}
	req.Runs = append(req.Runs, req.Run...)
	if len(req.Runs) == 0 || len(req.Runs) > maxRuns {
		return req, 0, invalid("GetMetricHistoryBulk request must specify at least one run_id and at most %d, not %d.", maxRuns, len(req.Runs))
	}
	if err := required("metric_key", req.Key); err != nil {
		return req, 0, err
	}
	slices.Sort(req.Runs)
	limit := maxHistory
	if req.MaxResults != nil {
		limit = min(max(int(*req.MaxResults), 1), maxHistory)
	}
	return req, limit, nil
}

func getHistories(c *call) (any, error) {
	req, limit, err := c.bulk()
	if err != nil {
		return nil, err
	}
	return c.histories(slices.Compact(req.Runs), req.Key, func(out, all []wireMetric) []wireMetric {
		return append(out, all[:min(len(all), limit-len(out))]...)
	})
}

func (c *call) histories(ids []string, key string, take func(out, all []wireMetric) []wireMetric) (any, error) {
	out := []wireMetric{}
	for _, id := range ids {
		points, err := c.history(id, key)
		if p := problemOf(err); p != nil && p.Code == codeAbsent {
			continue
		}
		if err != nil {
			return nil, err
		}
		all := make([]wireMetric, len(points))
		for i, m := range points {
			all[i] = metricOf(m)
			all[i].RunID = id
		}
		out = take(out, all)
	}
	return map[string]any{"metrics": out}, nil
}

// getIntervals answers with points at even distances, so that many fit into a chart.
func getIntervals(c *call) (any, error) {
	req, limit, err := c.bulk()
	if err != nil {
		return nil, err
	}
	each := min(max(limit, 1), 2500)
	return c.histories(slices.Compact(req.Runs), req.Key, func(out, all []wireMetric) []wireMetric {
		all = slices.DeleteFunc(all, func(m wireMetric) bool {
			return req.Start != nil && m.Step < *req.Start || req.End != nil && m.Step > *req.End
		})
		if len(all) <= each {
			return append(out, all...)
		}
		for i := range each - 1 {
			out = append(out, all[i*len(all)/each])
		}
		return append(out, all[len(all)-1])
	})
}
