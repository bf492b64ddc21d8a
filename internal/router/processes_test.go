package router

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"fairlead.dev/fairlead/api/k8s/v1alpha1"
	"fairlead.dev/fairlead/api/routerload"
	"fairlead.dev/fairlead/internal/router/routertest"
)

// Roles of this test's binary when it is started as a part of a cluster.
const (
	roleEnv   = "FAIRLEAD_ROUTER_TEST_ROLE"
	asRouter  = "router"
	asModel   = "model"
	asCallers = "callers"
	namespace = "azureml"
)

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(roleEnv) {
	case asRouter:
		err = runRouter(os.Args[1], os.Args[2])
	case asModel:
		err = runModel(os.Args[1])
	case asCallers:
		err = runCallers(os.Args[1], os.Args[2])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runRouter is what the router's main does, at an address of the loopback that plays the pod's.
func runRouter(ip, api string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	self := internalAddr(ip)
	r, err := New(Config{HTTPAddr: httpAddr(ip), InternalAddr: self, Self: self, Namespace: namespace, Drain: time.Minute, AccessLog: io.Discard}, slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	return r.Run(ctx, &rest.Config{Host: "http://" + api, QPS: -1})
}

func httpAddr(ip string) string     { return net.JoinHostPort(ip, "8080") }
func internalAddr(ip string) string { return net.JoinHostPort(ip, itoa(routerload.Port)) }

// runModel takes five milliseconds for an answer.
func runModel(addr string) error {
	return http.ListenAndServe(addr, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-time.After(5 * time.Millisecond)
		_, _ = io.WriteString(w, addr)
	}))
}

// process is a part of the cluster that can be killed.
type process struct {
	t    *testing.T
	addr string // where it answers: a router's IP, a model's address
	cmd  *exec.Cmd
	once sync.Once
	died time.Time
}

func spawn(t *testing.T, role string, args ...string) *process {
	t.Helper()
	p := &process{t: t, addr: args[0], cmd: exec.Command(os.Args[0], args...)}
	p.cmd.Env, p.cmd.Stderr = append(os.Environ(), roleEnv+"="+role), t.Output()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// kill ends it at once; what is sent to it afterwards is refused.
func (p *process) kill() {
	p.once.Do(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.died = time.Now()
	})
}

// scene is a cluster of processes.
type scene struct {
	t       *testing.T
	net     string
	api     *apiServer
	routers []*process
	models  []*process
}

func newScene(t *testing.T) *scene {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has all of 127.0.0.0/8 on the loopback")
	}
	s := &scene{t: t, net: fmt.Sprintf("127.%d.%d.", 10+rand.IntN(200), 1+rand.IntN(250)), api: newAPIServer(t)}
	for range 3 {
		s.addModel()
	}
	for range 3 {
		s.addRouter()
	}
	s.publish(s.routers, s.models)
	return s
}

func (s *scene) addModel() *process {
	addr := refusing(s.t)
	s.models = append(s.models, spawn(s.t, asModel, addr))
	s.until("a model", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	return s.models[len(s.models)-1]
}

func (s *scene) addRouter() *process {
	r := spawn(s.t, asRouter, s.net+itoa(len(s.routers)+1), s.api.addr)
	s.routers = append(s.routers, r)
	return r
}

// publish has the API server say that these are there.
func (s *scene) publish(routers, models []*process) {
	var addrs, ips []string
	for _, m := range models {
		addrs = append(addrs, m.addr)
	}
	for _, r := range routers {
		ips = append(ips, r.addr)
	}
	o := routertest.One("one", func(d *v1alpha1.OnlineDeployment) { d.Spec.Requests.MaxConcurrentPerInstance = 6 }, addrs...)
	o.Slices = append(o.Slices, &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "azureml-fe",
		Labels: map[string]string{discoveryv1.LabelServiceName: v1alpha1.RouterService}}})
	for _, ip := range ips {
		slice := o.Slices[len(o.Slices)-1]
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{ip}})
	}
	s.api.set(o)
}

func (s *scene) until(what string, ok func() bool) {
	s.t.Helper()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-deadline:
			s.t.Fatalf("waited a minute for %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *scene) ready(r *process) bool {
	res, err := http.Get("http://" + internalAddr(r.addr) + "/readyz")
	if err != nil {
		return false
	}
	_ = res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// loss is a request without a good answer.
type loss struct {
	router string
	began  time.Time
	what   string
}

// load asks 500 times a second, whatever becomes of it, one router after the other as a Service does. A router that refuses the connection
// has seen nothing, so another is asked.
type load struct {
	answered atomic.Int64
	mu       sync.Mutex
	routers  []string
	lost     []loss
	models   map[string]int
}

const everyRequest = 2 * time.Millisecond

func (s *scene) startLoad() (l *load, stop func()) {
	l = &load{models: map[string]int{}}
	l.to(s.routers...)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100}}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		tick := time.NewTicker(everyRequest)
		defer tick.Stop()
		for n, due := 0, time.Now(); ctx.Err() == nil; <-tick.C {
			for ; due.Before(time.Now()); due, n = due.Add(everyRequest), n+1 {
				nth := n
				group.Go(func() { l.ask(client, nth) })
			}
		}
	})
	return l, func() { cancel(); group.Wait(); client.CloseIdleConnections() }
}

// to has the next requests go to these.
func (l *load) to(routers ...*process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.routers = nil
	for _, r := range routers {
		l.routers = append(l.routers, r.addr)
	}
}

func (l *load) ask(client *http.Client, n int) {
	l.mu.Lock()
	routers := l.routers
	l.mu.Unlock()
	for i := range routers {
		ip, began := routers[(n+i)%len(routers)], time.Now()
		a, err := try(context.Background(), client, "http://"+httpAddr(ip), "POST", score, strings.NewReader("x"))
		if errors.Is(err, syscall.ECONNREFUSED) {
			continue
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		if err != nil || a.status != http.StatusOK {
			l.lost = append(l.lost, loss{ip, began, fmt.Sprintf("%d %.200s %v", a.status, a.body, err)})
			return
		}
		l.models[a.body]++
		l.answered.Add(1)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = append(l.lost, loss{what: "no router"})
}

// goOn waits for so many answers.
func (s *scene) goOn(l *load, n int64) {
	s.t.Helper()
	want := l.answered.Load() + n
	s.until(fmt.Sprint(n, " answers"), func() bool { return l.answered.Load() >= want })
}

// take gives what was lost since it was asked last.
func (l *load) take() []loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	lost := l.lost
	l.lost = nil
	return lost
}

// slack is how long after the end of a process its connections may seem alive.
const slack = 100 * time.Millisecond

// inFlight checks that what was lost had begun before a process died, at that router if it was one.
func (s *scene) inFlight(what string, lost []loss, dead *process, router string) {
	s.t.Helper()
	for _, l := range lost {
		if l.began.After(dead.died.Add(slack)) || router != "" && l.router != router {
			s.t.Errorf("%s: a request is lost that was not in flight on it: at %s, %v after: %s", what, cmp.Or(l.router, "none"), l.began.Sub(dead.died), l.what)
		}
	}
	if len(lost) > 60 {
		s.t.Errorf("%s: %d requests are lost; six at a pod, 2.5 at once in all", what, len(lost))
	}
	s.t.Logf("%s: %d requests in flight on it are lost", what, len(lost))
}

// TestProcessesDie: under 500 requests a second routers and pods are killed, the API server is away and comes back. Nothing is lost but what was in
// flight on what died. The operator and the control plane are not even there: routers ask neither.
func TestProcessesDie(t *testing.T) {
	s := newScene(t)
	for _, r := range s.routers {
		s.until("router "+r.addr, func() bool { return s.ready(r) })
	}
	l, stop := s.startLoad()
	s.goOn(l, 500)
	s.inFlight("before anything", l.take(), &process{}, "")

	s.routers[0].kill()
	s.goOn(l, 500) // while the cluster still lists it
	s.publish(s.routers[1:], s.models)
	s.goOn(l, 250)
	s.inFlight("a router killed", l.take(), s.routers[0], s.routers[0].addr)

	s.models[0].kill()
	s.goOn(l, 500)
	s.publish(s.routers[1:], s.models[1:])
	s.goOn(l, 250)
	s.inFlight("a pod killed", l.take(), s.models[0], "")

	s.api.stop()
	s.goOn(l, 1000)
	if lost := l.take(); len(lost) > 0 {
		t.Errorf("without the API server %d requests are lost, the first: %+v", len(lost), lost[0])
	}
	s.models[1].kill() // nobody is told
	s.goOn(l, 500)
	s.inFlight("a pod killed without the API server", l.take(), s.models[1], "")
	late := s.addRouter()
	s.until("a router that has read nothing", func() bool {
		c, err := net.Dial("tcp", internalAddr(late.addr))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
	s.goOn(l, 250)
	if s.ready(late) {
		t.Error("a router that has read nothing is ready")
	}

	s.api.start()
	fresh := s.addModel()
	s.publish(s.routers[1:], []*process{s.models[2], fresh})
	s.until("the router that came late", func() bool { return s.ready(late) })
	l.to(s.routers[1:]...)
	s.until("requests at the new pod", func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.models[fresh.addr] > 100
	})
	stop()
	if lost := l.take(); len(lost) > 0 {
		t.Errorf("as the API server came back %d requests are lost, the first: %+v", len(lost), lost[0])
	}
	t.Logf("%d requests were answered", l.answered.Load())
}
