package runtime

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/runtime/blobclient"
)

// Bounds of what the board keeps, in bytes.
const (
	maxPlan = 256 << 20
	maxRows = 64 << 20 // of one mini-batch
)

// board is what the pods of a batch job share: blobs in the run's artifacts, each made once, by whoever comes first.
//
//	.batch/files.json              the files of the input, as the first pod saw them
//	.batch/claims/<attempt>/<n>    who scores mini-batch n in this attempt
//	.batch/results/<n>             how mini-batch n ended, and its rows
//	.batch/failed/<n>-<files>      that it failed, so that a listing tells how many files did
//
// A result stands for all attempts. So whatever pods die, nothing is scored that has a result, and nothing counts twice. The control
// plane deletes the folder when the job has ended.
type board struct {
	blobs  *blobclient.Client
	folder string
	// me is this process, and attempt the one it belongs to.
	me      string
	attempt int
}

func newBoard(blobs *blobclient.Client, artifacts string, c Config) *board {
	return &board{blobs: blobs, folder: blobclient.Join(artifacts, commonruntime.BatchFolder), me: c.PodUID + " " + c.Nonce, attempt: c.Attempt}
}

func (b *board) at(name string) string { return blobclient.Join(b.folder, name) }

// files settles which files are scored.
func (b *board) files(ctx context.Context, seen []string) ([]string, error) {
	raw, err := json.Marshal(seen)
	if err != nil {
		return nil, fmt.Errorf("encoding names of files: %w", err)
	}
	if len(raw) > maxPlan {
		return nil, fmt.Errorf("the names of the %d files are %d bytes; at most %d are allowed", len(seen), len(raw), maxPlan)
	}
	first, err := create(ctx, b.blobs, b.at("files.json"), string(raw))
	if first || err != nil {
		return seen, err
	}
	if raw, err = b.blobs.ReadSmall(ctx, b.at("files.json"), maxPlan); err != nil {
		return nil, fmt.Errorf("reading which files are scored: %w", err)
	}
	var files []string
	if err := json.Unmarshal(raw, &files); err != nil || len(files) == 0 {
		return nil, fmt.Errorf("reading which files are scored: %w", orEmpty(err))
	}
	return files, nil
}

func (b *board) claims() string { return "claims/" + strconv.Itoa(b.attempt) }

// claim takes a mini-batch for this process; false when another has it.
func (b *board) claim(ctx context.Context, n int) (bool, error) {
	blob := b.at(fmt.Sprintf("%s/%d", b.claims(), n))
	first, err := create(ctx, b.blobs, blob, b.me)
	if first || err != nil {
		return first, err
	}
	holder, err := b.blobs.ReadSmall(ctx, blob, 1<<10) // it may be ours, when an answer was lost
	return string(holder) == b.me, err
}

// claimed adds the mini-batches that are claimed in this attempt.
func (b *board) claimed(ctx context.Context, to map[int]bool) error {
	return b.numbers(ctx, b.claims(), to)
}

// results are the mini-batches that have a result.
func (b *board) results(ctx context.Context) (map[int]bool, error) {
	out := map[int]bool{}
	return out, b.numbers(ctx, "results", out)
}

func (b *board) numbers(ctx context.Context, folder string, out map[int]bool) error {
	return b.blobs.List(ctx, b.at(folder), func(blob blobclient.Blob) error {
		if n, err := strconv.Atoi(blob.Name); err == nil {
			out[n] = true
		}
		return nil
	})
}

// outcome is how a mini-batch ended. Of one that failed it has the number of its files, the names of the first and what was said.
type outcome struct {
	Rows   int      `json:"rows"`
	Failed int      `json:"failed,omitempty"`
	Files  []string `json:"files,omitempty"`
	Error  string   `json:"error,omitempty"`
}

// record keeps how a mini-batch ended, with its rows, unless that is known already.
func (b *board) record(ctx context.Context, n int, o outcome, rows []byte) error {
	head, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encoding the result of mini-batch %d: %w", n, err)
	}
	first, err := create(ctx, b.blobs, b.at(fmt.Sprintf("results/%d", n)), string(head)+"\n"+string(rows))
	if err == nil && first && o.Failed > 0 {
		_, err = create(ctx, b.blobs, b.at(fmt.Sprintf("failed/%d-%d", n, o.Failed)), "")
	}
	if err != nil {
		return fmt.Errorf("storing the result of mini-batch %d: %w", n, err)
	}
	return nil
}

// read is a result and its rows.
func (b *board) read(ctx context.Context, n int) (o outcome, rows []byte, err error) {
	raw, err := b.blobs.ReadSmall(ctx, b.at(fmt.Sprintf("results/%d", n)), maxRows+1<<20)
	if err != nil {
		return o, nil, fmt.Errorf("reading the result of mini-batch %d: %w", n, err)
	}
	head, rows, _ := bytes.Cut(raw, []byte("\n"))
	if err := json.Unmarshal(head, &o); err != nil {
		return o, nil, fmt.Errorf("reading the result of mini-batch %d: %w", n, err)
	}
	return o, rows, nil
}

// failed are the mini-batches that failed so far, and how many files they have.
func (b *board) failed(ctx context.Context) (batches []int, files int, err error) {
	err = b.blobs.List(ctx, b.at("failed"), func(blob blobclient.Blob) error {
		number, count, _ := strings.Cut(blob.Name, "-")
		n, err := strconv.Atoi(number)
		if err != nil {
			return nil
		}
		k, err := strconv.Atoi(count)
		if err != nil {
			return nil
		}
		batches, files = append(batches, n), files+k
		return nil
	})
	return batches, files, err
}
