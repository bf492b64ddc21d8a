package router

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/api/routerload"
	"fairlead.dev/fairlead/internal/router/routertest"
	"fairlead.dev/fairlead/internal/testing/freeport"
)

// refusing is an address at which nobody listens.
func refusing(t *testing.T) string {
	return freeport.Address(t)
}

func TestPodsThatRefuseAreGoneAround(t *testing.T) {
	model := serveModel(t, echo)
	r := start(t, routertest.One("one", nil, refusing(t), model.addr, refusing(t)), nil)
	for range 50 {
		ask(t, r, "POST", score, "x").want(t, 200, "POST /score x")
	}
}

// dropping reads a request and closes the connection without an answer.
func dropping(t *testing.T) *backend {
	return serveModel(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	})
}

func TestWhatWasSentIsNotSentAgain(t *testing.T) {
	bad := dropping(t)
	r := start(t, routertest.One("one", nil, bad.addr), nil)
	ask(t, r, "POST", score, "x").want(t, 502, "ended the connection without an answer")
	if bad.n.Load() != 1 {
		t.Errorf("the request was sent %d times", bad.n.Load())
	}
	before := bad.n.Load()
	ask(t, r, "GET", "/api/v1/endpoint/one/swagger.json", "").want(t, 502, "")
	if n := bad.n.Load() - before; n < 2 {
		t.Errorf("a GET was tried %d times", n)
	}
}

func TestPodsThatFailAreLeftAlone(t *testing.T) {
	bad, good := dropping(t), serveModel(t, echo)
	r := start(t, routertest.One("one", nil, bad.addr, good.addr), nil)
	for range 200 {
		ask(t, r, "POST", score, "x")
	}
	// Five failures eject it for a second, so it may have come back; without ejection it would get about 100.
	if n := bad.n.Load(); n < 5 || n > 60 {
		t.Errorf("the failing pod got %d of 200 requests", n)
	}
}

// hammer asks from several callers until told to stop, and counts what went well and what did not.
type hammer struct {
	ok, failed atomic.Int64
	first      atomic.Pointer[string]
	stop       func()
}

func startHammer(r *running, callers int) *hammer {
	h := &hammer{}
	ctx, cancel := context.WithCancel(context.Background())
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for ctx.Err() == nil {
				a, err := try(context.Background(), client, "http://"+r.HTTP, "POST", score, strings.NewReader("x"))
				if err == nil && a.status == 200 {
					h.ok.Add(1)
					continue
				}
				h.failed.Add(1)
				text := fmt.Sprint(a.status, a.body, err)
				h.first.CompareAndSwap(nil, &text)
			}
		})
	}
	h.stop = func() {
		cancel()
		group.Wait()
		client.CloseIdleConnections()
	}
	return h
}

func (h *hammer) after(t *testing.T, n int64) {
	t.Helper()
	deadline := time.After(time.Minute)
	for start := h.ok.Load(); h.ok.Load() < start+n; {
		select {
		case <-deadline:
			t.Fatalf("%d answers in a minute", h.ok.Load()-start)
		case <-time.After(time.Millisecond):
		}
	}
}

func TestRoutesChangeUnderLoad(t *testing.T) {
	blue, green := serveModel(t, says("blue")), serveModel(t, says("green"))
	objects := routertest.One("one", nil, blue.addr)
	objects.Deployments = append(objects.Deployments, routertest.Deployment("one", "green"))
	r := start(t, objects, nil)
	h := startHammer(r, 8)
	for i := range 50 {
		// Traffic, pods, limits and the other endpoint's key change, all at once.
		next := objects
		traffic, slices := "blue=100", routertest.Slices("one", "blue", blue.addr)
		switch i % 3 {
		case 1:
			traffic, slices = "green=100", append(slices, routertest.Slices("one", "green", green.addr)...)
		case 2:
			slices = routertest.Slices("one", "blue", green.addr)
		}
		next.Endpoints = []*v1alpha1.OnlineEndpoint{routertest.Endpoint("one", traffic), routertest.Endpoint(fmt.Sprintf("other-%d", i), "blue=100")}
		changed := routertest.Deployment("one", "blue")
		changed.Spec.Requests.MaxConcurrentPerInstance = int32(1 + i%4)
		next.Deployments = []*v1alpha1.OnlineDeployment{changed, objects.Deployments[1]}
		next.Slices = slices
		if i%3 != 1 {
			next.Slices = append(next.Slices, routertest.Slices("one", "green", green.addr)...)
		}
		r.Follow(next)
		h.after(t, 20)
	}
	h.stop()
	if h.failed.Load() != 0 {
		t.Errorf("%d of %d requests failed, first: %s", h.failed.Load(), h.ok.Load(), *h.first.Load())
	}
	if blue.n.Load() == 0 || green.n.Load() == 0 {
		t.Error("a deployment got nothing")
	}
}

func TestPodDiesUnderLoad(t *testing.T) {
	pods := []*backend{serveModel(t, echo), serveModel(t, echo)}
	objects := routertest.One("one", func(d *v1alpha1.OnlineDeployment) { d.Spec.Requests.MaxConcurrentPerInstance = 4 }, pods[0].addr, pods[1].addr)
	r := start(t, objects, nil)
	h := startHammer(r, 8)
	h.after(t, 200)
	pods[0].Listener.Close()
	pods[0].CloseClientConnections()
	h.after(t, 200) // while the table still has it
	r.Follow(routertest.One("one", nil, pods[1].addr))
	h.after(t, 200)
	h.stop()
	if n := h.failed.Load(); n > 4 {
		t.Errorf("%d requests failed; only the 4 in flight on the dead pod may, first: %s", n, *h.first.Load())
	}
}

func TestScaleFromZero(t *testing.T) {
	const held = 10000
	model := serveModel(t, echo)
	asleep := func(d *v1alpha1.OnlineDeployment) {
		d.Spec.Scale.Min = 0
		d.Spec.Requests.MaxQueueWaitMilliseconds = 1 // counts only when there are pods
		d.Spec.Requests.MaxConcurrentPerInstance = 32
	}
	r := start(t, routertest.One("one", asleep), nil)
	transport := &http.Transport{Protocols: new(http.Protocols)} // 10,000 requests in a few connections
	transport.Protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: transport}
	var failed atomic.Int64
	var group sync.WaitGroup
	for range held {
		group.Go(func() {
			if a, err := try(context.Background(), client, "http://"+r.HTTP, "POST", score, strings.NewReader("x")); err != nil || a.status != 200 {
				failed.Add(1)
			}
		})
	}
	r.until(t, "all in line", func(l routerload.Load) bool { return l.Queued == held })
	r.Follow(routertest.One("one", asleep, model.addr))
	group.Wait()
	if failed.Load() != 0 {
		t.Errorf("%d of %d held requests were lost", failed.Load(), held)
	}
}

// That a caller is slow to send, or gives up while it sends, is no fault of the pod, however often.
func TestSlowUploads(t *testing.T) {
	model := serveModel(t, echo)
	r := start(t, routertest.One("one", func(d *v1alpha1.OnlineDeployment) { d.Spec.Requests.TimeoutMilliseconds = 2000 }, model.addr), nil)
	begin := func(length int) net.Conn {
		conn := r.dial(t)
		_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\nbegun", score, routertest.Key("one"), length)
		return conn
	}
	for _, length := range []int{100, 100 << 10} { // what is read before it waits for a pod, and what is not
		var group sync.WaitGroup
		for range 12 { // more than eject a pod
			begin(length).Close()
			conn := begin(length)
			group.Go(func() {
				defer conn.Close()
				if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || res.StatusCode != http.StatusRequestTimeout {
					t.Errorf("of %d bytes: %+v %v", length, res, err)
				}
			})
		}
		group.Wait()
		ask(t, r, "POST", score, "x").want(t, 200, "POST /score x")
	}
	// One that takes longer than the pod may, but goes on, is served.
	body := strings.Repeat("x", 250<<10)
	pr, pw := io.Pipe()
	go func() {
		for i := 0; i < len(body); i += 50 << 10 {
			_, _ = io.WriteString(pw, body[i:i+50<<10])
			<-time.After(500 * time.Millisecond)
		}
		pw.Close()
	}()
	a, err := try(t.Context(), http.DefaultClient, "http://"+r.HTTP, "POST", score, pr)
	if err != nil {
		t.Fatal(err)
	}
	if a.want(t, 200, "POST /score "); len(a.body) != len(body)+len("POST /score ") {
		t.Errorf("%d bytes", len(a.body))
	}
}

// silent is an address that takes no connection, and does not say so: its backlog is full.
func silent(t *testing.T) string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	for {
		conn, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { conn.Close() })
	}
}

// That a pod takes no connection counts as its time, too.
func TestPodsThatAreSilent(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		r := start(t, routertest.One("one", func(d *v1alpha1.OnlineDeployment) { d.Spec.Requests.TimeoutMilliseconds = 300 }, silent(t)), nil)
		begin := time.Now()
		ask(t, r, "POST", score, "x").want(t, 504, "RequestTimeout")
		if took := time.Since(begin); took > 1800*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
}
