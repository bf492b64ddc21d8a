package router

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/api/routerload"
	"fairlead.dev/fairlead/internal/router/routertest"
)

// startReplicas runs routers that know each other and one deployment with one place at each pod.
func startReplicas(t *testing.T, n int, pods ...string) []*running {
	t.Helper()
	var all []*running
	var addrs []string
	var open []net.Listener
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		open, addrs = append(open, l), append(addrs, l.Addr().String())
	}
	objects := routertest.One("one", func(d *v1alpha1.OnlineDeployment) { d.Spec.Requests.MaxConcurrentPerInstance = 1 }, pods...)
	for i, addr := range addrs {
		r := start(t, objects, func(c *Config) { c.internal, c.Self = open[i], addr })
		all = append(all, r)
	}
	for _, r := range all {
		r.peers.Set(addrs)
		r.rebuild()
	}
	return all
}

func TestReplicasHoldTheLimitAndWasteNothing(t *testing.T) {
	var now, most atomic.Int64
	handle := func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		<-time.After(2 * time.Millisecond)
	}
	pods := []*backend{serveModel(t, handle), serveModel(t, handle)}
	routers := startReplicas(t, 3, pods[0].addr, pods[1].addr)
	// All through one router, which has less than all places: it borrows the others.
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 40 {
				ask(t, routers[0], "POST", score, "x").want(t, 200, "")
			}
		})
	}
	group.Wait()
	if most.Load() != 2 || pods[0].n.Load() == 0 || pods[1].n.Load() == 0 {
		t.Errorf("at most %d at once at two pods with one place each; they got %d and %d", most.Load(), pods[0].n.Load(), pods[1].n.Load())
	}
	// Through all routers at once the limit holds as well.
	for i := range 9 {
		group.Go(func() {
			for range 40 {
				ask(t, routers[i%3], "POST", score, "x").want(t, 200, "")
			}
		})
	}
	group.Wait()
	if most.Load() != 2 {
		t.Errorf("at most %d at once through three routers, want 2", most.Load())
	}
	for i, r := range routers {
		r.until(t, "nothing left", func(l routerload.Load) bool { return l.Busy+l.Queued == 0 })
		if t.Failed() {
			t.Logf("router %d", i)
		}
	}
}

// A router that dies takes its places with it for no longer than the others need to notice, even while the cluster still lists it.
func TestReplicaDies(t *testing.T) {
	model := serveModel(t, echo)
	routers := startReplicas(t, 3, model.addr)
	owner := 0
	for i, r := range routers {
		if r.peers.Slots(model.addr, 1) == 1 {
			owner = i
		}
	}
	survivor := routers[(owner+1)%3]
	ask(t, survivor, "POST", score, "x").want(t, 200, "x")
	_ = routers[owner].internal.Close()
	for range 20 {
		a, err := try(context.Background(), http.DefaultClient, "http://"+survivor.HTTP, "POST", score, strings.NewReader("x"))
		if err != nil || a.status != 200 {
			t.Fatalf("after the owner of the place died: %d %s %v", a.status, a.body, err)
		}
	}
}
