package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/testing/load"
	"fairlead.dev/fairlead/internal/testing/pgtest"
	"fairlead.dev/fairlead/internal/testing/serverproc"
)

// TestReplicaKilled: of two servers on one database one is killed with writes, agents and operations under way. What was
// acknowledged is there, the agents are back, every operation and every job ends; and a server that joins serves all of it.
func TestReplicaKilled(t *testing.T) {
	killReplica(t, os.Args[0], 20, 50, 200)
}

// BenchmarkReplicaKilled is the same with 200 agents and 200 writes a second, and says how long the agents were away.
func BenchmarkReplicaKilled(b *testing.B) {
	for b.Loop() {
		away := killReplica(b, program(), 200, 200, 200*20)
		load.Report(b, away)
	}
}

// killReplica returns how long each agent was away.
func killReplica(tb testing.TB, program string, agents, rate, writes int) []time.Duration {
	front := startBalancer(tb)
	conf := serverproc.Config{Program: program, Dir: tb.TempDir(), PublicURL: "https://" + front.addr, Conns: load.Senders,
		Args: []string{"--store", pgtest.Start(tb, "max_connections=200").NewDatabase(tb), "--log-level", "warn"}}
	start := func() *server {
		s := serverproc.Start(tb, conf)
		front.add(s.Addr)
		return &server{s, "/subscriptions/" + s.SubscriptionID + "/resourceGroups/bench"}
	}
	victim, s := start(), start()
	if _, err := s.Do(tb.Context(), http.MethodPut, s.group+serverproc.APIVersion, `{"location":"local"}`); err != nil {
		tb.Fatal(err)
	}
	dead := make(chan struct{})
	all := startAgents(tb, s, agents, dead)
	w := newWriter(tb, s, all[0], rate, writes)
	w.await(writes / 4)
	operations := beginOperations(tb, s, all)
	killed := time.Now()
	victim.Kill()
	close(dead)
	ctx, cancel := context.WithTimeout(tb.Context(), 2*time.Minute)
	defer cancel()
	away := make([]time.Duration, len(all))
	var wg sync.WaitGroup
	for i, a := range all {
		wg.Go(func() {
			var err error
			if away[i], err = a.awaitBack(ctx, killed); err != nil {
				tb.Errorf("an agent was not back after 2 min: %v", err)
			}
		})
	}
	wg.Wait()
	stuck := awaitOperations(ctx, tb, s, operations)
	w.finish()
	third := start()
	third.Base = "https://" + third.Addr // what is there it says, not the load balancer
	lost, unfinished := w.verify(ctx, third)
	if lost+stuck+unfinished > 0 {
		tb.Errorf("of %d acknowledged writes %d are lost; of %d operations %d are stuck, and %d of the jobs", writes, lost, len(operations), stuck, unfinished)
	}
	if b, ok := tb.(*testing.B); ok {
		b.ReportMetric(float64(lost), "writes-lost")
		b.ReportMetric(float64(stuck+unfinished), "stuck")
		b.ReportMetric(w.rate(), "writes/s")
		b.ReportMetric(float64(w.again.Load()), "writes-sent-again")
	}
	return away
}

// beginOperations changes every extension and returns where to ask how far that is.
func beginOperations(tb testing.TB, s *server, agents []*agent) []string {
	tb.Helper()
	out := make([]string, len(agents))
	var wg sync.WaitGroup
	queue := make(chan int, len(agents))
	for i := range agents {
		queue <- i
	}
	close(queue)
	for range 8 {
		wg.Go(func() {
			for i := range queue {
				status, header, body := s.send(tb.Context(), http.MethodPut, agents[i].extension()+serverproc.APIVersion, extensionBody(after))
				if out[i] = header.Get("Azure-AsyncOperation"); status/100 != 2 || out[i] == "" {
					tb.Errorf("changing an extension: %d %s", status, body)
				}
			}
		})
	}
	wg.Wait()
	return out
}

// awaitOperations counts those that have not succeeded when ctx ends.
func awaitOperations(ctx context.Context, tb testing.TB, s *server, operations []string) (stuck int) {
	tb.Helper()
	for _, at := range operations {
		path := strings.TrimPrefix(at, s.Base)
		for tick := time.NewTicker(50 * time.Millisecond); ; {
			_, _, body := s.send(ctx, http.MethodGet, path, "")
			var op struct{ Status string }
			_ = json.Unmarshal(body, &op) // what is no operation has no status
			if op.Status == "Succeeded" {
				break
			}
			if op.Status == "Failed" || ctx.Err() != nil {
				tb.Logf("operation %s: %s", path, body)
				stuck++
				break
			}
			<-tick.C
		}
	}
	return stuck
}

// send sends a request; status is 0 when there was no answer.
func (s *server) send(ctx context.Context, method, path, body string) (status int, header http.Header, answer []byte) {
	req, err := http.NewRequestWithContext(ctx, method, s.Base+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, []byte(err.Error())
	}
	req.Header.Set("Authorization", "Bearer "+s.Token)
	req.Header.Set("Content-Type", "application/json")
	res, err := s.HTTP.Do(req)
	if err != nil {
		return 0, nil, []byte(err.Error())
	}
	defer res.Body.Close()
	answer, err = io.ReadAll(res.Body)
	if err != nil {
		return 0, nil, []byte(err.Error())
	}
	return res.StatusCode, res.Header, answer
}

// writer writes at a constant rate: versions of an environment, and jobs, each fourth.
type writer struct {
	tb    testing.TB
	s     *server
	ws    string
	total int
	next  atomic.Int64
	done  chan struct{} // one for each that was acknowledged
	again atomic.Int64  // writes that were sent again, since no answer came
	count int
	begin time.Time
	ended time.Time
	wg    sync.WaitGroup
}

func newWriter(tb testing.TB, s *server, a *agent, rate, total int) *writer {
	tb.Helper()
	w := &writer{tb: tb, s: s, ws: s.group + "/providers/Microsoft.MachineLearningServices/workspaces/lab", total: total, done: make(chan struct{}, total)}
	for _, r := range [][2]string{{w.ws, `{"location":"local","properties":{}}`}, {w.ws + "/environments/e/versions/1", environment(0)},
		{w.ws + "/computes/k8s", `{"location":"local","properties":{"computeType":"Kubernetes","resourceId":"` + a.id + `","properties":{"namespace":"default"}}}`}} {
		if _, err := s.Do(tb.Context(), http.MethodPut, r[0]+serverproc.APIVersion, r[1]); err != nil {
			tb.Fatal(err)
		}
	}
	s.Await(tb, w.ws+"/computes/k8s")
	w.begin = time.Now()
	for range load.Senders {
		w.wg.Go(func() {
			for i := w.next.Add(1); i <= int64(w.total) && tb.Context().Err() == nil; i = w.next.Add(1) {
				<-time.After(time.Until(w.begin.Add(time.Duration(i) * time.Second / time.Duration(rate))))
				w.put(tb.Context(), int(i))
				w.done <- struct{}{}
			}
		})
	}
	return w
}

func environment(i int) string {
	return fmt.Sprintf(`{"properties":{"image":"docker.io/library/python:%d"}}`, i)
}

func isJob(i int) bool { return i%4 == 0 }

func (w *writer) path(i int) string {
	if isJob(i) {
		return fmt.Sprintf("%s/jobs/j-%d%s", w.ws, i, serverproc.APIVersion)
	}
	return fmt.Sprintf("%s/environments/e-%d/versions/1%s", w.ws, i, serverproc.APIVersion)
}

// put sends a write until it is acknowledged, as clients do when a connection breaks.
func (w *writer) put(ctx context.Context, i int) {
	body := environment(i)
	if isJob(i) {
		body = fmt.Sprintf(`{"properties":{"jobType":"Command","experimentName":"x","command":"echo %d","environmentId":"azureml:e:1","computeId":"k8s"}}`, i)
	}
	for range 100 {
		status, _, answer := w.s.send(ctx, http.MethodPut, w.path(i), body)
		if status/100 == 2 {
			return
		}
		if status != 0 && status < 500 {
			w.tb.Errorf("write %d: %d %s", i, status, answer)
			return
		}
		w.again.Add(1)
		<-time.After(50 * time.Millisecond)
	}
	w.tb.Errorf("write %d was not acknowledged", i)
}

// await waits for so many acknowledged writes more.
func (w *writer) await(n int) {
	for range n {
		<-w.done
	}
	w.count += n
}

func (w *writer) finish() {
	w.await(w.total - w.count)
	w.wg.Wait()
	w.ended = time.Now()
}

func (w *writer) rate() float64 { return float64(w.total) / w.ended.Sub(w.begin).Seconds() }

// verify reads all that was written from one server, and waits for the jobs to end.
func (w *writer) verify(ctx context.Context, s *server) (lost, unfinished int) {
	for i := 1; i <= w.total; i++ {
		want := fmt.Sprintf(`python:%d"`, i)
		if isJob(i) {
			want = fmt.Sprintf(`"echo %d"`, i)
		}
		for tick := time.NewTicker(50 * time.Millisecond); ; <-tick.C {
			status, _, body := s.send(ctx, http.MethodGet, w.path(i), "")
			if status != http.StatusOK || !bytes.Contains(body, []byte(want)) {
				w.tb.Logf("write %d: %d %s", i, status, body)
				lost++
				break
			}
			var job struct{ Properties struct{ Status string } }
			if err := json.Unmarshal(body, &job); err != nil || !isJob(i) || job.Properties.Status == "Completed" {
				break
			}
			if ctx.Err() != nil {
				w.tb.Logf("job %d is %s", i, job.Properties.Status)
				unfinished++
				break
			}
		}
	}
	return lost, unfinished
}
