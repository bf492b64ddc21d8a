package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/runtime/blobclient/blobtest"
)

func TestRunWholeJob(t *testing.T) {
	p := newPod(t, `./train.sh "${{inputs.data}}" "${{ inputs.rate }}" "${{outputs.model}}" "${{outputs.report}}"; echo to stderr >&2; echo "$GREETING $FROM_IMAGE $AZUREML_RUN_TOKEN"`)
	folder := p.blobs.Base + "/acct/cont/"
	p.blobs.Put("acct/cont/code1/train.sh", "#!/bin/sh\ncat $1/deep/a.txt $1/b.txt > $3/m.txt; echo rate $2 > $4; echo x > outputs/extra.txt; echo y > logs/l.txt; ls; cat $AZURE_ML_INPUT_one\n")
	p.blobs.Put("acct/cont/code1/lib/util.py", "pass\n")
	p.blobs.Put("acct/cont/data/deep/a.txt", "A\n")
	p.blobs.Put("acct/cont/data/b.txt", "B\n")
	p.blobs.Put("acct/cont/one.csv", "1,2\n")
	p.spec.Code = folder + "code1"
	p.spec.Environment = map[string]string{"GREETING": "hello"}
	p.spec.Inputs = map[string]commonruntime.Input{
		"data": {Type: "uri_folder", URL: folder + "data", Mode: "ReadOnlyMount"},
		"one":  {Type: "uri_file", URL: folder + "one.csv", Mode: "Download"},
		"rate": {Type: "literal", Value: "0.5"},
	}
	p.spec.Outputs = map[string]commonruntime.Output{
		"model":  {Type: "uri_folder", URL: folder + "out/model"},
		"report": {Type: "uri_file", URL: folder + "out/report.txt"},
	}
	if r := p.run(t.Context()); r != (commonruntime.Result{Phase: commonruntime.PhaseDone}) {
		t.Fatalf("result %+v; output:\n%s", r, p.out)
	}
	want := "lib\nlogs\noutputs\ntrain.sh\n1,2\nto stderr\nhello yes " + blobtest.Token + "\n"
	if diff := cmp.Diff(want, p.artifact("user_logs/std_log.txt")); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, p.out.String()); diff != "" {
		t.Errorf("stdout (-want +got):\n%s", diff)
	}
	stored := map[string]string{}
	for _, n := range []string{"out/model/m.txt", "out/report.txt"} {
		stored[n], _ = p.blobs.Get("acct/cont/" + n)
	}
	stored["outputs/extra.txt"], stored["logs/l.txt"] = p.artifact("outputs/extra.txt"), p.artifact("logs/l.txt")
	if diff := cmp.Diff(map[string]string{"out/model/m.txt": "A\nB\n", "out/report.txt": "rate 0.5\n", "outputs/extra.txt": "x\n", "logs/l.txt": "y\n"}, stored); diff != "" {
		t.Errorf("outputs (-want +got):\n%s", diff)
	}
	if c := p.artifact("system_logs/claim-0-0"); c != "pod-a n1" {
		t.Errorf("claim holds %q", c)
	}
	if l := p.artifact("system_logs/fairlead_runtime.log"); !strings.Contains(l, "command runs") || strings.Contains(l, blobtest.Token) {
		t.Errorf("system log:\n%s", l)
	}
}

func TestResults(t *testing.T) {
	folder := func(p *pod) string { return p.blobs.Base + "/acct/cont/" }
	tests := map[string]struct {
		command string
		setup   func(*pod)
		phase   string
		code    string
		exit    int
		says    string
	}{
		"success":         {"true", nil, "Done", "", 0, ""},
		"exit code":       {"echo last words; exit 7", nil, "Running", "", 7, "last words"},
		"no newline":      {"printf partial; exit 1", nil, "Running", "", 1, "partial"},
		"killed":          {"kill -9 $$", nil, "Running", "", 137, "137"},
		"shell error":     {"no-such-program", nil, "Running", "", 127, "no-such-program"},
		"timeout":         {"sleep 600", func(p *pod) { p.spec.TimeoutSeconds = 1 }, "Running", CodeTimeout, 124, "1 s"},
		"timeout, polite": {"trap 'exit 0' TERM; sleep 600 & wait", func(p *pod) { p.spec.TimeoutSeconds = 1 }, "Running", CodeTimeout, 124, "1 s"},
		"timeout, deaf": {"trap '' TERM; sleep 600", func(p *pod) {
			p.spec.TimeoutSeconds, p.cfg.KillAfter = 1, 10*time.Millisecond
		}, "Running", CodeTimeout, 124, "1 s"},
		"daemon left behind": {"sleep 600 & echo started", nil, "Done", "", 0, ""},
		"daemon in another session": {"setsid sleep 5 & echo started", func(p *pod) { p.cfg.DrainAfter = 10 * time.Millisecond },
			"Done", "", 0, ""},
		"unknown input":   {"cat ${{inputs.nothing}}", nil, "Preparing", CodeSpecInvalid, 125, "${{inputs.nothing}}"},
		"code missing":    {"true", func(p *pod) { p.spec.Code = folder(p) + "gone" }, "Preparing", CodeDownloadFailed, 125, "no files"},
		"input missing":   {"true", input("uri_file", "gone.csv"), "Preparing", CodeInputDownloadFailed, 125, `input "x"`},
		"folder is empty": {"true", input("uri_folder", "gone"), "Preparing", CodeInputDownloadFailed, 125, "no files"},
		"model is a file": {"cat $AZURE_ML_INPUT_x; exit 3", func(p *pod) {
			p.blobs.Put("acct/cont/m.pkl", "model!")
			input("custom_model", "m.pkl")(p)
		}, "Running", "", 3, "model!"},
		"folder elsewhere": {"true", func(p *pod) {
			p.spec.Inputs = map[string]commonruntime.Input{"x": {Type: "uri_folder", URL: "https://elsewhere.example/x"}}
		}, "Preparing", CodeInputDownloadFailed, 125, "outside the workspace's storage"},
		"spec version":    {"true", func(p *pod) { p.spec.Version = "5" }, "Preparing", CodeSpecInvalid, 125, `"5"`},
		"mpi":             {"true", distribution("Mpi", 2), "Preparing", CodeSpecInvalid, 125, "Mpi"},
		"ray":             {"true", distribution("Ray", 0), "Preparing", CodeSpecInvalid, 125, `"Ray"`},
		"claimed":         {"echo ran twice", func(p *pod) { p.blobs.Put(artifacts+"system_logs/claim-0-0", "pod-b") }, "Preparing", CodeAlreadyClaimed, 125, "pod-b"},
		"claimed by self": {"true", func(p *pod) { p.blobs.Put(artifacts+"system_logs/claim-0-0", "pod-a n1") }, "Done", "", 0, ""},
		"claimed by an earlier container of the pod": {"echo ran twice", func(p *pod) { p.blobs.Put(artifacts+"system_logs/claim-0-0", "pod-a n0") },
			"Preparing", CodeAlreadyClaimed, 125, "started a second time"},
		"claimed, nobody knows the pod": {"echo ran twice", func(p *pod) {
			p.cfg.PodUID = ""
			p.blobs.Put(artifacts+"system_logs/claim-0-0", " n0")
		}, "Preparing", CodeAlreadyClaimed, 125, "already started"},
		"traversal": {"true", func(p *pod) {
			p.blobs.Put("acct/cont/code/../../evil", "x")
			p.spec.Code = folder(p) + "code"
		}, "Preparing", CodeDownloadFailed, 125, "outside its folder"},
		"no PATH": {"true", func(p *pod) { p.cfg.Environ = []string{"PATH=/nowhere"} }, "Done", "", 0, ""}, // /bin/sh is found without PATH
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPod(t, tt.command)
			if tt.setup != nil {
				tt.setup(p)
			}
			r := p.run(t.Context())
			got := commonruntime.Result{Phase: r.Phase, Code: r.Code, ExitCode: r.ExitCode}
			if diff := cmp.Diff(commonruntime.Result{Phase: tt.phase, Code: tt.code, ExitCode: tt.exit}, got); diff != "" {
				t.Errorf("result (-want +got):\n%s%s", diff, r.Message)
			}
			if !strings.Contains(r.Message, tt.says) {
				t.Errorf("message %q lacks %q", r.Message, tt.says)
			}
			if strings.Contains(p.out.String(), "ran twice") {
				t.Error("the command ran although the attempt was claimed")
			}
		})
	}
}

func input(kind, name string) func(*pod) {
	return func(p *pod) {
		p.spec.Inputs = map[string]commonruntime.Input{"x": {Type: kind, URL: p.blobs.Base + "/acct/cont/" + name}}
	}
}

func distribution(kind string, perInstance int32) func(*pod) {
	return func(p *pod) {
		p.spec.Distribution = &commonruntime.Distribution{Type: kind, ProcessCountPerInstance: perInstance}
	}
}

// TestCollectedFolders: files beside the runtime's own logs are kept too, but nothing takes the place of a log.
func TestCollectedFolders(t *testing.T) {
	p := newPod(t, `cd "$AZUREML_CR_HT_CAP_user_logs_PATH" && echo mine > mine.txt && echo forged > std_log_process_07.txt &&
		echo old > "$AZUREML_CR_HT_CAP_azureml_logs_PATH/70_driver_log.txt" && echo said`)
	if r := p.run(t.Context()); r.ExitCode != 0 {
		t.Fatalf("result %+v", r)
	}
	got := map[string]string{}
	for _, n := range p.blobs.Names(artifacts) {
		if !strings.HasPrefix(n, "system_logs/") {
			got[n] = p.artifact(n)
		}
	}
	want := map[string]string{"user_logs/std_log.txt": "said\n", "user_logs/mine.txt": "mine\n", "azureml-logs/70_driver_log.txt": "old\n"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestCancelUploadsLogs(t *testing.T) {
	p := newPod(t, `trap 'echo asked to end; exit 3' TERM; echo ready; sleep 600 & wait`)
	ctx, cancel := context.WithCancel(t.Context())
	ready := p.out.has("ready")
	go func() { <-ready; cancel() }()
	r := p.run(ctx)
	if r.Code != CodeCanceled || r.ExitCode != exitCanceled {
		t.Errorf("result %+v", r)
	}
	if l := p.artifact("user_logs/std_log.txt"); l != "ready\nasked to end\n" {
		t.Errorf("log %q", l)
	}
}

func TestCancelWhilePreparing(t *testing.T) {
	p := newPod(t, "echo ran")
	ctx, cancel := context.WithCancel(t.Context())
	p.blobs.Put("acct/cont/code/a", "a")
	p.spec.Code = p.blobs.Base + "/acct/cont/code"
	p.blobs.SetFault(func(r *http.Request) blobtest.Fault {
		if strings.HasSuffix(r.URL.Path, "/code/a") {
			cancel()
			return blobtest.Fault{Status: 503}
		}
		return blobtest.Fault{}
	})
	if r := p.run(ctx); r.Code != CodeCanceled || r.Phase != commonruntime.PhasePreparing || p.out.String() == "ran\n" {
		t.Errorf("result %+v", r)
	}
}

func TestAttemptsAndRanks(t *testing.T) {
	p := newPod(t, "echo $RANK/$WORLD_SIZE node $NODE_RANK local $LOCAL_RANK at $MASTER_ADDR")
	p.cfg.Attempt, p.cfg.Rank, p.cfg.NodeCount, p.cfg.Hosts = 1, 1, 2, "j-worker-0-{rank}.j-svc"
	distribution("PyTorch", 2)(p)
	if r := p.run(t.Context()); r.ExitCode != 0 {
		t.Fatalf("result %+v", r)
	}
	got := map[string]string{}
	for _, n := range p.blobs.Names(artifacts) {
		if strings.Contains(n, "std_log") || strings.Contains(n, "claim") {
			got[n] = p.artifact(n)
		}
	}
	want := map[string]string{
		"retry-001/user_logs/std_log_process_02.txt": "2/4 node 1 local 0 at j-worker-0-0.j-svc\n",
		"retry-001/user_logs/std_log_process_03.txt": "3/4 node 1 local 1 at j-worker-0-0.j-svc\n",
		"system_logs/claim-0-1":                      "pod-a n1", "system_logs/claim-1-1": "pod-a n1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

// TestLiveReadersOfARetry: who still follows the first attempt's log gets nothing of the second's.
func TestLiveReadersOfARetry(t *testing.T) {
	p := newPod(t, `mkfifo fifo; echo again; read x < fifo`)
	p.cfg.Attempt = 1
	base, again := p.listen()+"/files/", p.out.has("again")
	done := make(chan commonruntime.Result, 1)
	go func() { done <- p.run(t.Context()) }()
	<-again
	for path, want := range map[string]int{"user_logs/std_log.txt": 404, systemLogName(0): 404, "retry-002/user_logs/std_log.txt": 404,
		"retry-001/user_logs/std_log.txt": 200, "retry-001/" + systemLogName(0): 200} {
		if r := get(t, base+path, "key1"); r.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, r.StatusCode, want)
		}
	}
	follower := get(t, base+"retry-001/user_logs/std_log.txt?follow=true", "key1")
	if err := os.WriteFile(filepath.Join(p.cfg.codeDir(), "fifo"), []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(follower.Body); string(b) != "again\n" || err != nil {
		t.Errorf("follower got %q, %v", b, err)
	}
	if r := <-done; r.ExitCode != 0 {
		t.Errorf("result %+v", r)
	}
}

func TestOneProcessFailsAll(t *testing.T) {
	p := newPod(t, `if [ $LOCAL_RANK = 1 ]; then exit 9; fi; sleep 600`)
	distribution("PyTorch", 3)(p)
	if r := p.run(t.Context()); r.ExitCode != 9 || r.Code != "" {
		t.Errorf("result %+v", r)
	}
}

// TestLogSurvivesOutages has every kind of outage while a command writes, and compares each byte.
func TestLogSurvivesOutages(t *testing.T) {
	p := newPod(t, `i=0; while [ $i -lt 3000 ]; do echo "line $i of binary \000\377 data"; i=$((i+1)); done`)
	var n atomic.Int64
	p.blobs.SetFault(func(r *http.Request) blobtest.Fault {
		if r.URL.Query().Get("comp") != "appendblock" {
			return blobtest.Fault{}
		}
		switch n.Add(1) % 4 {
		case 1:
			return blobtest.Fault{Lose: true} // stored, but the answer is lost
		case 2:
			return blobtest.Fault{Status: 503}
		}
		return blobtest.Fault{}
	})
	if r := p.run(t.Context()); r.ExitCode != 0 {
		t.Fatalf("result %+v", r)
	}
	if got := p.artifact("user_logs/std_log.txt"); got != p.out.String() || strings.Count(got, "\n") != 3000 {
		t.Errorf("stored %d bytes differ from the %d written", len(got), len(p.out.String()))
	}
}

// TestOutageAtTheEnd lets the control plane be away when the command ends: the runtime stays until all is stored.
func TestOutageAtTheEnd(t *testing.T) {
	p := newPod(t, "echo result; echo out > outputs/o.txt")
	var failures atomic.Int64
	p.blobs.SetFault(func(r *http.Request) blobtest.Fault {
		if r.Method == http.MethodPut && !strings.Contains(r.URL.Path, "claim") && failures.Add(1) <= 8 {
			return blobtest.Fault{Status: 502}
		}
		return blobtest.Fault{}
	})
	if r := p.run(t.Context()); r.ExitCode != 0 {
		t.Fatalf("result %+v", r)
	}
	if p.artifact("user_logs/std_log.txt") != "result\n" || p.artifact("outputs/o.txt") != "out\n" {
		t.Error("log or output is not complete")
	}
}

// TestKilledWhileUploading looks at what the pod would leave if it were killed in the middle of the upload.
func TestKilledWhileUploading(t *testing.T) {
	for name, tt := range map[string]struct {
		command    string
		left, last commonruntime.Result
		says       string
	}{
		"success": {"echo out > outputs/o.txt", commonruntime.Result{Phase: commonruntime.PhaseFinalizing, ExitCode: exitRuntime, Code: CodeOutputUploadFailed},
			commonruntime.Result{Phase: commonruntime.PhaseDone}, "the pod ended before all outputs and logs were uploaded"},
		"failure": {"echo out > outputs/o.txt; exit 7", commonruntime.Result{Phase: commonruntime.PhaseRunning, ExitCode: 7},
			commonruntime.Result{Phase: commonruntime.PhaseRunning, ExitCode: 7}, "ended with exit code 7"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t, tt.command)
			var left commonruntime.Result
			p.blobs.SetFault(func(r *http.Request) blobtest.Fault {
				if strings.HasSuffix(r.URL.Path, "/outputs/o.txt") {
					b, _ := os.ReadFile(p.cfg.ResultPath)
					if err := json.Unmarshal(b, &left); err != nil {
						t.Errorf("result %q: %v", b, err)
					}
				}
				return blobtest.Fault{}
			})
			last := p.run(t.Context())
			if !strings.Contains(left.Message, tt.says) {
				t.Errorf("message %q lacks %q", left.Message, tt.says)
			}
			if strings.Contains(last.Message, "the pod ended") {
				t.Errorf("the last message is %q", last.Message)
			}
			left.Message, last.Message = "", ""
			if diff := cmp.Diff([]commonruntime.Result{tt.left, tt.last}, []commonruntime.Result{left, last}); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOutputRefused(t *testing.T) {
	p := newPod(t, "echo x > ${{outputs.m}}/x")
	p.spec.Outputs = map[string]commonruntime.Output{"m": {Type: "uri_folder", URL: p.blobs.Base + "/acct/cont/out"}}
	p.blobs.SetFault(func(r *http.Request) blobtest.Fault {
		if strings.Contains(r.URL.Path, "/cont/out") {
			return blobtest.Fault{Status: 409}
		}
		return blobtest.Fault{}
	})
	if r := p.run(t.Context()); r.Code != CodeOutputUploadFailed || !strings.Contains(r.Message, `output "m"`) {
		t.Errorf("result %+v", r)
	}
}

func TestHugeOutput(t *testing.T) {
	const size = 100 << 20
	p := newPod(t, fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x", size))
	h := sha256.New()
	p.cfg.Stdout = h
	if r := p.run(t.Context()); r.ExitCode != 0 {
		t.Fatalf("result %+v", r)
	}
	got := p.artifact("user_logs/std_log.txt")
	if sum := sha256.Sum256([]byte(got)); len(got) != size || string(sum[:]) != string(h.Sum(nil)) {
		t.Errorf("stored %d bytes, or others than written", len(got))
	}
}

func TestDiskFull(t *testing.T) {
	s, err := newSpool(t.TempDir(), "user_logs/std_log.txt")
	if err != nil {
		t.Fatal(err)
	}
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	s.f.Close()
	s.f = full
	if n, err := s.Write([]byte("hello")); n != 5 || err != nil {
		t.Errorf("write gave %d, %v: a full disk would stop the command", n, err)
	}
	if s.Err() == nil {
		t.Error("the loss was not remembered")
	}
}

// TestLogLost has a disk without room for the log: the command's result stays, and both it and the stored log tell of the loss.
func TestLogLost(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full here")
	}
	for name, tt := range map[string]struct {
		command string
		want    commonruntime.Result
	}{
		"success": {"echo hello; echo out > outputs/o.txt", commonruntime.Result{Phase: commonruntime.PhaseDone, Code: CodeLogLost}},
		"failure": {"echo hello; echo out > outputs/o.txt; exit 7", commonruntime.Result{Phase: commonruntime.PhaseRunning, ExitCode: 7}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPod(t, tt.command)
			log := filepath.Join(p.cfg.filesDir(), "user_logs/std_log.txt")
			if err := errors.Join(os.MkdirAll(filepath.Dir(log), 0o777), os.Symlink("/dev/full", log)); err != nil {
				t.Fatal(err)
			}
			var notes atomic.Int64
			p.blobs.SetFault(func(r *http.Request) blobtest.Fault {
				note := r.URL.Query().Get("comp") == "appendblock" && strings.HasSuffix(r.URL.Path, "/std_log.txt")
				return blobtest.Fault{Lose: note && notes.Add(1) == 1}
			})
			r := p.run(t.Context())
			if says := "user_logs/std_log.txt is not complete"; !strings.Contains(r.Message, says) {
				t.Errorf("message %q lacks %q", r.Message, says)
			}
			r.Message = ""
			if diff := cmp.Diff(tt.want, r); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
			if l := p.artifact("user_logs/std_log.txt"); strings.Count(l, "later output was dropped") != 1 {
				t.Errorf("stored log %q", l)
			}
			if p.artifact("outputs/o.txt") != "out\n" || p.out.String() != "hello\n" {
				t.Error("outputs or the container's log are not complete")
			}
		})
	}
}

func TestLiveReaders(t *testing.T) {
	p := newPod(t, `echo one; read x < fifo; echo two`)
	base := p.listen()
	fifo := filepath.Join(p.cfg.codeDir(), "fifo")
	p.spec.Command = "mkfifo fifo; " + p.spec.Command
	one := p.out.has("one")
	done := make(chan commonruntime.Result, 1)
	go func() { done <- p.run(t.Context()) }()
	<-one
	if r := get(t, base+"/phase", ""); r.StatusCode != 200 {
		t.Errorf("phase while running: %d", r.StatusCode)
	}
	for path, want := range map[string]int{"/files/user_logs/std_log.txt": 200, "/files/../token": 404, "/files/none": 404,
		"/files/user_logs/std_log.txt?offset=-1": 400} {
		if r := get(t, base+path, "key1"); r.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, r.StatusCode, want)
		}
	}
	for _, key := range []string{"", "key2", "key11"} {
		if r := get(t, base+"/files/user_logs/std_log.txt", key); r.StatusCode != 401 {
			t.Errorf("key %q: %d", key, r.StatusCode)
		}
	}
	all := get(t, base+"/files/user_logs/std_log.txt?follow=true", "key1")
	rest := get(t, base+"/files/user_logs/std_log.txt?follow=true&offset=4", "key1")
	head := make([]byte, 4)
	if _, err := io.ReadFull(all.Body, head); err != nil || string(head) != "one\n" {
		t.Errorf("read %q, %v", head, err)
	}
	if err := os.WriteFile(fifo, []byte("go\n"), 0); err != nil {
		t.Fatal(err)
	}
	for _, r := range []*http.Response{all, rest} {
		if b, err := io.ReadAll(r.Body); string(b) != "two\n" || err != nil {
			t.Errorf("follower got %q, %v", b, err)
		}
	}
	if r := <-done; r.ExitCode != 0 {
		t.Errorf("result %+v", r)
	}
}
