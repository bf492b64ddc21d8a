package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/testing/freeport"
)

// scorer is a scoring server that runs.
type scorer struct {
	t    *testing.T
	url  string
	stop context.CancelFunc
	done chan int
	cfg  ServerConfig
	out  *lastOutput
}

// newScorer runs the scoring server on a script, or on a model when script is empty.
func newScorer(t *testing.T, path, script string, env ...string) *scorer {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(commonruntime.ServerFile, scoringServer)
	if script != "" {
		write("score.py", []byte(script))
		env = append(env, "AML_APP_ROOT="+dir, "AZUREML_ENTRY_SCRIPT=score.py")
	}
	port := freeport.Take(t)
	s := &scorer{t: t, url: fmt.Sprintf("http://127.0.0.1:%d", port), done: make(chan int, 1), out: &lastOutput{}}
	s.cfg = ServerConfig{BinDir: dir, ResultPath: filepath.Join(dir, "result"), Port: port, Stdout: s.out, KillAfter: 20 * time.Second,
		Environ: append([]string{"PATH=" + path, "HOME=" + dir, "AZUREML_MODEL_DIR=" + dir}, env...)}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(context.Background())
	go func() { s.done <- Serve(ctx, s.cfg) }()
	t.Cleanup(func() {
		s.stop()
		select {
		case <-s.done:
		case <-time.After(time.Minute):
			t.Error("the server does not end")
		}
		if t.Failed() {
			t.Logf("its output:\n%s", s.out)
		}
	})
	return s
}

// ready waits until the server is healthy.
func (s *scorer) ready() *scorer {
	s.t.Helper()
	deadline, tick := time.After(time.Minute), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		if res, err := http.Get(s.url + "/"); err == nil {
			b, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if string(b) == "Healthy" {
				return s
			}
		}
		select {
		case code := <-s.done:
			s.done <- code
			s.t.Fatalf("the server ended with %d", code)
		case <-deadline:
			s.t.Fatal("the server does not become healthy")
		case <-tick.C:
		}
	}
}

func (s *scorer) ask(method, path, body string) (int, string, http.Header) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res.StatusCode, string(b), res.Header
}

func (s *scorer) says(method, path, body string, status int, want string) {
	s.t.Helper()
	if got, text, _ := s.ask(method, path, body); got != status || !strings.Contains(text, want) {
		s.t.Errorf("%s %s %q: %d %q, want %d %q", method, path, body, got, text, status, want)
	}
}

// result waits until the server has ended, and reads what it left.
func (s *scorer) result() commonruntime.Result {
	s.t.Helper()
	var r commonruntime.Result
	select {
	case code := <-s.done:
		s.done <- code
		if code == 0 {
			s.t.Error("it ended with 0")
		}
	case <-time.After(time.Minute):
		s.t.Fatal("the server does not end")
	}
	b, err := os.ReadFile(s.cfg.ResultPath)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// python is a PATH with Python and nothing of the ecosystem.
func python(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err == nil {
		var real []byte
		if real, err = exec.Command(path, "-c", "import sys; print(sys.executable)").Output(); err == nil {
			path = strings.TrimSpace(string(real))
		}
	}
	if err != nil {
		t.Skip("this machine has no python3")
	}
	dir := t.TempDir()
	if err := os.Symlink(path, filepath.Join(dir, "python3")); err != nil {
		t.Fatal(err)
	}
	return dir
}

const echo = `import json
def init():
    global factor
    factor = 2
def run(raw_data):
    doc = json.loads(raw_data)
    if doc == "fail":
        raise ValueError("cannot do that")
    return [factor * x for x in doc["data"]] if isinstance(doc, dict) and "data" in doc else doc
`

func TestServe(t *testing.T) {
	t.Parallel()
	path := python(t)
	t.Run("contract", func(t *testing.T) {
		s := newScorer(t, path, echo).ready()
		s.says("POST", "/score", `{"data": [1, 2.5]}`, 200, "[2, 5.0]")
		s.says("GET", "/score?a=1&b=", "", 200, `{"a": "1", "b": ""}`)
		s.says("POST", "/score", `"fail"`, 500, "traceback")
		s.says("POST", "/score", "\xff", 400, "rawhttp")
		s.says("POST", "/score", `{"data": [3]}`, 200, "[6]")
		s.says("GET", "/swagger.json", "", 200, `"swagger": "2.0"`)
		s.says("GET", "/swagger.json?version=3", "", 200, `"openapi"`)
		s.says("GET", "/swagger.json?version=4", "", 404, "")
		s.says("GET", "/other", "", 404, "/score")
		if _, _, h := s.ask("POST", "/score", `"fail"`); h.Get("x-ms-run-function-failed") != "True" {
			t.Errorf("headers %v", h)
		}
	})
	t.Run("whole requests", func(t *testing.T) {
		s := newScorer(t, path, `from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse
def init(): pass
@rawhttp
def run(request):
    if request.method == "GET": return AMLResponse({"q": request.args["q"]}, 201, {"x-own": "yes"}, json_str=True)
    return AMLResponse(request.get_data()[::-1], 200)
`).ready()
		s.says("POST", "/score", "\x00\xff", 200, "\xff\x00")
		if status, text, h := s.ask("GET", "/score?q=a", ""); status != 201 || text != `{"q": "a"}` || h.Get("x-own") != "yes" {
			t.Errorf("%d %q %v", status, text, h)
		}
	})
	t.Run("workers at once, health besides", func(t *testing.T) {
		s := newScorer(t, path, `import json, os, time
def init(): pass
def run(raw_data):
    d = json.loads(raw_data)
    if d == "die": os._exit(9)
    open(d["here"], "w").close()
    while not os.path.exists(d["there"]): time.sleep(0.01)
    return os.getpid()
`, "WORKER_COUNT=2").ready()
		dir := t.TempDir()
		a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
		var wg sync.WaitGroup
		for _, q := range [][2]string{{a, c}, {b, c}} { // both have to run before c is made
			wg.Go(func() { s.says("POST", "/score", fmt.Sprintf(`{"here": %q, "there": %q}`, q[0], q[1]), 200, "") })
		}
		for _, f := range []string{a, b} {
			awaitFile(t, f)
		}
		s.says("GET", "/", "", 200, "Healthy")
		if err := os.WriteFile(c, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		s.says("POST", "/score", `"die"`, 500, "ended its process")
		s.says("POST", "/score", fmt.Sprintf(`{"here": %q, "there": %q}`, a, c), 200, "")
	})
	t.Run("answers what it has before it ends", func(t *testing.T) {
		s := newScorer(t, path, `import json, os, time
def init(): pass
def run(raw_data):
    d = json.loads(raw_data)
    open(d[0], "w").close()
    while not os.path.exists(d[1]): time.sleep(0.01)
    return "answered"
`).ready()
		dir := t.TempDir()
		here, there := filepath.Join(dir, "here"), filepath.Join(dir, "there")
		answered := make(chan struct{})
		go func() {
			defer close(answered)
			s.says("POST", "/score", fmt.Sprintf(`[%q, %q]`, here, there), 200, `"answered"`)
		}()
		awaitFile(t, here)
		s.stop()
		if err := os.WriteFile(there, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		<-answered
	})
	t.Run("an MLflow model without mlflow", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.Mkdir(filepath.Join(dir, "model"), 0o755); err != nil {
			t.Fatal(err)
		}
		make := exec.Command(filepath.Join(path, "python3"), "-c", `
import pickle, sys, fractions
# A model of the standard library: its predict is looked up by name when it is loaded.
class Sum: pass
open(sys.argv[1] + "/summing.py", "w").write("class Sum:\n    def predict(self, rows):\n        return [sum(r) for r in rows]\n")
sys.path.insert(0, sys.argv[1]); import summing
pickle.dump(summing.Sum(), open(sys.argv[1] + "/model/own.pkl", "wb"))`, dir)
		if out, err := make.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if err := os.WriteFile(filepath.Join(dir, "model", "MLmodel"), []byte("artifact_path: model\nflavors:\n  python_function:\n    loader_module: mlflow.sklearn\n  sklearn:\n    code: null\n    pickled_model: own.pkl\n    serialization_format: cloudpickle\nmlflow_version: 2.9\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		s := newScorer(t, path, "", "AZUREML_MODEL_DIR="+dir, "PYTHONPATH="+dir).ready()
		s.says("POST", "/score", `{"input_data": [[1, 2], [3, 4]]}`, 200, "[3, 7]")
		s.says("POST", "/score", `{"rows": 1}`, 400, "input_data")
	})
}

func awaitFile(t *testing.T, path string) {
	t.Helper()
	deadline, tick := time.After(time.Minute), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("%s is not there", path)
			return
		}
	}
}

// broken are scripts that cannot serve, with what is told of them.
var broken = map[string]struct {
	script, code string
	says         []string
}{
	"init":        {"import os\ndef init():\n    raise RuntimeError('no weights in ' + os.environ['AZUREML_MODEL_DIR'])\ndef run(d): pass\n", commonruntime.CodeScriptInit, []string{"RuntimeError: no weights in /", "line 3, in init"}},
	"import":      {"import nosuchthing\n", commonruntime.CodeScriptImport, []string{"No module named 'nosuchthing'", "line 1"}},
	"syntax":      {"def init(:\n", commonruntime.CodeScriptImport, []string{"SyntaxError"}},
	"no run":      {"def init(): pass\n", commonruntime.CodeScriptFunction, []string{"run()"}},
	"no init":     {"def run(d): pass\n", commonruntime.CodeScriptFunction, []string{"init()"}},
	"no argument": {"def init(): pass\ndef run(): pass\n", commonruntime.CodeScriptFunction, []string{"argument"}},
}

func TestServe_TellsWhatIsWrong(t *testing.T) {
	t.Parallel()
	tells(t, python(t))
	t.Run("no Python", func(t *testing.T) {
		if r := newScorer(t, t.TempDir(), echo).result(); r.Code != commonruntime.CodeServerMissing || !strings.Contains(r.Message, "azmlinfsrv") {
			t.Errorf("result %+v", r)
		}
	})
}

func tells(t *testing.T, path string) {
	for name, c := range broken {
		t.Run(name, func(t *testing.T) {
			r := newScorer(t, path, c.script).result()
			if r.Code != c.code {
				t.Errorf("code %q, want %q", r.Code, c.code)
			}
			for _, part := range c.says {
				if !strings.Contains(r.Message, part) {
					t.Errorf("%q lacks %q", r.Message, part)
				}
			}
		})
	}
}

// TestServe_Ecosystem runs the same scripts on azureml-inference-server-http, which is installed from PyPI in a folder of its own.
func TestServe_Ecosystem(t *testing.T) {
	t.Parallel()
	path := ecosystem(t)
	s := newScorer(t, path, echo).ready()
	s.says("POST", "/score", `{"data": [1, 2.5]}`, 200, "[2, 5.0]")
	s.says("POST", "/score", `"fail"`, 500, "")
	s.says("GET", "/swagger.json", "", 200, "swagger")
	tells(t, path)
}

// ecosystem is the PATH of a virtual environment with what testdata/azmlinfsrv.txt names, kept in the user's cache.
func ecosystem(t *testing.T) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skip("no folder for caches: ", err)
	}
	want, err := os.ReadFile("testdata/azmlinfsrv.txt")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "fairlead", "azmlinfsrv")
	bin := filepath.Join(dir, "bin")
	if have, err := os.ReadFile(filepath.Join(dir, "installed.txt")); err == nil && bytes.Equal(have, want) {
		return bin
	}
	for _, argv := range [][]string{{"python3", "-m", "venv", "--clear", dir}, {filepath.Join(bin, "pip"), "install", "-q", "--no-deps", "-r", "testdata/azmlinfsrv.txt"}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Skipf("azureml-inference-server-http cannot be installed here: %v\n%s", err, out)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "installed.txt"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	return bin
}

func FuzzDiagnose(f *testing.F) {
	f.Add("Traceback (most recent call last):\nUserScriptImportException\n")
	f.Add("UserScriptInitFailed: init() failed\n" + strings.Repeat("é", 4000))
	f.Fuzz(func(t *testing.T, output string) {
		code, message := diagnose(output)
		b := EncodeResult(commonruntime.Result{Code: code, Message: message})
		var r commonruntime.Result
		if len(b) > maxResult || json.Unmarshal(b, &r) != nil || r.Code == "" {
			t.Errorf("%q gives %s", output, b)
		}
	})
}
