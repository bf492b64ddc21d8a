package sync

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/link"
)

func (w *world) samples(owner string) (out []string) {
	w.t.Helper()
	got, err := w.st.Samples(w.t.Context(), owner, time.Unix(0, 0), time.Now().Add(time.Hour))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, s := range got {
		out = append(out, string(s.Values))
	}
	return out
}

// TestMetrics: a cluster's samples reach its own jobs only, again and again without harm, and it learns where it was.
func TestMetrics(t *testing.T) {
	w := newWorld(t)
	const foreign = "job/ffffffffffffffffffffffffffffffff"
	w.put(east, job, `{"id":"x"}`)
	w.put(west, foreign, `{"id":"y"}`)
	c := w.client("ext-east", nil)
	now := time.Now().UTC().Truncate(time.Minute)
	sample := func(key string, ago time.Duration, cpu float64) link.Sample {
		return link.Sample{Key: key, Time: now.Add(-ago), Values: map[string]float64{link.MetricCPU: cpu, "Unknown": 1}}
	}
	if got, err := c.MetricsThrough(t.Context()); err != nil || !got.IsZero() {
		t.Fatalf("before the first samples: %v, %v", got, err)
	}
	all := []link.Sample{sample(job, 2*time.Minute, 100), sample(job, time.Minute, 900), sample(foreign, time.Minute, 1), sample("job/"+strings.Repeat("0", 32), time.Minute, 1)}
	for range 2 {
		if err := c.PostMetrics(t.Context(), all, now); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(w.samples(strings.TrimPrefix(job, "job/")), " "); got != `{"CpuUtilizationMillicores":100} {"CpuUtilizationMillicores":900}` {
		t.Errorf("samples of the job: %s", got)
	}
	if got := w.samples(strings.TrimPrefix(foreign, "job/")); len(got) != 0 {
		t.Errorf("a cluster wrote samples of another's job: %s", got)
	}
	if got, err := c.MetricsThrough(t.Context()); err != nil || !got.Equal(now) {
		t.Errorf("through %v, %v; want %v", got, err, now)
	}
	if got, err := w.client("agent-west", nil).MetricsThrough(t.Context()); err != nil || !got.IsZero() {
		t.Errorf("another cluster's mark is %v, %v", got, err)
	}
}

// TestServingSamples: samples of endpoints and deployments are their resources', which outlive a cluster's names.
func TestServingSamples(t *testing.T) {
	w := newWorld(t)
	w.put(east, "endpoint/digits", `{"resource":"/subscriptions/S/digits"}`)
	w.put(east, "deployment/digits/blue", `{"resource":"/subscriptions/S/digits/deployments/blue"}`)
	w.put(west, "endpoint/others", `{"resource":"/subscriptions/S/others"}`)
	now := time.Now().UTC().Truncate(time.Minute)
	values := map[string]float64{"RequestsPerMinute/200": 7, "RequestsPerMinute/x": 1, link.MetricLatencyP99: 2.5}
	var all []link.Sample
	for _, key := range []string{"endpoint/digits", "deployment/digits/blue", "deployment/digits/blu", "endpoint/others"} {
		all = append(all, link.Sample{Key: key, Time: now, Values: values})
	}
	if err := w.client("ext-east", nil).PostMetrics(t.Context(), all, now); err != nil {
		t.Fatal(err)
	}
	const want = `[{"RequestLatency_P99":2.5,"RequestsPerMinute/200":7}]`
	for owner, want := range map[string]string{"/subscriptions/s/digits": want, "/subscriptions/s/digits/deployments/blue": want, "/subscriptions/s/others": "[]"} {
		if got := fmt.Sprint(w.samples(owner)); got != want {
			t.Errorf("samples of %s: %s, want %s", owner, got, want)
		}
	}
}

// TestManySamples: what is more than one request may hold goes in several, and the mark comes with the last.
func TestManySamples(t *testing.T) {
	w := newWorld(t)
	w.put(east, job, `{"id":"x"}`)
	now := time.Now().UTC().Truncate(time.Minute)
	var all []link.Sample
	for i := range link.MaxSamples + 1 {
		all = append(all, link.Sample{Key: job, Time: now.Add(-time.Duration(i) * time.Minute), Values: map[string]float64{link.MetricCPU: 1}})
	}
	if err := w.client("ext-east", nil).PostMetrics(t.Context(), all, now); err != nil {
		t.Fatal(err)
	}
	if got := len(w.samples(strings.TrimPrefix(job, "job/"))); got != len(all) {
		t.Errorf("%d samples are kept, want %d", got, len(all))
	}
}

func TestMetricsRefused(t *testing.T) {
	w := newWorld(t)
	now := time.Now().UTC().Truncate(time.Minute)
	values := map[string]float64{link.MetricCPU: 1}
	for name, c := range map[string]struct {
		token   string
		sample  link.Sample
		through time.Time
		status  int
		want    string
	}{
		"not a job":     {"ext-east", link.Sample{Key: "nodes", Time: now, Values: values}, now, 400, "samples[0].key"},
		"mid minute":    {"ext-east", link.Sample{Key: job, Time: now.Add(time.Second), Values: values}, now, 400, "end of a minute"},
		"in the future": {"ext-east", link.Sample{Key: job, Time: now.Add(time.Hour), Values: values}, now, 400, "set the clocks"},
		"future mark":   {"ext-east", link.Sample{Key: job, Time: now, Values: values}, now.Add(time.Hour), 400, "set the clocks"},
		"a user":        {"user", link.Sample{Key: job, Time: now, Values: values}, now, 403, "User"},
	} {
		err := w.client(c.token, nil).PostMetrics(t.Context(), []link.Sample{c.sample}, c.through)
		var se *link.StatusError
		if !errors.As(err, &se) || se.Status != c.status || !strings.Contains(se.Message, c.want) {
			t.Errorf("%s: %v; want %d with %q", name, err, c.status, c.want)
		}
	}
	res, err := w.srv.Client().Post(w.srv.URL+link.MetricsPath, "application/json", strings.NewReader("{}"))
	if err != nil || res.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a token: %v %v, want 401", res, err)
	}
}
