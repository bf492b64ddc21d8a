package front

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Meter measures requests for Prometheus.
type Meter struct {
	Registry *prometheus.Registry
	took     *prometheus.HistogramVec
	queued   *prometheus.HistogramVec
	retries  *prometheus.CounterVec
}

// buckets of durations in seconds: from less than the router adds to the longest timeout.
var buckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// NewMeter makes a Meter with a registry of its own.
func NewMeter() *Meter {
	m := &Meter{
		Registry: prometheus.NewRegistry(),
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "fairlead_router_request_duration_seconds", Buckets: buckets,
			Help: "From a request's first byte to its answer's last, by endpoint, deployment and status code; mirror says that it was a copy."},
			[]string{"endpoint", "deployment", "code", "mirror"}),
		queued: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "fairlead_router_queue_duration_seconds", Buckets: buckets,
			Help: "How long requests waited for a pod, by endpoint and deployment."}, []string{"endpoint", "deployment"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_router_retries_total",
			Help: "Tries at another pod, by endpoint and deployment."}, []string{"endpoint", "deployment"}),
	}
	m.Registry.MustRegister(m.took, m.queued, m.retries)
	return m
}

func (m *Meter) note(c *call, took time.Duration) {
	var endpoint, deployment string
	if c.endpoint != nil {
		endpoint = c.endpoint.Name
	}
	if c.deployment != nil {
		deployment = c.deployment.Name
	}
	m.took.WithLabelValues(endpoint, deployment, strconv.Itoa(c.status), strconv.FormatBool(c.mirrored)).Observe(took.Seconds())
	if c.tries > 0 {
		m.queued.WithLabelValues(endpoint, deployment).Observe(c.queued.Seconds())
	}
	if c.tries > 1 {
		m.retries.WithLabelValues(endpoint, deployment).Add(float64(c.tries - 1))
	}
}
