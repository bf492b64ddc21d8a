package runtime

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is one of the user's processes with its log.
type process struct {
	argv []string
	env  []string
	dir  string
	out  io.Writer
	// files are given to it as descriptors 3, 4, …
	files []*os.File
}

// shell is how a command line is run: bash where the image has it, else sh.
func shell(command string, environ []string) ([]string, error) {
	path := ""
	for _, kv := range environ {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	for _, name := range []string{"/bin/bash", "bash", "/bin/sh", "sh"} {
		if p := find(name, path); p != "" {
			return []string{p, "-c", command}, nil
		}
	}
	return nil, errors.New("the image has neither bash nor sh, and a command needs one of them; use an image with a shell")
}

func candidates(name, path string) []string {
	if strings.HasPrefix(name, "/") {
		return []string{name}
	}
	var out []string
	for _, dir := range strings.Split(path, ":") {
		if strings.HasPrefix(dir, "/") {
			out = append(out, dir+"/"+name)
		}
	}
	return out
}

// exit is how the processes of a pod ended.
type exit struct {
	code int
	// cause is "", CodeTimeout or CodeCanceled.
	cause string
	err   error // the command could not be started
}

// runner runs a pod's processes together: the first that fails ends the others.
type runner struct {
	killAfter, drainAfter time.Duration
	// timeout ends the command; 0 means never.
	timeout time.Duration
}

// run starts all processes and waits for them. started is called once all run. When ctx ends they get SIGTERM, and
// SIGKILL after killAfter.
func (r runner) run(ctx context.Context, procs []process, started func()) exit {
	if r.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, r.timeout, errTimeout)
		defer cancel()
	}
	groupCtx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var (
		wg      sync.WaitGroup
		mu      sync.Mutex
		first   exit
		decided bool
	)
	running := make([]*child, 0, len(procs))
	for _, p := range procs {
		c, err := start(p)
		if err != nil {
			stop(errOther)
			first, decided = exit{code: exitRuntime, err: err}, true
			break
		}
		running = append(running, c)
	}
	if !decided {
		started()
	}
	for _, c := range running {
		wg.Go(func() {
			code, why := c.wait(groupCtx, r)
			mu.Lock()
			defer mu.Unlock()
			if (code != 0 || why != "") && !decided {
				decided = true
				first = exit{code: code, cause: why}
				stop(errOther)
			}
		})
	}
	wg.Wait()
	return first
}

var (
	errTimeout = errors.New("timeout")
	errOther   = errors.New("another process failed")
)

// cause tells why a process that failed was asked to end, or "" when nobody asked.
func cause(ctx context.Context) string {
	switch err := context.Cause(ctx); {
	case err == nil, errors.Is(err, errOther):
		return ""
	case errors.Is(err, errTimeout):
		return CodeTimeout
	}
	return CodeCanceled
}

// child is a started process, the leader of a process group of its own.
type child struct {
	cmd     *exec.Cmd
	read    *os.File
	drained chan struct{} // closed when all its output was copied
}

// orphans is the process's one reaper: the kernel knows only one first process of a container too.
var orphans reaper

func start(p process) (*child, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making pipe: %w", err)
	}
	defer w.Close()
	cmd := &exec.Cmd{Path: p.argv[0], Args: p.argv, Env: p.env, Dir: p.dir, Stdout: w, Stderr: w, ExtraFiles: p.files,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true}}
	err = orphans.start(func() (int, error) {
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		return cmd.Process.Pid, nil
	})
	if err != nil {
		_ = r.Close()
		return nil, fmt.Errorf("starting %s: %w", p.argv[0], err)
	}
	c := &child{cmd: cmd, read: r, drained: make(chan struct{})}
	go func() {
		defer close(c.drained)
		_, _ = io.CopyBuffer(struct{ io.Writer }{p.out}, struct{ io.Reader }{r}, make([]byte, 64<<10))
	}()
	return c, nil
}

// wait returns the exit code once the process has ended, its group is gone and its output is copied; why tells what made
// the runtime end it, also when it then exited with 0.
func (c *child) wait(ctx context.Context, r runner) (code int, why string) {
	done := make(chan struct{})
	go func() {
		_ = c.cmd.Wait() // its state is read below
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		why = cause(ctx)
		c.signal(syscall.SIGTERM)
		t := time.NewTimer(r.killAfter)
		defer t.Stop()
		select {
		case <-done:
		case <-t.C:
			c.signal(syscall.SIGKILL)
			<-done
		}
	}
	c.signal(syscall.SIGKILL) // what the command left running in its group
	c.drain(r.drainAfter)
	return exitCode(c.cmd.ProcessState), why
}

// signal reaches the whole process group.
func (c *child) signal(s syscall.Signal) { _ = syscall.Kill(-c.cmd.Process.Pid, s) }

// drain waits for the end of output. Processes that left the group may hold the pipe open: they are not waited for long.
func (c *child) drain(limit time.Duration) {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-c.drained:
	case <-t.C:
		_ = c.read.SetReadDeadline(time.Now())
		<-c.drained
	}
	_ = c.read.Close()
}

// exitCode is the process's code, or 128+n when signal n ended it.
func exitCode(s *os.ProcessState) int {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}
