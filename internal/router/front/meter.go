package front

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"fairlead.dev/fairlead/internal/router/table"
)

// Meter measures requests for Prometheus.
type Meter struct {
	Registry *prometheus.Registry
	took     *prometheus.HistogramVec
	queued   *prometheus.HistogramVec
	retries  *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	conns    *prometheus.GaugeVec
	dropped  atomic.Int64 // counts what Follow has taken from conns
	mu       sync.RWMutex
	known    map[labels]observers
}

// labels are what a request is counted under.
type labels struct {
	endpoint, deployment string
	status               int
	mirrored             bool
}

// observers are the histograms of one set of labels, since finding them takes longer than adding to them.
type observers struct {
	took, queued prometheus.Observer
	bytes        prometheus.Counter // nil for what is no endpoint's, and for copies
}

// buckets of durations in seconds: from less than the router adds to the longest timeout.
var buckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}

// NewMeter makes a Meter with a registry of its own.
func NewMeter() *Meter {
	m := &Meter{
		Registry: prometheus.NewRegistry(), known: map[labels]observers{},
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "fairlead_router_request_duration_seconds", Buckets: buckets,
			Help: "From a request's first byte to its answer's last, by endpoint, deployment and status code; mirror says that it was a copy."},
			[]string{"endpoint", "deployment", "code", "mirror"}),
		queued: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "fairlead_router_queue_duration_seconds", Buckets: buckets,
			Help: "How long requests waited for a pod, by endpoint and deployment."}, []string{"endpoint", "deployment"}),
		retries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_router_retries_total",
			Help: "Tries at another pod, by endpoint and deployment."}, []string{"endpoint", "deployment"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "fairlead_router_body_bytes_total",
			Help: "Bytes of requests' and answers' bodies, by endpoint."}, []string{"endpoint"}),
		conns: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "fairlead_router_connections",
			Help: "Connections of callers, by the endpoint of their last request."}, []string{"endpoint"}),
	}
	m.Registry.MustRegister(m.took, m.queued, m.retries, m.bytes, m.conns, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
	return m
}

// Follow forgets the connections of endpoints that are not in the next table.
func (m *Meter) Follow(before, next *table.Table) {
	for name, e := range before.Endpoints() {
		if now := next.Endpoint(name); now == nil || now.Name != e.Name {
			m.conns.DeleteLabelValues(e.Name)
			m.dropped.Add(1) // after that, so that seats which were taken meanwhile are taken again
		}
	}
}

func (m *Meter) note(c *call, took time.Duration) {
	l := labels{status: c.status, mirrored: c.mirrored}
	if c.endpoint != nil {
		l.endpoint = c.endpoint.Name
	}
	if c.deployment != nil {
		l.deployment = c.deployment.Name
	}
	o := m.find(l)
	o.took.Observe(took.Seconds())
	if o.bytes != nil {
		o.bytes.Add(float64(c.in.Load() + c.out))
	}
	if c.tries > 0 {
		o.queued.Observe(c.queued.Seconds())
	}
	if c.tries > 1 {
		m.retries.WithLabelValues(l.endpoint, l.deployment).Add(float64(c.tries - 1))
	}
}

func (m *Meter) find(l labels) observers {
	m.mu.RLock()
	o, known := m.known[l]
	m.mu.RUnlock()
	if known {
		return o
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o = observers{took: m.took.WithLabelValues(l.endpoint, l.deployment, strconv.Itoa(l.status), strconv.FormatBool(l.mirrored))}
	if l.endpoint != "" && !l.mirrored {
		o.bytes = m.bytes.WithLabelValues(l.endpoint)
	}
	if l.deployment != "" {
		o.queued = m.queued.WithLabelValues(l.endpoint, l.deployment)
	}
	m.known[l] = o
	return o
}
