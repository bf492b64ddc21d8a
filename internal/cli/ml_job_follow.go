package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"fairlead.dev/fairlead/api/commonruntime"
)

// allProcesses follows every process; of more than maxFollowed only the first is shown, since nobody reads so many at once.
const (
	allProcesses = -1
	maxFollowed  = 32
)

// follower prints the log of one process in each attempt of a job, resuming at the byte where a connection broke.
type follower struct {
	app     *app
	s       *session
	w       *watch
	base    string
	process int
	// among is not nil when the lines of several processes share the output.
	among *sync.Mutex
}

// followers are those of the processes that shall be shown.
func (a *app) followers(job map[string]any, process int) []*follower {
	n := processes(job)
	switch {
	case process != allProcesses:
		return []*follower{{app: a, process: process}}
	case n > maxFollowed:
		a.note("The job has %d processes; this is the log of process 0. Follow another with --process NUMBER.", n)
		n = 1
	}
	if n == 1 {
		return []*follower{{app: a}}
	}
	fmt.Fprintf(a.deps.Stdout, "\nStreaming the logs of %d processes, each line behind its process's number\n\n", n)
	all, among := make([]*follower, n), &sync.Mutex{}
	for i := range all {
		all[i] = &follower{app: a, process: i, among: among}
	}
	return all
}

// processes is how many processes of a job write a log: one a pod, or as many as PyTorch has there. Of MPI's there is one that
// has the output of all.
func processes(job map[string]any) int {
	number := func(of, name string) int {
		n, _ := strconv.Atoi(fmt.Sprint(sub(job, "properties", of)[name]))
		return max(n, 1)
	}
	switch text(job, "properties", "distribution", "distributionType") {
	case "Mpi":
		return 1
	case "PyTorch":
		return number("resources", "instanceCount") * number("distribution", "processCountPerInstance")
	}
	return number("resources", "instanceCount")
}

// marked writes whole lines behind a mark, one at a time among those of others.
type marked struct {
	w     io.Writer
	among *sync.Mutex
	mark  string
	part  []byte
}

func (m *marked) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if m.part = append(m.part, line...); line[len(line)-1] != '\n' {
			break
		}
		if err := m.flush(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// flush writes what has come of a line.
func (m *marked) flush() error {
	if len(m.part) == 0 {
		return nil
	}
	m.among.Lock()
	defer m.among.Unlock()
	_, err := fmt.Fprintf(m.w, "%s%s\n", m.mark, bytes.TrimSuffix(m.part, []byte{'\n'}))
	m.part = m.part[:0]
	return err
}

// out is where an attempt's log goes, and what ends it.
func (f *follower) out(attempt int) (w io.Writer, end func() error) {
	if f.among == nil {
		return &titled{w: f.app.deps.Stdout, title: "Streaming " + f.log(attempt)}, func() error { return nil }
	}
	mark := fmt.Sprintf("[%d] ", f.process)
	if attempt > 0 {
		mark = fmt.Sprintf("[%d retry-%03d] ", f.process, attempt)
	}
	m := &marked{w: f.app.deps.Stdout, among: f.among, mark: mark}
	return m, m.flush
}

// titled writes a title before the first byte.
type titled struct {
	w     io.Writer
	title string
	begun bool
}

func (t *titled) Write(p []byte) (int, error) {
	if !t.begun {
		t.begun = true
		if _, err := fmt.Fprintf(t.w, "\n%s\n%s\n\n", t.title, strings.Repeat("=", len(t.title))); err != nil {
			return 0, err
		}
	}
	return t.w.Write(p)
}

// log is the process's log in an attempt.
func (f *follower) log(attempt int) string {
	name := commonruntime.StdLogOf(f.process)
	if attempt == 0 {
		return name
	}
	return fmt.Sprintf("retry-%03d/%s", attempt, name)
}

func (f *follower) run(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		out, end := f.out(attempt)
		if err := errors.Join(f.attempt(ctx, attempt, out), end()); err != nil {
			return err
		}
		if f.w.attempt() <= attempt {
			return nil
		}
	}
}

// attempt follows one attempt's log to its end: until the job has ended, or has started again, and nothing more came.
func (f *follower) attempt(ctx context.Context, n int, out io.Writer) error {
	var offset int64
	faults := 0
	for {
		over := terminal(f.w.status()) || f.w.attempt() > n
		body, err := f.s.OpenLog(ctx, f.base+f.log(n), offset, true)
		if err == nil {
			var got int64
			got, err = io.Copy(out, body)
			body.Close()
			if offset += got; got > 0 {
				faults = 0
			} else if err == nil && over {
				return nil
			}
			if err == nil && !over { // the server says it is over: find out, rather than wait for the next poll
				if err := f.w.look(ctx, f.s); err != nil {
					return err
				}
			}
		}
		switch missing := isNotFound(err); {
		case ctx.Err() != nil:
			return ctx.Err()
		case missing && over:
			return nil // it ended before it wrote a line
		case err != nil && refusal(err) && !missing:
			return fmt.Errorf("reading the log: %w", err)
		case err != nil && !missing:
			if faults++; faults == 1 {
				f.app.note("The log's connection broke; going on at byte %d …", offset)
			}
			if over && faults > 10 {
				return fmt.Errorf("reading the rest of the log: %w", err)
			}
		}
		if err := f.pause(ctx, over, faults); err != nil {
			return err
		}
	}
}

// pause waits before the next look.
func (f *follower) pause(ctx context.Context, over bool, faults int) error {
	switch {
	case over && faults == 0:
		return nil
	case over:
		return f.app.deps.Sleep(ctx, time.Second)
	}
	return f.w.sleep(ctx, min(time.Duration(1+faults)*500*time.Millisecond, 5*time.Second))
}
