package metrics

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/internal/link"
)

// maxAnswer bounds what is read of one answer.
const maxAnswer = 64 << 20

// prometheus asks a Prometheus server.
type prometheus struct {
	base   string
	client *http.Client
}

func newPrometheus(base string) prometheus {
	return prometheus{base: strings.TrimSuffix(base, "/"), client: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		IdleConnTimeout: time.Minute, DisableCompression: true, // no proxy: it is in the cluster
	}}}
}

// ping reports whether Prometheus answers queries.
func (p prometheus) ping(ctx context.Context) error {
	_, err := p.get(ctx, "/api/v1/query", url.Values{"query": {"vector(1)"}})
	return err
}

// series is the values of one metric of one thing.
type series struct {
	Metric map[string]string    `json:"metric"`
	Values [][2]json.RawMessage `json:"values"`
}

// samples are those of the minutes that end at from, to and between, by time and key.
func (p prometheus) samples(ctx context.Context, from, to time.Time) ([]link.Sample, error) {
	found := samples{}
	for _, q := range queries {
		many, err := p.queryRange(ctx, q.query, from, to)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", q.metric, err)
		}
		for _, s := range many {
			key, metric := q.of(s.Metric), q.metric
			if code := s.Metric["code"]; code != "" {
				metric += "/" + code
			}
			for _, pair := range s.Values {
				at, value, err := point(pair)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", q.metric, err)
				}
				if key != "" && !math.IsNaN(value) && !math.IsInf(value, 0) {
					found.add(key, at, metric, value)
				}
			}
		}
	}
	return found.inOrder(), nil
}

// samples are values by what they are of and the minute.
type samples map[minute]map[string]float64

type minute struct {
	key string
	at  int64
}

func (s samples) add(key string, at int64, metric string, value float64) {
	m := minute{key, at}
	if s[m] == nil {
		s[m] = map[string]float64{}
	}
	s[m][metric] = math.Round(value*1000) / 1000
}

func (s samples) inOrder() []link.Sample {
	out := make([]link.Sample, 0, len(s))
	for m, values := range s {
		out = append(out, link.Sample{Key: m.key, Time: time.Unix(m.at, 0).UTC(), Values: values})
	}
	slices.SortFunc(out, func(a, b link.Sample) int { return cmp.Or(a.Time.Compare(b.Time), strings.Compare(a.Key, b.Key)) })
	return out
}

// point is a time and a value: [1700000000, "0.5"].
func point(pair [2]json.RawMessage) (at int64, value float64, err error) {
	var seconds float64
	var text string
	if err = json.Unmarshal(pair[0], &seconds); err == nil {
		err = json.Unmarshal(pair[1], &text)
	}
	if err == nil {
		value, err = strconv.ParseFloat(text, 64)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("reading a value: %w", err)
	}
	return int64(math.Round(seconds)), value, nil
}

func (p prometheus) queryRange(ctx context.Context, query string, from, to time.Time) ([]series, error) {
	data, err := p.get(ctx, "/api/v1/query_range", url.Values{"query": {query}, "step": {strconv.Itoa(int(step / time.Second))},
		"start": {strconv.FormatInt(from.Unix(), 10)}, "end": {strconv.FormatInt(to.Unix(), 10)}})
	if err != nil {
		return nil, err
	}
	var result struct {
		Result []series `json:"result"`
	}
	if err := json.Unmarshal(data, &result); err != nil {
		return nil, fmt.Errorf("reading its answer: %w", err)
	}
	return result.Result, nil
}

// get asks and gives the answer's data.
func (p prometheus) get(ctx context.Context, path string, q url.Values) (json.RawMessage, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+path+"?"+q.Encode(), nil)
	if err != nil {
		return nil, err
	}
	res, err := p.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var answer struct {
		Status string          `json:"status"`
		Error  string          `json:"error"`
		Data   json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s answered %s: %w", p.base, res.Status, err)
	}
	if answer.Status != "success" {
		return nil, fmt.Errorf("%s answered %s: %s", p.base, res.Status, answer.Error)
	}
	return answer.Data, nil
}
