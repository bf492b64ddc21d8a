package router

import (
	"encoding/json"
	"net"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"fairlead.dev/fairlead/api/routerload"
	"fairlead.dev/fairlead/internal/router/gate"
	"fairlead.dev/fairlead/internal/router/peers"
)

func itoa(n int) string { return strconv.Itoa(n) }

// inside answers the cluster's own parts.
func (r *Router) inside() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !r.ready.Load() {
			http.Error(w, "it has not read the cluster's endpoints yet, or is about to stop", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(r.meter.Registry, promhttp.HandlerOpts{}))
	if r.peers != nil {
		mux.HandleFunc("POST "+peers.LendPath, r.peers.Lend(r.gateOf))
	}
	mux.HandleFunc("GET "+routerload.Path, func(w http.ResponseWriter, req *http.Request) {
		asker, _, err := net.SplitHostPort(req.RemoteAddr)
		if err != nil {
			asker = req.RemoteAddr
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(r.Load(asker)) // The asker is gone.
	})
	return mux
}

func (r *Router) gateOf(deployment string) *gate.Gate {
	if d := r.table.Load().Deployment(deployment); d != nil {
		return d.Gate
	}
	return nil
}

// Load is what the router carries, with peaks since the same asker asked before.
func (r *Router) Load(asker string) routerload.Report {
	report := routerload.Report{Deployments: map[string]routerload.Load{}}
	for key, d := range r.table.Load().Deployments() {
		report.Deployments[key] = d.Gate.Load(asker)
	}
	return report
}

// loads are the gauges of busy and waiting requests.
type loads struct{ r *Router }

var (
	busyDesc   = prometheus.NewDesc("fairlead_router_busy_requests", "Requests that pods are answering, by endpoint and deployment.", []string{"endpoint", "deployment"}, nil)
	queuedDesc = prometheus.NewDesc("fairlead_router_queued_requests", "Requests that wait for a pod, by endpoint and deployment.", []string{"endpoint", "deployment"}, nil)
	podsDesc   = prometheus.NewDesc("fairlead_router_ready_pods", "Pods that requests go to, by endpoint and deployment.", []string{"endpoint", "deployment"}, nil)
)

// Describe implements prometheus.Collector.
func (loads) Describe(ch chan<- *prometheus.Desc) {
	ch <- busyDesc
	ch <- queuedDesc
	ch <- podsDesc
}

// Collect implements prometheus.Collector.
func (l loads) Collect(ch chan<- prometheus.Metric) {
	for _, d := range l.r.table.Load().Deployments() {
		load := d.Gate.Load("metrics")
		for desc, n := range map[*prometheus.Desc]int{busyDesc: load.Busy, queuedDesc: load.Queued, podsDesc: len(d.Pods)} {
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n), d.Endpoint, d.Name)
		}
	}
}
