package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/internal/link"
)

const job = "0123456789abcdef0123456789abcdef"

// plane is a control plane that remembers what it was sent.
type plane struct {
	through time.Time
	samples map[string]float64 // minute → CPU
	posts   int
	down    error
}

func (p *plane) MetricsThrough(context.Context) (time.Time, error) { return p.through, p.down }

func (p *plane) PostMetrics(_ context.Context, samples []link.Sample, through time.Time) error {
	if p.down != nil {
		return p.down
	}
	p.posts++
	for _, s := range samples {
		p.samples[s.Time.Format("15:04")] = s.Values[link.MetricCPU]
	}
	if through.After(p.through) {
		p.through = through
	}
	return nil
}

// source is a Prometheus in which one job uses as many millicores as the minute's number within the hour, from since on.
type source struct {
	since time.Time
	down  bool
	asked []string // "start end" of queries for CPU
}

func (s *source) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case s.down:
		http.Error(w, "starting", http.StatusServiceUnavailable)
	case r.URL.Path != "/api/v1/query_range" || q.Get("step") != "60":
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"status":"error","error":"what is that?"}`)
	case !strings.Contains(q.Get("query"), "1000 / 60 * sum by (job_id)"):
		fmt.Fprint(w, `{"status":"success","data":{"resultType":"matrix","result":[]}}`)
	default:
		start, _ := strconv.ParseInt(q.Get("start"), 10, 64)
		end, _ := strconv.ParseInt(q.Get("end"), 10, 64)
		s.asked = append(s.asked, time.Unix(start, 0).UTC().Format("15:04")+" "+time.Unix(end, 0).UTC().Format("15:04"))
		var values []string
		for at := start; at <= end; at += 60 {
			if at >= s.since.Unix() {
				values = append(values, fmt.Sprintf(`[%d,"%d"]`, at, time.Unix(at, 0).Minute()))
			}
		}
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"job_id":%q},"values":[%s]}]}}`, job, strings.Join(values, ","))
	}
}

type world struct {
	t     *testing.T
	now   time.Time
	plane *plane
	prom  *source
	url   string
}

func at(text string) time.Time {
	t, err := time.Parse(time.DateTime, "2026-03-04 "+text)
	if err != nil {
		panic(err)
	}
	return t
}

func newWorld(t *testing.T, now string) *world {
	w := &world{t: t, now: at(now), plane: &plane{samples: map[string]float64{}}, prom: &source{since: at("00:00:00")}}
	server := httptest.NewServer(w.prom)
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

func (w *world) controller() *Controller {
	return New(Config{ControlPlane: w.plane, Prometheus: w.url, Clock: func() time.Time { return w.now }})
}

func (w *world) catchUp(c *Controller) {
	w.t.Helper()
	if err := c.CatchUp(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func TestCatchUp(t *testing.T) {
	w := newWorld(t, "12:05:25")
	w.plane.through = at("12:02:00")
	c := w.controller()
	w.catchUp(c)
	// 12:01 and 12:02 come again, for what Prometheus may have learned late.
	if diff := cmp.Diff(map[string]float64{"12:01": 1, "12:02": 2, "12:03": 3, "12:04": 4, "12:05": 5}, w.plane.samples); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
	if !w.plane.through.Equal(at("12:05:00")) {
		t.Errorf("through %v", w.plane.through)
	}
	w.now = at("12:06:19")
	w.catchUp(c)
	if w.plane.posts != 1 {
		t.Error("a minute was sent before Prometheus had settled")
	}
	w.now = at("12:06:20")
	w.catchUp(c)
	if w.plane.posts != 2 || w.plane.samples["12:06"] != 6 {
		t.Errorf("the next minute: %d posts, %v", w.plane.posts, w.plane.samples)
	}
}

// TestOutages: whatever was away, every minute that Prometheus has arrives in the end.
func TestOutages(t *testing.T) {
	w := newWorld(t, "12:00:30")
	c := w.controller()
	w.catchUp(c)
	w.plane.down = errors.New("cut")
	w.now = at("12:25:30")
	if err := c.CatchUp(t.Context()); !errors.Is(err, w.plane.down) {
		t.Fatalf("with the control plane away: %v", err)
	}
	w.plane.down, w.prom.down = nil, true
	if err := c.CatchUp(t.Context()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Fatalf("with Prometheus away: %v", err)
	}
	if !w.plane.through.Equal(at("12:00:00")) {
		t.Errorf("through %v although nothing came", w.plane.through)
	}
	w.prom.down, w.prom.asked = false, nil
	w.catchUp(w.controller()) // a process that was killed and started again
	for minute := range 26 {
		if got := w.plane.samples[fmt.Sprintf("12:%02d", minute)]; got != float64(minute) {
			t.Errorf("12:%02d is %v", minute, got)
		}
	}
	if diff := cmp.Diff([]string{"11:59 12:10", "12:09 12:20", "12:19 12:25"}, w.prom.asked); diff != "" {
		t.Errorf("what was asked for (-want +got):\n%s", diff)
	}
}

// TestFirst: a control plane that has nothing is sent what Prometheus keeps, and no more is asked for.
func TestFirst(t *testing.T) {
	w := newWorld(t, "12:00:30")
	w.prom.since = at("11:58:00")
	w.catchUp(w.controller())
	if diff := cmp.Diff(map[string]float64{"11:58": 58, "11:59": 59, "12:00": 0}, w.plane.samples); diff != "" {
		t.Errorf("samples (-want +got):\n%s", diff)
	}
	if first := w.prom.asked[0]; first != "05:59 06:10" {
		t.Errorf("the first question is for %s, want six hours back", first)
	}
}

// TestReady has a Prometheus that never answers, and a clock that the second look at it finds a minute later.
func TestReady(t *testing.T) {
	for name, tt := range map[string]struct {
		down   bool
		passes time.Duration
		ready  bool
	}{
		"Prometheus answers":         {ready: true},
		"Prometheus does not answer": {down: true},
		"nobody made Prometheus":     {down: true, passes: patience + time.Second, ready: true},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tt.down {
					w.WriteHeader(http.StatusServiceUnavailable)
					return
				}
				fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[]}}`)
			}))
			defer server.Close()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			began, looks, ready := at("12:00:00"), 0, false
			c := New(Config{ControlPlane: &stopping{stop: cancel}, Prometheus: server.URL, Clock: func() time.Time {
				looks++
				if looks == 1 {
					return began
				}
				return began.Add(tt.passes)
			}})
			if err := c.Run(ctx, func() { ready = true }); !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			if ready != tt.ready {
				t.Errorf("ready is %v", ready)
			}
		})
	}
}

// stopping is a control plane whose first question ends the controller.
type stopping struct{ stop func() }

func (s *stopping) MetricsThrough(context.Context) (time.Time, error) {
	s.stop()
	return time.Time{}, context.Canceled
}

func (s *stopping) PostMetrics(context.Context, []link.Sample, time.Time) error { return nil }
