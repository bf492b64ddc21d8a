package front

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/internal/router/routertest"
	"fairlead.dev/fairlead/internal/router/table"
)

// TestConnections: a connection counts as the endpoint's to which its last request was, whoever reads it, until it ends.
func TestConnections(t *testing.T) {
	s := newServer(t, nil)
	m := s.front.cfg.Meter
	a, b := &table.Endpoint{Name: "digits"}, &table.Endpoint{Name: "faces"}
	var one, two seat
	check := func(digits, faces float64) {
		t.Helper()
		if got := [2]float64{testutil.ToFloat64(m.conns.WithLabelValues("digits")), testutil.ToFloat64(m.conns.WithLabelValues("faces"))}; got != [2]float64{digits, faces} {
			t.Errorf("connections %v, want %v and %v", got, digits, faces)
		}
	}
	one.take(m, a)
	one.take(m, a)
	two.take(m, a)
	check(2, 0)
	two.take(m, b)
	two.take(m, nil)
	check(1, 1)
	one.leave()
	one.leave()
	check(0, 1)
	two.leave()
	check(0, 0)
}

// TestConnections_OfDeleted: of an endpoint that is deleted no connections are told, and of one that comes again those that ask it.
func TestConnections_OfDeleted(t *testing.T) {
	m := NewMeter()
	builder := table.Builder{Log: slog.New(slog.DiscardHandler)}
	both := table.Objects{Endpoints: []*v1alpha1.OnlineEndpoint{routertest.Endpoint("digits", "blue=100"), routertest.Endpoint("faces", "blue=100")}}
	first := builder.Build(both)
	var one, two seat
	one.take(m, first.Endpoint("digits"))
	two.take(m, first.Endpoint("faces"))
	check := func(want string) {
		t.Helper()
		got := ""
		families, err := m.Registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, v := range f.GetMetric() {
				if f.GetName() == "fairlead_router_connections" {
					got += fmt.Sprintf("%s %v ", v.GetLabel()[0].GetValue(), v.GetGauge().GetValue())
				}
			}
		}
		if got != want {
			t.Errorf("connections %q, want %q", got, want)
		}
	}
	check("digits 1 faces 1 ")
	left := builder.Build(table.Objects{Endpoints: both.Endpoints[1:]})
	m.Follow(first, left)
	check("faces 1 ")
	again := builder.Build(both)
	m.Follow(left, again)
	one.take(m, again.Endpoint("digits"))
	two.take(m, again.Endpoint("faces"))
	check("digits 1 faces 1 ")
	one.leave()
	check("digits 0 faces 1 ")
}

// TestConnections_OfBothReaders: over TCP, by the router's own reader and by net/http's.
func TestConnections_OfBothReaders(t *testing.T) {
	for name, odd := range map[string]string{"own": "", "net/http": "Transfer-Encoding: chunked\r\n"} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, nil)
			builder := table.Builder{Log: slog.New(slog.DiscardHandler)}
			routes := builder.Build(table.Objects{Endpoints: []*v1alpha1.OnlineEndpoint{routertest.Endpoint("digits", "blue=100")}})
			s.front.cfg.Table = func() *table.Table { return routes }
			go func() { _ = s.Serve() }()
			caller, err := net.Dial("tcp", s.listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer caller.Close()
			_ = caller.SetDeadline(time.Now().Add(30 * time.Second))
			body := "Content-Length: 0\r\n\r\n"
			if odd != "" {
				body = "\r\n0\r\n\r\n"
			}
			fmt.Fprintf(caller, "POST /api/v1/endpoint/digits/score HTTP/1.1\r\nHost: x\r\n%s%s", odd, body)
			var got bytes.Buffer
			if _, err := io.CopyN(&got, caller, int64(len("HTTP/1.1 401"))); err != nil || got.String() != "HTTP/1.1 401" {
				t.Fatal(got.String(), err)
			}
			until(t, s, 1)
			caller.Close()
			until(t, s, 0)
		})
	}
}

func until(t *testing.T, s *Server, want float64) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; <-time.After(time.Millisecond) {
		got := testutil.ToFloat64(s.front.cfg.Meter.conns.WithLabelValues("digits"))
		if got == want {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%v connections, want %v", got, want)
		}
	}
}
