package front

import (
	"context"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"fairlead.dev/fairlead/internal/router/table"
)

// seat is a caller's connection in the count of those of an endpoint: the one that the last request on it was to.
type seat struct {
	mu    sync.Mutex // requests of HTTP/2 come at once
	of    string
	since int64 // how much the meter had dropped
	count prometheus.Gauge
}

// take moves the connection to an endpoint; a request to none leaves it where it is.
func (s *seat) take(m *Meter, e *table.Endpoint) {
	if e == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	dropped := m.dropped.Load()
	if s.count != nil && s.of == e.Name && s.since == dropped {
		return
	}
	if s.count != nil {
		s.count.Dec()
	}
	s.of, s.since, s.count = e.Name, dropped, m.conns.WithLabelValues(e.Name)
	s.count.Inc()
}

// leave is for the connection's end.
func (s *seat) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count != nil {
		s.count.Dec()
		s.count = nil
	}
}

// seatKey is where the context of net/http's requests has their connection's seat.
type seatKey struct{}

// seatOf is the seat of the connection on which a request of net/http's came, nil outside a Server.
func seatOf(ctx context.Context) *seat {
	if s, ok := ctx.Value(seatKey{}).(*seat); ok {
		return s
	}
	return nil
}
