package runtime

import (
	"bufio"
	"context"
	_ "embed" // the scoring process
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"fairlead.dev/fairlead/api/commonruntime"
)

// batchWorkerScript is what a scoring process runs; it shares the loading of scripts and models with the scoring server.
//
//go:embed batch_worker.py
var batchWorkerScript []byte

// installBatch puts the scoring process's scripts into a folder and returns the path of the one to run.
func installBatch(dir string) (string, error) {
	path := filepath.Join(dir, "batch_worker.py")
	err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(path, batchWorkerScript, 0o644), os.WriteFile(filepath.Join(dir, commonruntime.ServerFile), scoringServer, 0o644))
	if err != nil {
		return "", fmt.Errorf("writing the scoring process's script: %w", err)
	}
	return path, nil
}

// scoringCall is one mini-batch as the scoring process gets it: paths of files, and where to write rows.
type scoringCall struct {
	Files []string `json:"files"`
	Out   string   `json:"out"`
}

// scoringAnswer is what it says: once it has loaded, and after each call. Code is of a script that cannot be loaded.
type scoringAnswer struct {
	Ready bool   `json:"ready"`
	Rows  int    `json:"rows"`
	Code  string `json:"code"`
	Error string `json:"error"`
}

// batchWorker is a scoring process, made when it is first needed and anew after it hung or died.
type batchWorker struct {
	make func() process
	// grace is how long it may take to end.
	grace time.Duration

	child    *child
	requests *os.File
	answers  *os.File
	lines    *bufio.Reader
	last     *lastOutput
}

var errScoringTimeout = errors.New("run() took longer than retry_settings.timeout")

// load starts the process and waits until the script is loaded. An error is for good: another try would end the same.
func (w *batchWorker) load(ctx context.Context) error {
	if w.child != nil {
		return nil
	}
	reqR, reqW, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("making pipe: %w", err)
	}
	ansR, ansW, err := os.Pipe()
	if err != nil {
		_, _ = reqR.Close(), reqW.Close()
		return fmt.Errorf("making pipe: %w", err)
	}
	p := w.make()
	w.last = &lastOutput{}
	p.files, p.out = []*os.File{reqR, ansW}, io.MultiWriter(p.out, w.last)
	w.requests, w.answers, w.lines = reqW, ansR, bufio.NewReader(ansR)
	w.child, err = start(p)
	_, _ = reqR.Close(), ansW.Close() // they are the process's now: its end is to be seen
	if err != nil {
		w.end()
		return fail(CodeCommandNotStarted, err)
	}
	a, err := w.next(ctx, 0)
	switch {
	case err == nil && a.Code != "":
		err = fail(a.Code, errors.New(ends(a.Error, maxSaid)))
	case err == nil:
		return nil
	case ctx.Err() == nil:
		err = fail(CodeCommandNotStarted, fmt.Errorf("the scoring process ended before it had loaded (%w); scoring needs python3 in the image. Its last output:\n%s", err, ends(w.last.String(), maxSaid)))
	}
	w.end()
	return err
}

// score has a mini-batch scored. After an error that is not the script's own the process is ended.
func (w *batchWorker) score(ctx context.Context, c scoringCall, timeout time.Duration) (scoringAnswer, error) {
	line, err := json.Marshal(c)
	if err != nil {
		return scoringAnswer{}, fmt.Errorf("encoding a mini-batch: %w", err)
	}
	// The process reads a whole line before it works, so that writing waits for nothing but a process that is gone or stopped.
	_ = w.requests.SetWriteDeadline(time.Now().Add(timeout))
	_, err = w.requests.Write(append(line, '\n'))
	var a scoringAnswer
	if err == nil {
		a, err = w.next(ctx, timeout)
	}
	if err != nil {
		code := w.end()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return a, fmt.Errorf("%w, %v", errScoringTimeout, timeout)
		}
		return a, fmt.Errorf("the scoring process ended with exit code %d while it scored. Its last output:\n%s", code, ends(w.last.String(), maxSaid))
	}
	if a.Error != "" {
		return a, errors.New(ends(a.Error, maxSaid))
	}
	return a, nil
}

// next reads an answer; 0 waits for as long as ctx does.
func (w *batchWorker) next(ctx context.Context, timeout time.Duration) (scoringAnswer, error) {
	deadline := time.Time{}
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	_ = w.answers.SetReadDeadline(deadline)
	defer context.AfterFunc(ctx, func() { _ = w.answers.SetReadDeadline(time.Unix(1, 0)) })()
	var a scoringAnswer
	line, err := w.lines.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &a)
	}
	return a, err
}

// end stops the process, if there is one, and returns its exit code.
func (w *batchWorker) end() int {
	_, _ = w.requests.Close(), w.answers.Close()
	if w.child == nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), 0)
	defer cancel()
	code, _ := w.child.wait(ctx, runner{killAfter: w.grace, drainAfter: 2 * time.Second})
	w.child = nil
	return code
}
