package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/runtime/blobclient"
)

// resultPoll is how often the first pod looks whether the others are done.
const resultPoll = 2 * time.Second

// batchRun is the part that one pod has in a batch job: its scoring processes take mini-batches from the board until none is left, and
// the first pod puts all rows into one file.
type batchRun struct {
	spec  commonruntime.Batch
	board *board
	log   *slog.Logger
	// dir is a folder of its own, input where the files are, batches what they are divided into.
	dir, input string
	files      int
	batches    [][]string
	rank, pods int
	// store uploads what a script wrote by itself; nil when nothing is expected.
	store func(ctx context.Context) error

	mu sync.Mutex
	at place
}

// batch scores, in the place of a command.
func (r *run) batch(ctx context.Context, g gang, p prepared, logs []*spool) commonruntime.Result {
	r.files.setPhase(commonruntime.PhaseRunning)
	res, err := r.runBatch(ctx, g, p, logs)
	lost := r.lost(logs)
	if err != nil {
		res = failed(commonruntime.PhaseRunning, canceledOr(ctx, err))
		_, _ = fmt.Fprintf(io.MultiWriter(logs[0], quiet{r.cfg.Stdout}), "fairlead: %s\n", res.Message)
	} else if lost != "" && res.Code == "" {
		res.Code = CodeLogLost
	}
	res.Message += lost
	return res
}

func (r *run) runBatch(ctx context.Context, g gang, p prepared, logs []*spool) (commonruntime.Result, error) {
	done := commonruntime.Result{Phase: commonruntime.PhaseDone}
	spec := *r.spec.Batch
	b := &batchRun{spec: spec, board: newBoard(r.blobs, r.spec.Artifacts, r.cfg), log: r.log, dir: filepath.Join(r.cfg.WorkDir, "batch"),
		input: p.inputs[spec.Data], rank: g.rank, pods: g.nodes}
	script, err := installBatch(b.dir)
	if err != nil {
		return done, err
	}
	if spec.File == "" {
		b.store = r.storeWritten(p.outputs[spec.Output], r.spec.Outputs[spec.Output].URL)
	}
	if err := b.plan(ctx); err != nil {
		return done, err
	}
	vars, err := r.batchEnviron(b.dir, script, p)
	if err != nil {
		return done, err
	}
	workers, wctx := errgroup.WithContext(ctx)
	for i, log := range logs {
		env := maps.Clone(vars)
		maps.Copy(env, g.environ(i))
		w := &batchWorker{grace: 5 * time.Second, make: func() process {
			return process{argv: p.argv, dir: r.cfg.codeDir(), out: io.MultiWriter(log, quiet{r.cfg.Stdout}), env: commandEnviron(r.cfg, r.spec, p, env)}
		}}
		workers.Go(func() error { return b.work(wctx, w, i, log) })
	}
	if err := workers.Wait(); err != nil || b.rank != 0 {
		return done, err
	}
	return b.finish(ctx, p.outputs[spec.Output], logs[0])
}

// batchEnviron are the variables of scoring processes. The model has the name that its address ends in, as in online deployments.
func (r *run) batchEnviron(dir, script string, p prepared) (map[string]string, error) {
	b := r.spec.Batch
	env := map[string]string{commonruntime.BatchWorkerEnv: script, "AML_APP_ROOT": r.cfg.codeDir(), "PYTHONUNBUFFERED": "1",
		"AZUREML_ENTRY_SCRIPT": b.Script, "AZUREML_BI_OUTPUT_PATH": p.outputs[b.Output], "AZUREML_BATCH_LOGGING_LEVEL": strings.ToLower(b.LogLevel)}
	if b.Model == "" {
		return env, nil
	}
	env["AZUREML_MODEL_DIR"] = filepath.Join(dir, "model")
	return env, linkModel(p.inputs[b.Model], filepath.Join(dir, "model", baseName(r.spec.Inputs[b.Model].URL)))
}

// linkModel has a model, a file or a folder, found at a path.
func linkModel(model, at string) error {
	files, err := inputFiles(model)
	if err != nil {
		return fmt.Errorf("looking for the model: %w", err)
	}
	var t tree
	for _, name := range files {
		t.files = append(t.files, blobclient.Blob{Name: name})
	}
	return t.link(model, at)
}

// plan divides the input as all pods do.
func (b *batchRun) plan(ctx context.Context) error {
	files, err := inputFiles(b.input)
	if err != nil {
		return fail(CodeInputDownloadFailed, fmt.Errorf("looking for the files to score: %w", err))
	}
	if files, err = b.board.files(ctx, files); err != nil {
		return err
	}
	b.files, b.batches = len(files), divide(files, b.spec.MiniBatchSize)
	taken, err := b.board.results(ctx)
	if err == nil {
		err = b.board.claimed(ctx, taken)
	}
	b.at = newPlace(len(b.batches), b.rank, b.pods, taken)
	b.log.Info("files are divided", "files", b.files, "miniBatches", len(b.batches), "taken", len(taken))
	return err
}

// take claims a mini-batch; -1 when none is left. Who finds that another pod was first looks what all have by now and goes to where
// most is left, so that pods that have met part again.
func (b *batchRun) take(ctx context.Context) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		n := b.at.pick()
		if n < 0 {
			return -1, nil
		}
		mine, err := b.board.claim(ctx, n)
		if err != nil {
			return -1, fmt.Errorf("claiming mini-batch %d: %w", n, err)
		}
		b.at.taken[n] = true
		if mine {
			return n, nil
		}
		if err := b.board.claimed(ctx, b.at.taken); err != nil {
			return -1, fmt.Errorf("looking which mini-batches are claimed: %w", err)
		}
		b.at.move()
	}
}

// work is the life of one scoring process.
func (b *batchRun) work(ctx context.Context, w *batchWorker, id int, log io.Writer) error {
	defer func() {
		if w.child != nil {
			w.end()
		}
	}()
	for {
		n, err := b.take(ctx)
		if n < 0 || err != nil {
			return err
		}
		out := ""
		if b.spec.File != "" {
			out = filepath.Join(b.dir, fmt.Sprintf("rows-%d", id))
		}
		o, err := b.score(ctx, w, n, out, log)
		if err != nil {
			return err
		}
		if err := b.keep(ctx, n, o, out); err != nil {
			return err
		}
	}
}

// score tries a mini-batch until it succeeds or has been tried often enough. An error is not the mini-batch's.
func (b *batchRun) score(ctx context.Context, w *batchWorker, n int, out string, log io.Writer) (outcome, error) {
	names := b.batches[n]
	call := scoringCall{Out: out, Files: make([]string, len(names))}
	for i, name := range names {
		call.Files[i] = filepath.Join(b.input, filepath.FromSlash(name))
	}
	for try := 1; ; try++ {
		if err := w.load(ctx); err != nil {
			return outcome{}, err
		}
		began := time.Now()
		a, err := w.score(ctx, call, time.Duration(b.spec.TimeoutSeconds)*time.Second)
		switch {
		case ctx.Err() != nil:
			return outcome{}, context.Cause(ctx)
		case err == nil:
			if b.spec.LogLevel != "Warning" {
				fmt.Fprintf(log, "fairlead: mini-batch %d of %d: %d files, %d rows, %v\n", n+1, len(b.batches), len(names), a.Rows, time.Since(began).Round(time.Millisecond))
			}
			return outcome{Rows: a.Rows}, nil
		}
		fmt.Fprintf(log, "fairlead: mini-batch %d of %d failed, try %d of %d: %v\n", n+1, len(b.batches), try, b.spec.MaxRetries+1, err)
		if try > b.spec.MaxRetries {
			return b.failure(n, err.Error()), nil
		}
	}
}

// failure is the outcome of a mini-batch whose files all failed.
func (b *batchRun) failure(n int, said string) outcome {
	names := b.batches[n]
	if len(names) == 1 && names[0] == "" { // the input is a file
		names = []string{filepath.Base(b.input)}
	}
	return outcome{Failed: len(names), Files: names[:min(len(names), maxNamed)], Error: said}
}

// keep records how a mini-batch ended, once what the script wrote by itself is stored, and ends the job when too much has failed.
func (b *batchRun) keep(ctx context.Context, n int, o outcome, out string) error {
	var rows []byte
	if out != "" && o.Error == "" {
		fi, err := os.Stat(out)
		if err == nil && fi.Size() > maxRows {
			o = b.failure(n, fmt.Sprintf("its rows are %d bytes; at most %d are taken of a mini-batch: make mini_batch_size smaller, or write files with output_action summary_only", fi.Size(), maxRows))
		} else if rows, err = os.ReadFile(out); err != nil {
			return fmt.Errorf("reading the rows of mini-batch %d: %w", n, err)
		}
	}
	if b.store != nil {
		if err := b.store(ctx); err != nil {
			return fail(CodeOutputUploadFailed, err)
		}
	}
	if err := b.board.record(ctx, n, o, rows); err != nil || o.Error == "" || b.spec.ErrorThreshold < 0 {
		return err
	}
	batches, files, err := b.board.failed(ctx)
	if err != nil || !exceeds(files, b.spec.ErrorThreshold) {
		return err
	}
	var all []outcome
	for _, n := range batches {
		o, _, err := b.board.read(ctx, n)
		if err != nil {
			return err
		}
		if all = append(all, o); len(all) > maxNamed { // enough for a message, but for the number
			break
		}
	}
	return b.tooMany(all, files)
}

func (b *batchRun) tooMany(bad []outcome, files int) error {
	return fail(commonruntime.CodeErrorThreshold, fmt.Errorf("error_threshold %d was exceeded by %d: %s", b.spec.ErrorThreshold, files, failures(bad, files, b.files)))
}

// finish waits for the results of all pods and puts their rows into the output's file.
func (b *batchRun) finish(ctx context.Context, folder string, log io.Writer) (commonruntime.Result, error) {
	res := commonruntime.Result{Phase: commonruntime.PhaseDone}
	tick := time.NewTicker(resultPoll)
	defer tick.Stop()
	for {
		have, err := b.board.results(ctx)
		if err != nil {
			return res, fmt.Errorf("looking for results: %w", err)
		}
		if len(have) >= len(b.batches) {
			break
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return res, context.Cause(ctx)
		}
	}
	rows, bad, err := b.gather(ctx, folder)
	if err != nil {
		return res, err
	}
	failedFiles := 0
	for _, o := range bad {
		failedFiles += o.Failed
	}
	if exceeds(failedFiles, b.spec.ErrorThreshold) {
		return res, b.tooMany(bad, failedFiles)
	}
	fmt.Fprintf(log, "fairlead: %d of %d files scored, %d rows\n", b.files-failedFiles, b.files, rows)
	if len(bad) > 0 {
		res.Code, res.Message = commonruntime.CodeFilesFailed, failures(bad, failedFiles, b.files)
		fmt.Fprintf(log, "fairlead: %s\n", res.Message)
	}
	return res, nil
}

// gather writes the rows of all mini-batches in their order, and gives their number and the mini-batches that failed.
func (b *batchRun) gather(ctx context.Context, folder string) (rows int, bad []outcome, err error) {
	var w io.Writer = io.Discard
	if b.spec.File != "" {
		f, ferr := os.Create(filepath.Join(folder, b.spec.File))
		if ferr != nil {
			return 0, nil, fmt.Errorf("making the file of the output: %w", ferr)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		w = f
	}
	for n := range b.batches {
		o, text, err := b.board.read(ctx, n)
		if err != nil {
			return rows, bad, err
		}
		if o.Error != "" {
			bad = append(bad, o)
			continue
		}
		if _, err := w.Write(text); err != nil {
			return rows, bad, fmt.Errorf("writing the file of the output: %w", err)
		}
		rows += o.Rows
	}
	return rows, bad, nil
}

// storeWritten uploads what is new or changed in a folder, each time it is called, one call at a time.
func (r *run) storeWritten(dir, url string) func(context.Context) error {
	type state struct {
		size int64
		at   time.Time
	}
	var mu sync.Mutex
	stored := map[string]state{}
	u := uploader{blobs: r.blobs, log: r.log, newest: r.newest}
	return func(ctx context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			fi, err := os.Stat(p)
			if errors.Is(err, fs.ErrNotExist) || err == nil && (!fi.Mode().IsRegular() || stored[p] == state{fi.Size(), fi.ModTime()}) {
				return nil
			}
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(dir, p)
			if err != nil {
				return err
			}
			if err := u.file(ctx, p, blobclient.Join(url, filepath.ToSlash(rel)), fi); err != nil {
				return err
			}
			stored[p] = state{fi.Size(), fi.ModTime()}
			return nil
		})
	}
}
