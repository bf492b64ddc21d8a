package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/arm"
	"fairlead.dev/fairlead/internal/cli/profile"
	"fairlead.dev/fairlead/internal/client"
)

// runs is a server with one job, whose log connection breaks, and which starts again after its node was lost.
type runs struct {
	mu      sync.Mutex
	logs    map[string]string
	breakAt int // bytes of one answer; the connection is cut after them
	asked   []string
	polls   int
	// states are served in turn, the last one for ever.
	states []string
}

func (r *runs) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch _, file, isLog := strings.Cut(q.URL.Path, "/logs/"); {
	case isLog:
		var off int
		if _, err := fmt.Sscan(q.URL.Query().Get("offset"), &off); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		r.asked = append(r.asked, fmt.Sprintf("%s@%d", file, off))
		rest := r.logs[file][off:]
		cut := len(rest) > r.breakAt
		if cut {
			rest = rest[:r.breakAt]
		}
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, rest)
		_ = http.NewResponseController(w).Flush()
		if cut {
			panic(http.ErrAbortHandler)
		}
	case strings.Contains(q.URL.Path, "/jobs/"):
		i := min(r.polls, len(r.states)-1)
		r.polls++
		fmt.Fprintf(w, `{"properties":{%s,"services":{"Studio":{"endpoint":"https://studio/j"}}}}`, r.states[i])
	default:
		fmt.Fprint(w, `{"properties":{}}`)
	}
}

func streamApp(t *testing.T, h http.Handler) (a *app, s *session, out, errs *bytes.Buffer) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	out, errs = &bytes.Buffer{}, &bytes.Buffer{}
	instant := func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	d := Deps{Stdout: out, Stderr: errs, Env: func(string) string { return "" }, Sleep: instant,
		Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }}
	d.fill()
	a = &app{deps: d}
	c, err := client.New(client.Config{Endpoint: srv.URL, Sleep: instant})
	if err != nil {
		t.Fatal(err)
	}
	return a, &session{Client: c, app: a, profile: profile.Profile{}}, out, errs
}

var testWorkspace = arm.MustParseID("/subscriptions/s/resourceGroups/g/providers/Microsoft.MachineLearningServices/workspaces/w")

func TestStream_ResumesAndFollowsRetries(t *testing.T) {
	r := &runs{
		breakAt: 6, logs: map[string]string{"user_logs/std_log.txt": "first attempt\n", "retry-001/user_logs/std_log.txt": "again\n"},
		states: []string{`"status":"Running"`, `"status":"Running"`, `"status":"Completed","properties":{"fairlead.attempt":"1"}`},
	}
	a, s, out, errs := streamApp(t, r)
	if err := a.streamJob(t.Context(), s, testWorkspace, "j", allProcesses); err != nil {
		t.Fatal(err)
	}
	want := `RunId: j
Web View: https://studio/j

Streaming user_logs/std_log.txt
===============================

first attempt

Streaming retry-001/user_logs/std_log.txt
=========================================

again

Execution Summary
=================
RunId: j
Web View: https://studio/j
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
	for _, ask := range []string{"user_logs/std_log.txt@0", "user_logs/std_log.txt@6", "user_logs/std_log.txt@12", "retry-001/user_logs/std_log.txt@0"} {
		if !strings.Contains(strings.Join(r.asked, " ")+" ", ask+" ") {
			t.Errorf("%s was not asked for: %v", ask, r.asked)
		}
	}
	if !strings.Contains(errs.String(), "going on at byte 6") {
		t.Errorf("stderr: %s", errs)
	}
}

// TestStream_Gang: lines of all processes come whole and marked, also where a connection breaks within one; --process shows one alone.
func TestStream_Gang(t *testing.T) {
	const gang = `"distribution":{"distributionType":"PyTorch","processCountPerInstance":2},"resources":{"instanceCount":2},`
	r := &runs{
		breakAt: 6, logs: map[string]string{
			"user_logs/std_log.txt": "zero starts\nzero ends\n", "user_logs/std_log_process_01.txt": "one\n\nlast without newline",
			"user_logs/std_log_process_02.txt": "", "user_logs/std_log_process_03.txt": "three\n", "retry-001/user_logs/std_log_process_03.txt": "again\n",
		},
		states: []string{gang + `"status":"Running"`, gang + `"status":"Running"`, gang + `"status":"Completed","properties":{"fairlead.attempt":"1"}`},
	}
	a, s, out, _ := streamApp(t, r)
	if err := a.streamJob(t.Context(), s, testWorkspace, "j", allProcesses); err != nil {
		t.Fatal(err)
	}
	for mark, want := range map[string]string{
		"[0] ": "[0] zero starts\n[0] zero ends\n", "[1] ": "[1] one\n[1] \n[1] last without newline\n", "[2": "", "[3": "[3] three\n[3 retry-001] again\n",
	} {
		var got strings.Builder
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(line, mark) {
				got.WriteString(line)
			}
		}
		if diff := cmp.Diff(want, got.String()); diff != "" {
			t.Errorf("lines of %s(-want +got):\n%s", mark, diff)
		}
	}
	a, s, out, _ = streamApp(t, r)
	if err := a.streamJob(t.Context(), s, testWorkspace, "j", 3); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); !strings.Contains(got, "\nthree\n") || strings.Contains(got, "zero") {
		t.Errorf("process 3 alone:\n%s", got)
	}
}

func TestProcesses(t *testing.T) {
	for doc, want := range map[string]int{
		`{}`: 1, `{"resources":{"instanceCount":3}}`: 3,
		`{"resources":{"instanceCount":3},"distribution":{"distributionType":"PyTorch","processCountPerInstance":4}}`: 12,
		`{"resources":{"instanceCount":3},"distribution":{"distributionType":"Mpi","processCountPerInstance":4}}`:     1,
		`{"resources":{"instanceCount":3},"distribution":{"distributionType":"TensorFlow","workerCount":2}}`:          3,
	} {
		var props map[string]any
		if err := json.Unmarshal([]byte(doc), &props); err != nil {
			t.Fatal(err)
		}
		if got := processes(map[string]any{"properties": props}); got != want {
			t.Errorf("%s: %d, want %d", doc, got, want)
		}
	}
}

func TestStream_FailureAndReason(t *testing.T) {
	r := &runs{
		breakAt: 100, logs: map[string]string{},
		states: []string{
			`"status":"Queued","properties":{"fairlead.statusReason":"Unschedulable","fairlead.statusMessage":"no node has 400 GPUs"}`,
			`"status":"Failed","error":{"code":"NonZeroExit","message":"exit code 3"}`,
		},
	}
	a, s, _, errs := streamApp(t, r)
	err := a.streamJob(t.Context(), s, testWorkspace, "j", allProcesses)
	want := "job j ended as Failed\nException :\n {\n  \"error\": {\n    \"code\": \"NonZeroExit\",\n    \"message\": \"exit code 3\"\n  }\n}"
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(errs.String(), "Queued (Unschedulable): no node has 400 GPUs") {
		t.Errorf("stderr: %s", errs)
	}
}

func TestStream_Interrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := &runs{breakAt: 100, logs: map[string]string{"user_logs/std_log.txt": "x\n"}, states: []string{`"status":"Running"`}}
	a, s, _, errs := streamApp(t, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if strings.Contains(q.URL.Path, "/logs/") {
			cancel()
		}
		r.ServeHTTP(w, q)
	}))
	err := a.streamJob(ctx, s, testWorkspace, "j", allProcesses)
	var exit *exitError
	if !errors.As(err, &exit) || exit.code != exitInterrupted {
		t.Errorf("got %v", err)
	}
	if !strings.Contains(errs.String(), "Job j goes on.") || !strings.Contains(errs.String(), "fairlead ml job cancel -n j -g g -w w") {
		t.Errorf("stderr: %s", errs)
	}
}

func TestSaveLocalProfile(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("FAIRLEAD_CONFIG_DIR", dir+"/cfg")
	if err := os.WriteFile(dir+"/ca.crt", []byte("pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := SaveLocalProfile(LocalProfile{Endpoint: "https://h:1/", CAFile: dir + "/ca.crt", TenantID: "t", SubscriptionID: "s", ClientID: "c", ClientSecret: "x"}); err != nil {
		t.Fatal(err)
	}
	store := profile.Store{Dir: dir + "/cfg", Env: func(string) string { return "" }}
	got, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	want := profile.Profile{Endpoint: "https://h:1", CAFile: dir + "/cfg/ca.crt", Tenant: "t", Subscription: "s", ClientID: "c", ClientSecret: "x"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, f := range []string{"profile.json", "ca.crt"} {
		if st, err := os.Stat(dir + "/cfg/" + f); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, st.Mode(), err)
		}
	}
	// Another control plane in the environment must not be sent the stored secret.
	store.Env = func(k string) string { return map[string]string{"FAIRLEAD_ENDPOINT": "https://evil"}[k] }
	if got, err = store.Load(); err != nil || got.ClientSecret != "" {
		t.Errorf("secret %q, %v", got.ClientSecret, err)
	}
}
