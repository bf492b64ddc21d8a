package router

import (
	"context"
	"encoding/json"
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

// blocking is a model that answers when it is let go.
type blocking struct {
	*backend
	arrived, release chan struct{}
	most, now        atomic.Int64
}

func serveBlocking(t *testing.T) *blocking {
	b := &blocking{arrived: make(chan struct{}, 1000), release: make(chan struct{})}
	b.backend = serveModel(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // Only then does a server notice that a caller has gone.
		n := b.now.Add(1)
		defer b.now.Add(-1)
		for most := b.most.Load(); n > most && !b.most.CompareAndSwap(most, n); most = b.most.Load() {
		}
		b.arrived <- struct{}{}
		select {
		case <-b.release:
			_, _ = io.WriteString(w, "done")
		case <-r.Context().Done():
		}
	})
	return b
}

func (r *running) load(t *testing.T) routerload.Load {
	t.Helper()
	res, err := http.Get("http://" + r.Internal + routerload.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var report routerload.Report
	if err := json.NewDecoder(res.Body).Decode(&report); err != nil {
		t.Fatal(err)
	}
	for _, l := range report.Deployments {
		return l
	}
	return routerload.Load{}
}

// until waits for a load.
func (r *running) until(t *testing.T, what string, ok func(routerload.Load) bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	for {
		l := r.load(t)
		if ok(l) {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("waiting for %s; load is %+v", what, l)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestConcurrencyAndLoad(t *testing.T) {
	model := serveBlocking(t)
	r := start(t, routertest.One("one", func(d *v1alpha1.OnlineDeployment) { d.Spec.Requests.MaxConcurrentPerInstance = 2 }, model.addr), nil)
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() { ask(t, r, "POST", score, "x").want(t, 200, "done") })
	}
	r.until(t, "2 busy, 8 queued", func(l routerload.Load) bool {
		return l.Busy == 2 && l.Queued == 8 && l.Peak == 10 && model.most.Load() == 2
	})
	close(model.release)
	group.Wait()
	if model.most.Load() != 2 {
		t.Errorf("the pod got %d at once, want 2", model.most.Load())
	}
	if l := r.load(t); l.Busy != 0 || l.Queued != 0 || l.Peak != 10 {
		t.Errorf("at the end %+v, want a peak of 10 since the last look", l)
	}
	if l := r.load(t); l.Peak != 0 {
		t.Errorf("after that %+v", l)
	}
}

func TestQueueWait(t *testing.T) {
	model := serveBlocking(t)
	r := start(t, routertest.One("one", func(d *v1alpha1.OnlineDeployment) {
		d.Spec.Requests.MaxConcurrentPerInstance, d.Spec.Requests.MaxQueueWaitMilliseconds = 1, 30
	}, model.addr), nil)
	var group sync.WaitGroup
	group.Go(func() { ask(t, r, "POST", score, "x").want(t, 200, "done") })
	<-model.arrived
	a := ask(t, r, "POST", score, "x")
	a.want(t, 503, "(overloaded)")
	if a.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	close(model.release)
	group.Wait()
}

func TestNoPods(t *testing.T) {
	r := start(t, routertest.One("one", func(d *v1alpha1.OnlineDeployment) { d.Spec.Requests.MaxQueueWaitMilliseconds = 10 }), nil)
	ask(t, r, "POST", score, "x").want(t, 503, "has no pod that is ready")
}

func TestCallerThatLeavesTheLine(t *testing.T) {
	model := serveBlocking(t)
	r := start(t, routertest.One("one", func(d *v1alpha1.OnlineDeployment) { d.Spec.Requests.MaxConcurrentPerInstance = 1 }, model.addr), nil)
	var group sync.WaitGroup
	group.Go(func() { ask(t, r, "POST", score, "x") })
	<-model.arrived
	ctx, cancel := context.WithCancel(t.Context())
	group.Go(func() {
		_, _ = try(ctx, http.DefaultClient, "http://"+r.HTTP, "POST", score, strings.NewReader("a body that nobody has read"))
	})
	r.until(t, "one in line", func(l routerload.Load) bool { return l.Queued == 1 })
	cancel()
	r.until(t, "an empty line", func(l routerload.Load) bool { return l.Queued == 0 && l.Busy == 1 })
	close(model.release)
	group.Wait()
}

func TestTimeout(t *testing.T) {
	model := serveBlocking(t)
	r := start(t, routertest.One("one", func(d *v1alpha1.OnlineDeployment) { d.Spec.Requests.TimeoutMilliseconds = 30 }, model.addr), nil)
	ask(t, r, "POST", score, "x").want(t, 504, "Request times out")
	r.until(t, "the place given back", func(l routerload.Load) bool { return l.Busy == 0 })
}

func TestTimeoutEndsWithTheFirstByte(t *testing.T) {
	more := make(chan struct{})
	model := serveModel(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for range 3 {
			_, _ = io.WriteString(w, "data: token\n\n")
			w.(http.Flusher).Flush()
			<-more
		}
	})
	const timeout = 50 * time.Millisecond
	r := start(t, routertest.One("one", func(d *v1alpha1.OnlineDeployment) { d.Spec.Requests.TimeoutMilliseconds = timeout.Milliseconds() }, model.addr), nil)
	req, _ := http.NewRequestWithContext(t.Context(), "POST", "http://"+r.HTTP+score, nil)
	req.Header.Set("Authorization", "Bearer "+routertest.Key("one"))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	for range 3 {
		event := make([]byte, len("data: token\n\n"))
		if _, err := io.ReadFull(res.Body, event); err != nil {
			t.Fatalf("the stream broke off: %v", err)
		}
		<-time.After(2 * timeout)
		more <- struct{}{}
	}
}

func TestDrain(t *testing.T) {
	model := serveBlocking(t)
	r := start(t, routertest.One("one", nil, model.addr), nil)
	var group sync.WaitGroup
	group.Go(func() { ask(t, r, "POST", score, "x").want(t, 200, "done") })
	<-model.arrived
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	for { // until it takes no more connections
		conn, err := net.Dial("tcp", r.HTTP)
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	close(model.release)
	group.Wait()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
