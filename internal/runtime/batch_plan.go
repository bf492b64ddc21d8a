package runtime

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"fairlead.dev/fairlead/api/commonruntime"
)

// checkBatch checks what only batch jobs have.
func checkBatch(s commonruntime.JobSpec) error {
	b := s.Batch
	if b == nil {
		return nil
	}
	_, data := s.Inputs[b.Data]
	_, model := s.Inputs[b.Model]
	_, output := s.Outputs[b.Output]
	switch {
	case !data || !output || b.Model != "" && !model:
		return fmt.Errorf("batch names inputs %q and %q and output %q, which the job does not all have", b.Data, b.Model, b.Output)
	case b.Script == "" && b.Model == "":
		return errors.New("batch has neither a scoring script nor a model")
	case b.Script != "" && !filepath.IsLocal(b.Script) || strings.ContainsAny(b.File, "/\\\x00") || b.File == ".." || b.File == ".":
		return fmt.Errorf("batch has script %q and file %q; the script is a path in the code folder, the file a name without folder", b.Script, b.File)
	case b.Processes < 1 || b.MiniBatchSize < 1 || b.MaxRetries < 0 || b.TimeoutSeconds < 1 || b.ErrorThreshold < -1:
		return fmt.Errorf("batch has %d processes, miniBatchSize %d, maxRetries %d, timeoutSeconds %d, errorThreshold %d; they begin at 1, 1, 0, 1 and -1",
			b.Processes, b.MiniBatchSize, b.MaxRetries, b.TimeoutSeconds, b.ErrorThreshold)
	}
	return nil
}

// inputFiles are the files of an input by their names in it, sorted; an input that is a file has the name "".
func inputFiles(path string) ([]string, error) {
	if fi, err := os.Stat(path); err != nil || fi.Mode().IsRegular() {
		return []string{""}, err
	}
	var files []string
	err := filepath.WalkDir(path, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(path, p)
		if err == nil && !utf8.ValidString(name) {
			err = fmt.Errorf("the name %q is not UTF-8", name)
		}
		files = append(files, filepath.ToSlash(name))
		return err
	})
	slices.Sort(files)
	if err == nil && len(files) == 0 {
		err = errors.New("the input has no files")
	}
	return files, err
}

// divide makes mini-batches of so many files each; the last may have fewer.
func divide(files []string, size int) [][]string {
	return slices.Collect(slices.Chunk(files, size))
}

// place is where a pod is among the mini-batches.
type place struct {
	count, rank, pods int
	// taken are the mini-batches that somebody has, as far as this pod knows, and next is the one to look at.
	taken map[int]bool
	next  int
}

// newPlace has pods begin apart.
func newPlace(count, rank, pods int, taken map[int]bool) place {
	return place{count: count, rank: rank, pods: pods, taken: taken, next: count * rank / pods}
}

// pick is the first mini-batch from here on that nobody has; -1 when there is none.
func (p *place) pick() int {
	for range p.count {
		if n := p.next; !p.taken[n] {
			return n
		}
		p.next = (p.next + 1) % p.count
	}
	return -1
}

// move goes into the longest run of mini-batches that nobody has. Another pod works from its beginning, most likely, and others look for
// it too: each goes to a part of its own. So a pod leaves half of the run or less to others each time that pods meet, which bounds how often they do.
func (p *place) move() {
	begin, length, free := 0, 0, 0
	for n := range p.count {
		if p.taken[n] {
			free = 0
		} else if free++; free > length {
			begin, length = n+1-free, free
		}
	}
	p.next = begin + length*(p.rank+1)/(p.pods+1)
}

// exceeds tells whether more files failed than may.
func exceeds(failed, threshold int) bool { return threshold >= 0 && failed > threshold }

// maxNamed bounds how many files a message names.
const maxNamed = 10

// failures describes the mini-batches that failed: of how many files, which, and what the first said.
func failures(bad []outcome, failed, files int) string {
	var names []string
	for _, o := range bad {
		names = append(names, o.Files...)
	}
	names, more := names[:min(len(names), maxNamed)], ""
	if failed > len(names) {
		more = fmt.Sprintf(" and %d more", failed-len(names))
	}
	return fmt.Sprintf("%d of %d files failed: %s%s. The first said: %s", failed, files, strings.Join(names, ", "), more, ends(bad[0].Error, 1200))
}
