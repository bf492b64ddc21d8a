package history

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gocloud.dev/blob/memblob"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/controlplane/blobs"
	"fairlead.dev/fairlead/internal/controlplane/desired"
	"fairlead.dev/fairlead/internal/controlplane/resource"
	"fairlead.dev/fairlead/internal/controlplane/seal"
	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
	"fairlead.dev/fairlead/internal/controlplane/types/runstate"
	"fairlead.dev/fairlead/internal/link"
)

var update = flag.Bool("update", false, "write golden files")

const (
	wsPath  = "/subscriptions/S1/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w"
	jobID   = "0123456789abcdef0123456789abcdef"
	cluster = "/subscriptions/s1/resourcegroups/g/providers/microsoft.kubernetes/connectedclusters/east"
	acct    = "fl0123456789ab"
	folder  = "ExperimentRun/dcid.run1"
)

var jobKey = strings.ToLower(wsPath + "/jobs/run1")

// world is a history over a real store and a real blob front, and a pod's file server behind a pipe for a relay.
type world struct {
	t     *testing.T
	st    store.Store
	front *blobs.Front
	// desired seals what clusters are told.
	desired *desired.Map
	srv     *httptest.Server
	now     time.Time

	mu   sync.Mutex
	pod  http.Handler // nil: the relay is away
	opns int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "fairlead.db"))
	if err != nil {
		t.Fatal(err)
	}
	box, err := seal.New(seal.NewKey())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, st: st, desired: desired.New(box), now: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)}
	mux := http.NewServeMux()
	w.srv = httptest.NewServer(mux)
	w.front = blobs.New(blobs.Config{Bucket: memblob.OpenBucket(nil), PublicURL: w.srv.URL, SASKey: []byte("k")})
	h := New(Config{Store: st, Desired: w.desired, Blobs: w.front, Open: w.open, PublicURL: "https://fairlead.test", Poll: time.Millisecond, RetryLive: 2 * time.Millisecond,
		Authenticate: func(r *http.Request) (resource.Principal, error) {
			switch r.Header.Get("Authorization") {
			case "Bearer user":
				return resource.Principal{ID: "u", Kind: "User"}, nil
			case "Bearer run":
				return resource.Principal{ID: runstate.PrincipalID(jobKey, jobID), Kind: "Run", Scope: jobKey}, nil
			case "Bearer earlier":
				return resource.Principal{ID: runstate.PrincipalID(jobKey, "of a deleted job"), Kind: "Run", Scope: jobKey}, nil
			case "Bearer nobody":
				return resource.Principal{ID: "n", Kind: "User"}, nil
			}
			return resource.Principal{}, errors.New("the token is not known")
		},
		Authorize: func(_ context.Context, p resource.Principal, permission, scope string) error {
			if p.ID != "u" || permission != "read" || scope != strings.ToLower(wsPath) && !strings.HasPrefix(scope, strings.ToLower(wsPath)+"/jobs/") {
				return errors.New("no role here")
			}
			return nil
		}})
	mux.Handle("/", h.Handler())
	mux.Handle(blobs.PathPrefix, w.front.Handler())
	t.Cleanup(func() { w.srv.CloseClientConnections(); w.srv.Close(); st.Close() })
	return w
}

func (w *world) open(_ context.Context, c string, t link.Target) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opns++
	if w.pod == nil || c != cluster || t.JobID != jobID || t.Namespace != "jobs" {
		return nil, errors.New("cluster not connected")
	}
	a, b := net.Pipe()
	go func() { _ = (&http.Server{Handler: w.pod}).Serve(&oneConn{c: b}) }()
	return a, nil
}

func (w *world) setPod(h http.Handler) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pod = h
}

// oneConn is a listener of one connection.
type oneConn struct {
	c    net.Conn
	once sync.Once
}

func (o *oneConn) Accept() (c net.Conn, err error) {
	err = io.EOF
	o.once.Do(func() { c, err = o.c, nil })
	return c, err
}
func (o *oneConn) Close() error   { return nil }
func (o *oneConn) Addr() net.Addr { return o.c.LocalAddr() }

// setJob writes the job with a status.
func (w *world) setJob(status string, edit func(*runstate.State, map[string]any)) {
	w.t.Helper()
	st := runstate.State{Cluster: cluster, Namespace: "jobs", JobID: jobID, InstanceCount: 1, StartedAt: w.now,
		Spec: commonruntime.JobSpec{Artifacts: w.front.URL(acct, "azureml", folder)}}
	props := map[string]any{"jobType": "Command", "experimentName": "digits", "status": status, "command": "python train.py",
		"computeId": wsPath + "/computes/c1", "tags": map[string]string{"a": "b"},
		"inputs":   map[string]any{"lr": map[string]any{"jobInputType": "literal", "value": "0.1"}, "data": map[string]any{"jobInputType": "uri_folder", "uri": "azureml://x"}},
		"outputs":  map[string]any{"default": map[string]any{"jobOutputType": "uri_folder", "uri": "azureml://y"}, "model": map[string]any{"jobOutputType": "custom_model", "uri": "azureml://z"}},
		"services": map[string]any{"Studio": map[string]any{"jobServiceType": "Studio", "endpoint": "https://fairlead.test/studio"}}}
	if edit != nil {
		edit(&st, props)
	}
	internal, err := st.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	body, _ := json.Marshal(map[string]any{"properties": props})
	err = w.st.Update(w.t.Context(), func(tx store.Tx) error {
		rec, err := tx.Get(w.t.Context(), jobKey)
		if errors.Is(err, store.ErrNotFound) {
			rec = store.Record{Key: jobKey, ID: wsPath + "/jobs/run1", Type: runstate.JobType, Parent: strings.ToLower(wsPath), Name: "run1", CreatedAt: w.now, UpdatedAt: w.now, CreatedBy: "ann"}
		} else if err != nil {
			return err
		}
		rec.Body, rec.Internal = body, internal
		if _, err = tx.Put(w.t.Context(), rec); err != nil {
			return err
		}
		told, _ := json.Marshal(link.Job{ID: jobID, Secret: map[string]string{commonruntime.SecretLogKey: "lk"}})
		return w.desired.Put(w.t.Context(), tx, cluster, link.PrefixJob+jobID, told)
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// keep stores bytes of a log, as the runtime does.
func (w *world) keep(name, text string, first bool) {
	w.t.Helper()
	u := w.front.BlobSAS(acct, "azureml", folder+"/"+name, "rwac", time.Hour)
	if first {
		w.send("PUT", u, "", "x-ms-blob-type", "AppendBlob")
	}
	if text != "" {
		w.send("PUT", u+"&comp=appendblock", text, "x-ms-version", "2021-12-02")
	}
}

func (w *world) send(method, u, body, header, value string) {
	w.t.Helper()
	req, _ := http.NewRequestWithContext(w.t.Context(), method, u, strings.NewReader(body))
	req.Header.Set(header, value)
	res, err := w.srv.Client().Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		b, _ := io.ReadAll(res.Body)
		w.t.Fatalf("%s: %d %s", method, res.StatusCode, b)
	}
}

func (w *world) request(ctx context.Context, path, token string) *http.Response {
	w.t.Helper()
	req, _ := http.NewRequestWithContext(ctx, "GET", w.srv.URL+path, nil)
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := w.srv.Client().Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) get(path, token string, status int) string {
	w.t.Helper()
	res := w.request(w.t.Context(), path, token)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != status {
		w.t.Fatalf("GET %s: %d %s %v, want %d", path, res.StatusCode, b, err, status)
	}
	return string(b)
}

const runs = "/history/v1.0" + wsPath + "/runs/run1"

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// indent makes an answer stable: addresses and signatures differ from run to run.
func (w *world) indent(s string) []byte {
	w.t.Helper()
	var v map[string]any
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		w.t.Fatal(err)
	}
	if files, ok := v["logFiles"].(map[string]any); ok {
		for k, u := range files {
			base, _, _ := strings.Cut(u.(string), "?")
			files[k] = strings.Replace(base, w.srv.URL, "https://fairlead.test", 1)
		}
	}
	b, _ := json.MarshalIndent(v, "", "  ")
	return append(b, '\n')
}

// A run without logs has none, which clients that stream them tell from not being told.
func TestDetailsWithoutLogs(t *testing.T) {
	w := newWorld(t)
	w.setJob("Queued", func(*runstate.State, map[string]any) {})
	if got := w.get(runs+"/details", "user", 200); !strings.Contains(got, `"logFiles":{}`) {
		t.Errorf("details %s", got)
	}
}

func TestDetails(t *testing.T) {
	w := newWorld(t)
	w.setJob("Failed", func(st *runstate.State, props map[string]any) {
		st.EndedAt = w.now.Add(time.Minute)
		props["error"] = map[string]string{"code": "NonZeroExit", "message": "The command ended with exit code 3."}
	})
	w.keep("user_logs/std_log.txt", "hello\n", true)
	w.keep("system_logs/fairlead_runtime.log", "x\n", true)
	w.keep("retry-001/user_logs/std_log.txt", "x\n", true)
	w.keep("system_logs/claim-0-0", "", true)
	w.keep("outputs/model.pkl", "m", true)
	golden(t, "details.json", w.indent(w.get(runs+"/details", "user", 200)))
	golden(t, "run.json", w.indent(w.get(strings.Replace(runs, "/runs/", "/experiments/digits/runs/", 1), "run", 200)))
	golden(t, "discovery.json", w.indent(w.get("/discovery/workspaces/0f0e-1", "", 200)))
	var d struct{ LogFiles map[string]string }
	_ = json.Unmarshal([]byte(w.get(runs+"/details", "user", 200)), &d)
	res, err := w.srv.Client().Get(d.LogFiles["user_logs/std_log.txt"])
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); string(b) != "hello\n" {
		t.Errorf("the link gives %q", b)
	}
	if got := w.get(runs+"/logs", "user", 200); !strings.Contains(got, `"name":"user_logs/std_log.txt","size":6`) || strings.Contains(got, "claim") {
		t.Errorf("logs %s", got)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t)
	w.setJob("Running", nil)
	other := strings.Replace(runs, "run1", "run2", 1)
	w.get(runs, "", 401)
	w.get(runs, "nobody", 403)
	w.get(other, "run", 403)
	w.get(runs, "earlier", 403)
	w.get(other, "user", 404)
	w.get(runs+"/logs/user_logs/none.txt", "user", 404)
	w.get(runs+"/logs/outputs/model.pkl", "user", 404)
	w.get(runs+"/logs/user_logs/..%2f..%2fx", "user", 404)
	w.get(runs+"/logs/user_logs/std_log.txt?offset=-1", "user", 400)
	w.get(runs+"/logs/user_logs/std_log.txt?follow=maybe", "user", 400)
	w.get("/history/v1.0/nowhere", "user", 404)
	w.get("/discovery/workspaces/a%20b", "", 404)
}

// reader follows a log in the background and lets the test wait for what it has read.
type reader struct {
	mu   sync.Mutex
	cond *sync.Cond
	text bytes.Buffer
	err  error
	end  bool
}

func (w *world) follow(offset int) *reader {
	r := &reader{}
	r.cond = sync.NewCond(&r.mu)
	res := w.request(w.t.Context(), fmt.Sprintf("%s/logs/user_logs/std_log.txt?follow=true&offset=%d", runs, offset), "user")
	go func() {
		defer res.Body.Close()
		buf := make([]byte, 1000)
		for {
			n, err := res.Body.Read(buf)
			r.mu.Lock()
			r.text.Write(buf[:n])
			if r.end = err != nil; err != io.EOF {
				r.err = err
			}
			r.cond.Broadcast()
			r.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return r
}

func (r *reader) has(t *testing.T, want string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.text.Len() < len(want) && !r.end {
		r.cond.Wait()
	}
	if r.text.String() != want {
		t.Fatalf("read %q, want %q; err %v", r.text.String(), want, r.err)
	}
}

func (r *reader) ended(t *testing.T, want string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.end {
		r.cond.Wait()
	}
	if r.err != nil || r.text.String() != want {
		t.Errorf("ended with %q, %v, want %q", r.text.String(), r.err, want)
	}
}

// podLog is the runtime's file server: text so far, and more until closed.
type podLog struct {
	mu   sync.Mutex
	cond *sync.Cond
	text string
	end  bool
}

func newPodLog(text string) *podLog {
	p := &podLog{text: text}
	p.cond = sync.NewCond(&p.mu)
	return p
}

func (p *podLog) add(s string, end bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text, p.end = p.text+s, end
	p.cond.Broadcast()
}

func (p *podLog) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/files/user_logs/std_log.txt" || r.Header.Get("Authorization") != "Bearer lk" || r.URL.Query().Get("follow") != "true" {
		http.Error(w, "no", 404)
		return
	}
	var pos int
	fmt.Sscan(r.URL.Query().Get("offset"), &pos)
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		if pos < len(p.text) {
			_, _ = io.WriteString(w, p.text[pos:])
			http.NewResponseController(w).Flush()
			pos = len(p.text)
		}
		if p.end || r.Context().Err() != nil {
			return
		}
		p.cond.Wait()
	}
}

func TestFollowKeptThenLiveThenKept(t *testing.T) {
	w := newWorld(t)
	w.setJob("Queued", func(st *runstate.State, _ map[string]any) { st.JobID = "" })
	one := w.follow(0) // before there is anything
	w.setJob("Running", nil)
	w.keep("user_logs/std_log.txt", "kept\n", true)
	one.has(t, "kept\n")
	pod := newPodLog("kept\nlive 1\n") // the relay comes; the pod has more than is kept
	w.setPod(pod)
	one.has(t, "kept\nlive 1\n")
	two := w.follow(3)
	two.has(t, "t\nlive 1\n")
	pod.add("live 2\n", false)
	one.has(t, "kept\nlive 1\nlive 2\n")
	two.has(t, "t\nlive 1\nlive 2\n")
	w.setPod(nil)
	pod.add("", true) // the pod goes; the rest arrives as kept bytes
	w.keep("user_logs/std_log.txt", "live 1\nlive 2\nlast\n", false)
	one.has(t, "kept\nlive 1\nlive 2\nlast\n")
	w.setJob("Completed", nil)
	one.ended(t, "kept\nlive 1\nlive 2\nlast\n")
	two.ended(t, "t\nlive 1\nlive 2\nlast\n")
	if got := w.get(runs+"/logs/user_logs/std_log.txt?offset=12", "user", 200); got != "live 2\nlast\n" {
		t.Errorf("kept from 12: %q", got)
	}
}

// TestFollowEndsThoughThePodHangs: a lost node closes nothing.
func TestFollowEndsThoughThePodHangs(t *testing.T) {
	w := newWorld(t)
	w.setJob("Running", nil)
	pod := newPodLog("one\n")
	w.setPod(pod)
	r := w.follow(0)
	r.has(t, "one\n")
	w.keep("user_logs/std_log.txt", "one\ntwo\n", true)
	w.setJob("Failed", nil)
	r.ended(t, "one\ntwo\n")
	pod.add("", true)
}

// TestFollowEndsWithItsAttempt: the next attempt writes another file.
func TestFollowEndsWithItsAttempt(t *testing.T) {
	w := newWorld(t)
	w.setJob("Running", nil)
	w.keep("user_logs/std_log.txt", "one\n", true)
	r := w.follow(0)
	r.has(t, "one\n")
	w.setJob("Running", func(st *runstate.State, _ map[string]any) { st.Attempt = 1 })
	r.ended(t, "one\n")
}

// TestSlowReader: one that reads nothing does not keep another from reading all.
func TestSlowReader(t *testing.T) {
	w := newWorld(t)
	w.setJob("Running", nil)
	text := strings.Repeat("0123456789abcde\n", 1<<19) // 8 MiB
	pod := newPodLog(text)
	w.setPod(pod)
	slow := w.request(t.Context(), runs+"/logs/user_logs/std_log.txt?follow=true", "user")
	defer slow.Body.Close()
	if _, err := io.ReadFull(slow.Body, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	w.setPod(newPodLog(text))
	r := w.follow(0)
	r.has(t, text)
	slow.Body.Close()
}

func TestRankAndAttempt(t *testing.T) {
	two := runstate.State{Spec: commonruntime.JobSpec{Distribution: &commonruntime.Distribution{Type: "PyTorch", ProcessCountPerInstance: 2}}}
	for name, want := range map[string][2]int{
		"user_logs/std_log.txt":                        {0, 0},
		"user_logs/std_log_process_03.txt":             {1, 0},
		"retry-002/user_logs/std_log_process_05.txt":   {2, 2},
		"system_logs/fairlead_runtime_process_03.log":  {3, 0},
		"system_logs/fairlead_runtime_process_999.log": {999, 0},
	} {
		if got := [2]int{rankOf(name, two), attemptOf(name)}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}
