//go:build cluster

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// gate is a server that the commands of jobs call: it counts how often each ran, and keeps them until the test lets them end. So a
// fault comes at the very moment that a test means.
type gate struct {
	t       *testing.T
	address string

	mu    sync.Mutex
	runs  map[string]int
	doors map[string]chan struct{}
}

func newGate(t *testing.T) *gate {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(controlPlane(t).Hostname(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{t: t, address: l.Addr().String(), runs: map[string]int{}, doors: map[string]chan struct{}{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/ran/{who...}", func(_ http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.runs[r.PathValue("who")]++
	})
	mux.HandleFunc("/wait/{who...}", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-g.door(r.PathValue("who")):
		case <-r.Context().Done():
		}
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return g
}

func (g *gate) door(who string) chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.doors[who] == nil {
		g.doors[who] = make(chan struct{})
	}
	return g.doors[who]
}

// open lets the command of a job on a node end, and those that come later.
func (g *gate) open(job, node string) { close(g.door(job + "/" + node)) }

// ran is how often the command of a job began on a node.
func (g *gate) ran(job, node string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.runs[job+"/"+node]
}

// awaitRuns waits until the command of a job has begun so often on a node.
func (g *gate) awaitRuns(job, node string, n int, limit time.Duration) {
	g.t.Helper()
	eventually(g.t, limit, fmt.Sprintf("%d runs of %s on %s", n, job, node), func(context.Context) error {
		if got := g.ran(job, node); got < n {
			return fmt.Errorf("it ran %d times", got)
		}
		return nil
	})
}

// command is a job that tells the gate that it runs, counts to 20 with a stop at the gate in the middle, and leaves its node's name as
// output.
func (g *gate) command(job string) string {
	return strings.NewReplacer("GATE", "http://"+g.address, "JOB", job).Replace(
		`command: >-
  call() { python3 -c "import sys, urllib.request as u; u.build_opener(u.ProxyHandler({})).open(sys.argv[1], timeout=900).read()" "GATE/$1/JOB/$NODE_NAME"; };
  call ran && for i in $(seq 1 10); do echo n $i; done && call wait && for i in $(seq 11 20); do echo n $i; done &&
  mkdir -p outputs && echo $NODE_NAME > outputs/node.txt
`)
}

// eventually polls until check is content.
func eventually(t *testing.T, limit time.Duration, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not after %s: %v", what, limit, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
