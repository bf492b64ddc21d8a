package runtime

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/api/commonruntime"
)

// ServerConfig is how a pod of an online deployment runs its scoring script.
type ServerConfig struct {
	// BinDir holds our scoring server.
	BinDir, ResultPath string
	// Environ has AML_APP_ROOT, AZUREML_ENTRY_SCRIPT and AZUREML_MODEL_DIR, and is what the server inherits.
	Environ []string
	Stdout  io.Writer
	// Port is where it answers.
	Port int
	// KillAfter is how long the server may take to end.
	KillAfter time.Duration
}

// ServerFromEnvironment is the configuration in a pod.
func ServerFromEnvironment(environ []string) ServerConfig {
	return ServerConfig{BinDir: commonruntime.BinDir, ResultPath: commonruntime.ReasonPath, Environ: environ, Stdout: os.Stdout, Port: commonruntime.ServingPort, KillAfter: 25 * time.Second}
}

// Serve runs the scoring server until ctx ends or it does, leaves word of what went wrong, and returns the exit code for the process.
func Serve(ctx context.Context, cfg ServerConfig) int {
	defer orphans.run()()
	log := slog.New(slog.NewTextHandler(cfg.Stdout, nil))
	env := environment(cfg.Environ)
	argv, err := cfg.server(env)
	if err != nil {
		return cfg.end(log, commonruntime.Result{Phase: commonruntime.PhasePreparing, ExitCode: exitRuntime, Code: commonruntime.CodeServerMissing, Message: err.Error()})
	}
	log.Info("starting the scoring server", "program", argv[0], "script", env["AZUREML_ENTRY_SCRIPT"], "model", env["AZUREML_MODEL_DIR"])
	last := &lastOutput{}
	p := process{argv: argv, env: append(slices.Clone(cfg.Environ), "PYTHONUNBUFFERED=1", "AZUREML_INFERENCE_PORT="+strconv.Itoa(cfg.Port)), dir: cmp.Or(env["AML_APP_ROOT"], "/"), out: io.MultiWriter(quiet{cfg.Stdout}, last)}
	e := runner{killAfter: cfg.KillAfter, drainAfter: 2 * time.Second}.run(ctx, []process{p}, func() {})
	switch {
	case e.err != nil:
		return cfg.end(log, commonruntime.Result{Phase: commonruntime.PhasePreparing, ExitCode: exitRuntime, Code: commonruntime.CodeServerMissing, Message: e.err.Error()})
	case e.cause != "":
		return 0 // it was asked to end
	}
	code, message := diagnose(last.String())
	return cfg.end(log, commonruntime.Result{Phase: commonruntime.PhaseRunning, ExitCode: cmp.Or(e.code, 1), Code: code, Message: message})
}

func (c ServerConfig) end(log *slog.Logger, r commonruntime.Result) int {
	if err := (Config{ResultPath: c.ResultPath}).writeResult(r); err != nil {
		log.Error("result not written", "error", err)
	}
	return r.ExitCode
}

func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, kv := range environ {
		k, v, _ := strings.Cut(kv, "=")
		env[k] = v
	}
	return env
}

// server is the command line of the ecosystem's inference server where the image has it, else of ours. A model without a scoring script
// is ours to serve.
func (c ServerConfig) server(env map[string]string) ([]string, error) {
	script := env["AZUREML_ENTRY_SCRIPT"]
	if path := find("azmlinfsrv", env["PATH"]); path != "" && script != "" {
		argv := []string{path, "--entry_script", filepath.Join(env["AML_APP_ROOT"], script), "--port", strconv.Itoa(c.Port), "--worker_count", cmp.Or(env["WORKER_COUNT"], "1")}
		if dir := env["AZUREML_MODEL_DIR"]; dir != "" {
			argv = append(argv, "--model_dir", dir)
		}
		return argv, nil
	}
	for _, name := range []string{"python3", "python"} {
		if path := find(name, env["PATH"]); path != "" {
			return []string{path, filepath.Join(c.BinDir, commonruntime.ServerFile)}, nil
		}
	}
	return nil, errors.New("the image has neither azmlinfsrv (of package azureml-inference-server-http) nor python3 in its PATH, and a scoring script or MLflow model needs one of them; use an image with Python, or one that serves by itself and an environment that names its routes (inference_config)")
}

// find looks for a program as a shell does.
func find(name, path string) string {
	for _, p := range candidates(name, path) {
		if fi, err := os.Stat(p); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return p
		}
	}
	return ""
}

// marks are what the two servers write before they end because of the scoring script, and what that means; the first that is found counts.
var marks = []struct{ text, code string }{
	{"UserScriptFunctionNotFound: ", commonruntime.CodeScriptFunction},
	{"UserScriptImportError: ", commonruntime.CodeScriptImport},
	{"UserScriptInitFailed: ", commonruntime.CodeScriptInit},
	{"does not have a run() function", commonruntime.CodeScriptFunction},
	{"does not have a init() function", commonruntime.CodeScriptFunction},
	{"run() needs to accept an argument", commonruntime.CodeScriptFunction},
	{"UserScriptImportException", commonruntime.CodeScriptImport},
	{"User's init function failed", commonruntime.CodeScriptInit},
}

// chained begins what Python adds to a traceback about the server's own error.
const chained = "\nThe above exception was the direct cause"

// maxSaid bounds what is told of the output.
const maxSaid = 2500

// diagnose tells from a server's last output why it ended: the script's traceback if it is that, else the last lines.
func diagnose(output string) (code, message string) {
	for _, m := range marks {
		at := strings.Index(output, m.text)
		if at < 0 {
			continue
		}
		text := output[at:]
		if strings.HasSuffix(m.text, ": ") { // ours
			text = strings.TrimPrefix(text, m.text)
		} else if t := strings.Index(output, "Traceback ("); t >= 0 { // theirs: the script's own error comes first
			text, _, _ = strings.Cut(output[t:], chained)
		}
		return m.code, ends(text, maxSaid)
	}
	return commonruntime.CodeServerEnded, "the scoring server ended; its last output:\n" + ends(output, maxSaid)
}

// ends keeps the beginning and the end of a long text: what happened stands in the first lines of a traceback, why in the last.
func ends(s string, limit int) string {
	s = strings.TrimSpace(strings.ToValidUTF8(strings.Map(printable, s), ""))
	if len(s) <= limit {
		return s
	}
	head := s[:limit/5]
	if i := strings.LastIndex(head, "\n"); i > 0 {
		head = head[:i]
	}
	rest := s[len(s)-limit*4/5:]
	if _, after, ok := strings.Cut(rest, "\n"); ok {
		rest = after
	}
	return head + "\n…\n" + strings.ToValidUTF8(rest, "")
}

// maxLast is what is remembered of the server's output.
const maxLast = 16 << 10

// lastOutput remembers the end of what is written.
type lastOutput struct {
	mu sync.Mutex
	b  []byte
}

// Write implements io.Writer.
func (l *lastOutput) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	if over := len(l.b) - maxLast; over > 0 {
		l.b = append(l.b[:0], l.b[over:]...)
	}
	return len(p), nil
}

// String is the end of the output.
func (l *lastOutput) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.b)
}
