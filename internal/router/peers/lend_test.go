package peers

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/router/gate"
)

// serveLender serves a router's places under an address.
func serveLender(t *testing.T, g *gate.Gate) (lender *Peers, addr string) {
	lender = New("lender", func() {})
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+LendPath, lender.Lend(func(deployment string) *gate.Gate {
		if deployment == "team/one" {
			return g
		}
		return nil
	}))
	s := httptest.NewUnstartedServer(mux)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	t.Cleanup(s.Close)
	return lender, s.Listener.Addr().String()
}

func TestLend(t *testing.T) {
	g := gate.New(gate.Config{Pods: []gate.Pod{{Addr: "a", Slots: 1}, {Addr: "b", Slots: 1}}})
	lender, addr := serveLender(t, g)
	borrower := New("127.0.0.1:9001", func() {})
	ask := func(deployment string, avoid ...string) (string, func(gate.Outcome), error) {
		return borrower.borrow(t.Context(), addr, deployment, avoid)
	}
	if pod, _, err := ask("team/one"); err == nil {
		t.Errorf("somebody who is no router got a place at %s", pod)
	}
	lender.Set([]string{"10.0.0.1:9001"}, "127.0.0.1:9001")
	if _, _, err := ask("team/other"); err == nil {
		t.Error("got a place of a deployment that is not there")
	}
	pod, back, err := ask("team/one", "a")
	if err != nil || pod != "b" {
		t.Fatalf("got a place at %s, %v; want b", pod, err)
	}
	free := func(ctx context.Context, want string) {
		t.Helper()
		ticket, err := g.Lend(ctx, "a")
		if err != nil || ticket.Addr != want {
			t.Fatalf("the lender has a place at %+v, %v; want %s", ticket, err, want)
		}
		ticket.Release(gate.Unused)
	}
	free(t.Context(), "a") // since b is lent
	back(gate.Refused)
	// Refused: b is left alone for 100 ms, so a is what there is, until then.
	for begin := time.Now(); ; {
		ticket, err := g.Lend(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		got := ticket.Addr
		ticket.Release(gate.Unused)
		if took := time.Since(begin); got == "b" && took < 90*time.Millisecond {
			t.Errorf("b is asked again %v after it refused", took)
		}
		if got == "b" {
			return
		}
	}
}

func TestIsRouter(t *testing.T) {
	p := New("10.0.0.1:9001", func() {})
	p.Set([]string{"10.0.0.1:9001", "[fd00::1]:9001"}, "10.0.0.2:9001")
	for remote, want := range map[string]bool{
		net.JoinHostPort("10.0.0.1", "40000"): true, "10.0.0.2:1": true, "[fd00:0:0::1]:40000": true, "[::ffff:10.0.0.1]:40000": true,
		"10.0.0.3:9001": false, "10.0.0.1": false, "": false, "@": false,
	} {
		if got := p.isRouter(remote); got != want {
			t.Errorf("isRouter(%q) = %t", remote, got)
		}
	}
}

// counting is a context that knows how much is to follow its end.
type counting struct {
	context.Context
	done chan struct{}
	n    atomic.Int64
}

// Done is one of its own: the package would else ask the context within.
func (c *counting) Done() <-chan struct{} { return c.done }

// AfterFunc is what context.AfterFunc looks for.
func (c *counting) AfterFunc(func()) (stop func() bool) {
	c.n.Add(1)
	return sync.OnceValue(func() bool { c.n.Add(-1); return true })
}

// A wish for places outlives many that are not granted; nothing of those stays.
func TestWhatIsNotLentLeavesNothing(t *testing.T) {
	g := gate.New(gate.Config{Pods: []gate.Pod{{Addr: "a", Slots: 1}}})
	_, addr := serveLender(t, g)
	borrower := New("127.0.0.1:9001", func() {})
	ctx := &counting{Context: t.Context(), done: make(chan struct{})}
	for _, peer := range []string{addr, "127.0.0.1:1", "no address"} {
		if pod, _, err := borrower.borrow(ctx, peer, "team/one", nil); err == nil {
			t.Errorf("got a place at %s", pod)
		}
		if n := ctx.n.Load(); n != 0 {
			t.Errorf("%d are left after %s", n, peer)
		}
	}
}
