package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/commonruntime"
)

func TestDivide(t *testing.T) {
	files := []string{"a", "b", "c", "d", "e"}
	for size, want := range map[int][][]string{
		1: {{"a"}, {"b"}, {"c"}, {"d"}, {"e"}}, 2: {{"a", "b"}, {"c", "d"}, {"e"}}, 5: {files}, 9: {files},
	} {
		if diff := cmp.Diff(want, divide(files, size)); diff != "" {
			t.Errorf("size %d: %s", size, diff)
		}
	}
}

// TestPlace: pods of any speed take every mini-batch once, and look at the list of claims seldom, however many mini-batches there are.
func TestPlace(t *testing.T) {
	for _, c := range []struct{ count, pods, had, most int }{
		{1, 1, 0, 0}, {1, 3, 0, 1}, {7, 2, 3, 7}, {3, 10, 0, 3}, {10_000, 1, 5000, 0}, {10_000, 2, 0, 20}, {10_000, 8, 0, 60}, {30_000, 8, 0, 60}, {3000, 50, 500, 60},
	} {
		r := rand.New(rand.NewPCG(1, uint64(c.count*c.pods)))
		all := map[int]bool{}
		for n := range c.had {
			all[n*2%c.count] = true
		}
		pods, speed, begins := make([]place, c.pods), make([]int, c.pods), map[int]bool{}
		for i := range pods {
			pods[i], speed[i] = newPlace(c.count, i, c.pods, maps.Clone(all)), 1+r.IntN(10)
			begins[pods[i].next] = true
		}
		if len(begins) != min(c.count, c.pods) {
			t.Errorf("%d mini-batches, %d pods begin at %v", c.count, c.pods, begins)
		}
		had, took, looked, done := len(all), 0, make([]int, c.pods), 0
		for done < c.pods {
			done = 0
			for _, i := range r.Perm(c.pods) {
				for range speed[i] {
					n := pods[i].pick()
					if n < 0 {
						done++
						break
					}
					if pods[i].taken[n] = true; !all[n] {
						all[n], took = true, took+1
						continue
					}
					looked[i]++
					maps.Copy(pods[i].taken, all)
					pods[i].move()
				}
			}
		}
		if took != c.count-had || len(all) != c.count {
			t.Errorf("%d mini-batches, %d pods: %d taken, of which %d were before", c.count, c.pods, took, had)
		}
		if most := slices.Max(looked); most > c.most {
			t.Errorf("%d mini-batches, %d pods: one looked %d times at what others have, want %d at most", c.count, c.pods, most, c.most)
		}
	}
}

func TestExceeds(t *testing.T) {
	for _, c := range []struct {
		failed, threshold int
		want              bool
	}{{0, 0, false}, {1, 0, true}, {2, 2, false}, {3, 2, true}, {1 << 30, -1, false}} {
		if got := exceeds(c.failed, c.threshold); got != c.want {
			t.Errorf("%d failed, threshold %d: %t", c.failed, c.threshold, got)
		}
	}
}

func TestFailures(t *testing.T) {
	var names []string
	for i := range 12 {
		names = append(names, fmt.Sprint("f", i))
	}
	got := failures([]outcome{{Failed: 5, Files: names[:5], Error: "boom"}, {Failed: 7, Files: names[5:], Error: "bang"}}, 12, 40)
	want := "12 of 40 files failed: f0, f1, f2, f3, f4, f5, f6, f7, f8, f9 and 2 more. The first said: boom"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCheckBatch(t *testing.T) {
	good := commonruntime.Batch{Data: "data", Output: "score", Script: "src/score.py", File: "p.csv", Processes: 1, MiniBatchSize: 1, TimeoutSeconds: 1}
	spec := commonruntime.JobSpec{Inputs: map[string]commonruntime.Input{"data": {}}, Outputs: map[string]commonruntime.Output{"score": {}}}
	for name, c := range map[string]struct {
		change func(*commonruntime.Batch)
		want   string
	}{
		"good":                 {func(*commonruntime.Batch) {}, ""},
		"no such input":        {func(b *commonruntime.Batch) { b.Data = "x" }, `"x"`},
		"no such model":        {func(b *commonruntime.Batch) { b.Model = "m" }, `"m"`},
		"no such output":       {func(b *commonruntime.Batch) { b.Output = "" }, "output"},
		"nothing to score by":  {func(b *commonruntime.Batch) { b.Script = "" }, "neither"},
		"script outside":       {func(b *commonruntime.Batch) { b.Script = "../x.py" }, "../x.py"},
		"file in a folder":     {func(b *commonruntime.Batch) { b.File = "a/b" }, "a/b"},
		"no process":           {func(b *commonruntime.Batch) { b.Processes = 0 }, "0 processes"},
		"a threshold below -1": {func(b *commonruntime.Batch) { b.ErrorThreshold = -2 }, "errorThreshold -2"},
	} {
		b := good
		c.change(&b)
		spec.Batch = &b
		err := checkBatch(spec)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// batchPod is a pod of a batch job over n files; score is its script.
func batchPod(t *testing.T, n int, score string) *pod {
	t.Helper()
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("no python3 here")
	}
	p := newPod(t, commonruntime.BatchCommand)
	p.spec.Version = commonruntime.Version4
	p.spec.Code = p.blobs.Base + "/acct/code/x"
	p.blobs.Put("acct/code/x/src/score.py", score)
	for i := range n {
		p.blobs.Put(fmt.Sprintf("acct/data/in/f%03d.txt", i), fmt.Sprint(i))
	}
	p.blobs.Put("acct/models/m/deep/m.txt", "model")
	p.spec.Inputs = map[string]commonruntime.Input{
		"data":  {Type: "uri_folder", URL: p.blobs.Base + "/acct/data/in", Mode: "Download"},
		"model": {Type: "custom_model", URL: p.blobs.Base + "/acct/models/m", Mode: "Download"},
	}
	p.spec.Outputs = map[string]commonruntime.Output{"score": {Type: "uri_folder", URL: p.blobs.Base + "/acct/out/score", Mode: "Upload"}}
	p.spec.Batch = &commonruntime.Batch{Data: "data", Model: "model", Output: "score", Script: "src/score.py", File: "predictions.csv",
		Processes: 1, MiniBatchSize: 3, TimeoutSeconds: 60, ErrorThreshold: -1}
	return p
}

const plainScore = `
import os, pathlib
def init():
    global model
    model = next(pathlib.Path(os.environ["AZUREML_MODEL_DIR"]).rglob("m/deep/m.txt")).read_text()
def run(mini_batch):
    print("scoring %d\n" % len(mini_batch), end="")  # one write: lines of script and runtime may be in each other
    return ["%s %s %s" % (os.path.basename(f), open(f).read(), model) for f in mini_batch]
`

// predictions are the sorted lines of the output.
func (p *pod) predictions() []string {
	p.t.Helper()
	s, ok := p.blobs.Get("acct/out/score/predictions.csv")
	if !ok {
		p.t.Fatalf("no predictions; there are %v", p.blobs.Names("acct/out"))
	}
	return slices.Sorted(strings.Lines(s))
}

func expected(n int, but ...int) []string {
	var out []string
	for i := range n {
		if !slices.Contains(but, i) {
			out = append(out, fmt.Sprintf("f%03d.txt %d model\n", i, i))
		}
	}
	return out
}

func TestBatch(t *testing.T) {
	p := batchPod(t, 10, plainScore)
	p.spec.Batch.Processes = 2
	if r := p.run(t.Context()); r.ExitCode != 0 || r.Phase != commonruntime.PhaseDone || r.Code != "" {
		t.Fatalf("result %+v\n%s", r, p.out)
	}
	if diff := cmp.Diff(expected(10), p.predictions()); diff != "" {
		t.Error(diff)
	}
	log := p.artifact("user_logs/std_log.txt")
	if !strings.Contains(log, "fairlead: 10 of 10 files scored, 10 rows") {
		t.Errorf("log %q", log)
	}
}

// TestBatchPods: two pods side by side score each file once, and the first has all rows.
func TestBatchPods(t *testing.T) {
	first := batchPod(t, 20, plainScore)
	first.spec.Batch.MiniBatchSize = 1
	second := *first
	second.cfg.Rank, second.cfg.PodUID, second.cfg.Nonce = 1, "pod-b", "n2"
	first.cfg.NodeCount, second.cfg.NodeCount = 2, 2
	dir := t.TempDir()
	second.cfg.WorkDir, second.cfg.ResultPath = dir+"/work", dir+"/result"
	var wg sync.WaitGroup
	wg.Go(func() {
		if r := second.run(t.Context()); r.ExitCode != 0 {
			t.Errorf("second: %+v", r)
		}
	})
	if r := first.run(t.Context()); r.ExitCode != 0 {
		t.Errorf("first: %+v", r)
	}
	wg.Wait()
	if diff := cmp.Diff(expected(20), first.predictions()); diff != "" {
		t.Error(diff)
	}
	logs := first.artifact("user_logs/std_log.txt") + first.artifact("user_logs/std_log_process_01.txt")
	if n := strings.Count(logs, "scoring 1\n"); n != 20 {
		t.Errorf("run() was called %d times for 20 mini-batches", n)
	}
}

// TestBatchPodLost: a pod ends in the middle, and another attempt goes on; nothing that has a result is scored again, and nothing is lost.
func TestBatchPodLost(t *testing.T) {
	p := batchPod(t, 12, plainScore+`
before = run
def run(mini_batch):
    if any(f.endswith("f006.txt") for f in mini_batch) and not os.environ.get("GO_ON"):
        print("waiting here", flush=True)
        import time
        time.sleep(600)
    return before(mini_batch)
`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	waits := p.out.has("waiting here")
	go func() {
		<-waits
		cancel()
	}()
	p.cfg.KillAfter = 1
	if r := p.run(ctx); r.ExitCode != commonruntime.ExitCanceled || r.Code != CodeCanceled {
		t.Fatalf("the pod that was asked to end: %+v", r)
	}
	done := len(p.blobs.Names(artifacts + ".batch/results/"))
	if done != 2 {
		t.Errorf("%d results when the pod ended, want 2", done)
	}
	p.cfg.Attempt, p.cfg.Nonce, p.cfg.PodUID, p.cfg.WorkDir = 1, "n2", "pod-b", t.TempDir()
	p.spec.Environment = map[string]string{"GO_ON": "1"}
	if r := p.run(t.Context()); r.ExitCode != 0 {
		t.Fatalf("the next attempt: %+v", r)
	}
	if n := strings.Count(p.artifact("retry-001/user_logs/std_log.txt"), "scoring"); n != 2 { // the lines of script and runtime may be in each other
		t.Errorf("the next attempt scored %d mini-batches, want the 2 that were left", n)
	}
	if diff := cmp.Diff(expected(12), p.predictions()); diff != "" {
		t.Error(diff)
	}
}

func TestBatchFaults(t *testing.T) {
	const failing = plainScore + `
before = run
def run(mini_batch):
    for f in mini_batch:
        i = int(open(f).read())
        BODY
    return before(mini_batch)
`
	for name, c := range map[string]struct {
		body   string
		change func(*commonruntime.Batch)
		code   string // of the result; "" is a success without a word
		exit   int
		says   []string
		but    []int // files that have no row
	}{
		"some raise, all ignored": {body: `if i in (1, 4): raise ValueError("bad file %d" % i)`, code: commonruntime.CodeFilesFailed, but: []int{1, 4},
			says: []string{"2 of 6 files failed: f001.txt, f004.txt", "ValueError: bad file 1"}},
		"some raise, within the threshold": {body: `if i in (1, 4): raise ValueError("bad")`, change: func(b *commonruntime.Batch) { b.ErrorThreshold = 2 },
			code: commonruntime.CodeFilesFailed, but: []int{1, 4}, says: []string{"2 of 6"}},
		"more raise than may": {body: `if i in (1, 4): raise ValueError("bad")`, change: func(b *commonruntime.Batch) { b.ErrorThreshold = 1 },
			code: commonruntime.CodeErrorThreshold, exit: exitRuntime, says: []string{"error_threshold 1 was exceeded by 2", "f001.txt, f004.txt", "ValueError: bad"}},
		"a second try succeeds": {body: `
        if i == 2 and not os.path.exists("tried"):
            open("tried", "w").close()
            raise ValueError("once")`, change: func(b *commonruntime.Batch) { b.MaxRetries, b.ErrorThreshold = 1, 0 }},
		"one hangs": {body: `
        if i == 3:
            import time
            time.sleep(600)`, change: func(b *commonruntime.Batch) { b.TimeoutSeconds = 2 }, code: commonruntime.CodeFilesFailed, but: []int{3},
			says: []string{"f003.txt", "took longer than retry_settings.timeout, 2s"}},
		"one ends the process": {body: `if i == 3: os._exit(7)`, code: commonruntime.CodeFilesFailed, but: []int{3}, says: []string{"f003.txt", "exit code 7"}},
		"run() gives nothing":  {body: `if i == 0: return None`, code: commonruntime.CodeFilesFailed, but: []int{0}, says: []string{"run() returned None"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := batchPod(t, 6, strings.Replace(failing, "BODY", c.body, 1))
			p.spec.Batch.MiniBatchSize = 1
			if c.change != nil {
				c.change(p.spec.Batch)
			}
			r := p.run(t.Context())
			if r.Code != c.code || r.ExitCode != c.exit {
				t.Fatalf("%+v, want code %q and exit code %d\n%s", r, c.code, c.exit, p.out)
			}
			for _, s := range c.says {
				if !strings.Contains(r.Message, s) {
					t.Errorf("%q lacks %q", r.Message, s)
				}
			}
			if c.exit == 0 {
				if diff := cmp.Diff(expected(6, c.but...), p.predictions()); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// TestBatchSettings: each setting does what its name says.
func TestBatchSettings(t *testing.T) {
	for name, c := range map[string]struct {
		script    string
		change    func(*commonruntime.Batch)
		code      string
		logs, not []string
	}{
		"mini_batch_size": {script: "import sys\ndef init(): pass\ndef run(b):\n    sys.stdout.write('got %d\\n' % len(b))\n    return b\n", // one write: lines of script and runtime may be in each other
			change: func(b *commonruntime.Batch) { b.MiniBatchSize = 3 }, logs: []string{"got 3\n", "got 1\n", "mini-batch 2 of 2"}, not: []string{"got 2\n"}},
		"max_retries": {script: "def init(): pass\ndef run(b): raise ValueError('never')\n",
			change: func(b *commonruntime.Batch) { b.MaxRetries = 2 }, code: commonruntime.CodeFilesFailed, logs: []string{"try 1 of 3", "try 3 of 3"}, not: []string{"try 4"}},
		"logging_level debug":   {script: speakingScore, change: func(b *commonruntime.Batch) { b.LogLevel = "Debug" }, logs: []string{"said debug", "said info", "said warning"}},
		"logging_level info":    {script: speakingScore, change: func(b *commonruntime.Batch) { b.LogLevel = "Info" }, logs: []string{"said info", "said warning"}, not: []string{"said debug"}},
		"logging_level warning": {script: speakingScore, change: func(b *commonruntime.Batch) { b.LogLevel = "Warning" }, logs: []string{"said warning"}, not: []string{"said debug", "said info"}},
		"max_concurrency_per_instance": {script: `
import os, pathlib, time
def init(): pass
def run(b):
    pathlib.Path("busy-%d" % os.getpid()).touch()
    until = time.time() + 60
    while len(list(pathlib.Path(".").glob("busy-*"))) < 2:
        if time.time() > until:
            raise RuntimeError("alone")
        time.sleep(0.02)
    return b
`, change: func(b *commonruntime.Batch) { b.Processes, b.MiniBatchSize, b.TimeoutSeconds = 2, 1, 120 }, not: []string{"alone"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := batchPod(t, 4, c.script)
			c.change(p.spec.Batch)
			if r := p.run(t.Context()); r.ExitCode != 0 || r.Code != c.code {
				t.Fatalf("%+v\n%s", r, p.out)
			}
			log := p.artifact("user_logs/std_log.txt")
			for _, s := range c.logs {
				if !strings.Contains(log, s) {
					t.Errorf("%q lacks %q", log, s)
				}
			}
			for _, s := range c.not {
				if strings.Contains(log, s) {
					t.Errorf("%q has %q", log, s)
				}
			}
		})
	}
}

const speakingScore = `
import logging
def init(): pass
def run(b):
    for level in ("debug", "info", "warning"):
        getattr(logging, level)("said %s", level)
    return b
`

func TestBatchScriptFails(t *testing.T) {
	for name, c := range map[string]struct{ script, code, says string }{
		"init":    {"def init():\n    raise RuntimeError('no weights')\ndef run(b):\n    return b\n", commonruntime.CodeScriptInit, "RuntimeError: no weights"},
		"import":  {"import nowhere\n", commonruntime.CodeScriptImport, "nowhere"},
		"no run":  {"def init():\n    pass\n", commonruntime.CodeScriptFunction, "run()"},
		"it ends": {"import os\nos._exit(3)\n", CodeCommandNotStarted, "before it had loaded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := batchPod(t, 2, c.script)
			if r := p.run(t.Context()); r.Code != c.code || r.ExitCode != exitRuntime || !strings.Contains(r.Message, c.says) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestBatchSummaryOnly: what the script writes by itself is stored before its mini-batch counts as done.
func TestBatchSummaryOnly(t *testing.T) {
	p := batchPod(t, 4, `
import os
def init(): pass
def run(mini_batch):
    for f in mini_batch:
        with open(os.path.join(os.environ["AZUREML_BI_OUTPUT_PATH"], os.path.basename(f)), "w") as out:
            out.write(open(f).read())
`)
	p.spec.Batch.File, p.spec.Batch.MiniBatchSize = "", 1
	if r := p.run(t.Context()); r.ExitCode != 0 || r.Code != "" {
		t.Fatalf("%+v\n%s", r, p.out)
	}
	if got := len(p.blobs.Names("acct/out/score/")); got != 4 {
		t.Errorf("%v", p.blobs.Names("acct/out/score/"))
	}
}

// TestBoard: what is made once is never made again, and a lost answer is no other's claim.
func TestBoard(t *testing.T) {
	p := batchPod(t, 1, plainScore)
	p.run(t.Context())
	r := &run{cfg: p.cfg, log: nil}
	r.cfg.HTTP = p.blobs.Client()
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	mine := newBoard(r.blobs, r.spec.Artifacts, Config{PodUID: "a", Nonce: "1"})
	theirs := newBoard(r.blobs, r.spec.Artifacts, Config{PodUID: "b", Nonce: "2"})
	ctx := t.Context()
	for i, c := range []struct {
		b    *board
		want bool
	}{{mine, true}, {mine, true}, {theirs, false}} {
		if got, err := c.b.claim(ctx, 5); err != nil || got != c.want {
			t.Errorf("claim %d: %t, %v", i, got, err)
		}
	}
	if err := errors.Join(mine.record(ctx, 5, outcome{Rows: 1}, []byte("mine\n")), theirs.record(ctx, 5, outcome{Failed: 1, Files: []string{"x"}, Error: "bad"}, nil)); err != nil {
		t.Fatal(err)
	}
	o, rows, err := theirs.read(ctx, 5)
	if err != nil || o.Error != "" || string(rows) != "mine\n" {
		t.Errorf("%+v %q %v", o, rows, err)
	}
	if batches, files, err := mine.failed(ctx); err != nil || len(batches)+files > 0 {
		t.Errorf("failed %v %d %v", batches, files, err)
	}
	files, err := theirs.files(ctx, []string{"late"})
	if err != nil || !slices.Equal(files, []string{"f000.txt"}) {
		t.Errorf("files %v %v", files, err)
	}
}
