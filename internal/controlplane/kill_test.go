package controlplane

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/internal/controlplane/store"
	"fairlead.dev/fairlead/internal/controlplane/store/sqlite"
	"fairlead.dev/fairlead/internal/link"
)

const childDir = "FAIRLEAD_TEST_SERVER"

// TestMain turns the test binary into a control plane, when it is asked to.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		serveChild(dir)
	}
	os.Exit(m.Run())
}

// serveChild says where it listens, and ends with its standard input, so that it does not outlive the test.
func serveChild(dir string) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	err := Run(ctx, Config{DataDir: dir, Listen: []string{"127.0.0.1:0"}, PublicURL: publicURL, LogLevel: "error", listening: func(a []net.Addr) { fmt.Println(a[0]) }})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child is a control plane in a process of its own.
type child struct {
	*running
	cmd   *exec.Cmd
	stdin io.Closer
}

func startChild(t *testing.T, dir string) child {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the control plane did not start: %v, %v", err, cmd.Wait())
	}
	return child{dial(t, dir, strings.TrimSpace(line)), cmd, in}
}

// submit PUTs jobs one after another until the control plane is gone, or there are enough; acknowledged is told of each 2xx.
func submit(ctx context.Context, client *http.Client, ws, token string, worker int, acknowledged func(name string)) (tried []string, err error) {
	const enough = 500
	for i := range enough {
		name := fmt.Sprintf("j-%d-%d", worker, i)
		req, err := http.NewRequestWithContext(ctx, "PUT", publicURL+ws+"/jobs/"+name+"?api-version=2024-01-01", strings.NewReader(
			`{"properties":{"jobType":"Command","command":"echo `+name+`","environmentId":"azureml:e:1","computeId":"k8s"}}`))
		if err != nil {
			return tried, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		tried = append(tried, name)
		res, err := client.Do(req)
		if err != nil {
			return tried, nil //nolint:nilerr // killed
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if res.StatusCode/100 != 2 {
			return tried, fmt.Errorf("PUT of job %s: %s", name, res.Status)
		}
		acknowledged(name)
	}
	return tried, fmt.Errorf("worker %d submitted %d jobs and nobody was killed", worker, enough)
}

// TestKillDuringSubmits: kill -9 of the control plane loses no submit that was answered, leaves none by half, and tells the
// cluster of each job once.
func TestKillDuringSubmits(t *testing.T) {
	const workers, killAfter = 16, 60
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := filepath.Join(t.TempDir(), "data")
	c := startChild(t, dir)
	tok := c.adminToken()
	ws, agent, _ := c.lab(tok, "x")
	var mu sync.Mutex
	var wg sync.WaitGroup
	acknowledged, tried := map[string]bool{}, []string(nil)
	for w := range workers {
		wg.Go(func() {
			names, err := submit(ctx, c.client, ws, tok, w, func(name string) {
				mu.Lock()
				defer mu.Unlock()
				if acknowledged[name] = true; len(acknowledged) == killAfter {
					if err := c.cmd.Process.Kill(); err != nil {
						t.Error(err)
					}
				}
			})
			mu.Lock()
			defer mu.Unlock()
			if tried = append(tried, names...); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	_ = c.cmd.Wait()
	c.running.stop()
	if t.Failed() {
		return
	}

	c = startChild(t, dir)
	present := map[string]bool{}
	for _, name := range tried {
		status, m := c.do("GET", ws+"/jobs/"+name, tok, "")
		props, _ := m["properties"].(map[string]any)
		switch {
		case status == 200 && props["command"] == "echo "+name && props["jobType"] == "Command":
			present[strings.ToLower(ws+"/jobs/"+name)] = true
		case status != 404 || acknowledged[name]:
			t.Errorf("job %s (answered: %t): %d %v", name, acknowledged[name], status, m)
		}
	}
	t.Logf("%d submits, %d answered, %d there", len(tried), len(acknowledged), len(present))
	told := c.toldOf(ctx, agent, len(present))
	for resource := range present {
		if told[resource] != 1 {
			t.Errorf("the cluster was told %d times of %s", told[resource], resource)
		}
	}
	c.running.stop()
	c.stdin.Close()
	if err := c.cmd.Wait(); err != nil {
		t.Errorf("the control plane ended with %v", err)
	}
	onceEach(t, dir, len(present))
}

// toldOf follows a cluster's desired map until it has n jobs, and counts its keys by resource.
func (r *running) toldOf(ctx context.Context, agent string, n int) map[string]int {
	r.t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", publicURL+link.DesiredPath+"?prefix="+link.PrefixJob, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+agent)
	res, err := r.client.Do(req)
	if err != nil || res.StatusCode != 200 {
		r.t.Fatal(res, err)
	}
	defer res.Body.Close()
	keys, told := map[string]bool{}, map[string]int{}
	sc := bufio.NewScanner(res.Body)
	for whole := false; (!whole || len(keys) < n) && sc.Scan(); {
		e, err := link.ParseEvent(sc.Bytes())
		if err != nil {
			r.t.Fatal(err)
		}
		whole = whole || e.Type == link.EventBookmark
		if e.Type != link.EventPut || keys[e.Key] {
			continue
		}
		var j link.Job
		if err := json.Unmarshal(e.Value, &j); err != nil {
			r.t.Fatal(err)
		}
		keys[e.Key] = true
		told[strings.ToLower(j.Resource)]++
	}
	if len(keys) != n {
		r.t.Errorf("%d jobs are in the cluster's map, %d in the workspace; %v", len(keys), n, sc.Err())
	}
	return told
}

// onceEach looks into the change log: every job's key of the cluster's map was written once.
func onceEach(t *testing.T, dir string, n int) {
	t.Helper()
	st, err := sqlite.Open(t.Context(), filepath.Join(dir, "fairlead.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	writes := map[string]int{}
	for after := int64(0); ; {
		page, err := st.Changes(t.Context(), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, ch := range page {
			if after = ch.Seq; isJobOfEdge(ch) {
				writes[ch.Type]++
			}
		}
		if len(page) == 0 {
			break
		}
	}
	if len(writes) != n {
		t.Errorf("%d keys were written, want %d", len(writes), n)
	}
	for key, times := range writes {
		if times != 1 {
			t.Errorf("%s was written %d times", key, times)
		}
	}
}

func isJobOfEdge(ch store.Change) bool {
	return ch.Kind == "desired" && strings.HasSuffix(ch.Key, "/connectedclusters/edge") && strings.HasPrefix(ch.Type, link.PrefixJob)
}
