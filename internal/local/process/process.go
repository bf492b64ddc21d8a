// Package process starts programs that outlive the one who started them, and finds them again: a program is known by its
// id together with its start time, which no other program ever shares.
package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// ID is one process for ever. Start is in the kernel's ticks since boot (0 where it is not known), Boot names the boot.
type ID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
	Boot  string `json:"boot,omitempty"`
}

// Spec is what to start. Within runs the start itself somewhere else (in namespaces); nil starts it here.
type Spec struct {
	Argv   []string
	Env    []string
	Dir    string
	Log    string // the file that its output is appended to
	Within func(func() error) error
}

// Process is a running program. Done is closed when it has ended.
type Process struct {
	ID
	done  chan struct{}
	state string
}

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit describes how it ended ("exit status 1"); empty if it was adopted. Valid after Done is closed.
func (p *Process) Exit() string { return p.state }

// Start starts a program in a session of its own, so that no terminal's signals reach it.
func Start(s Spec) (*Process, error) {
	if err := os.MkdirAll(filepath.Dir(s.Log), 0o755); err != nil {
		return nil, fmt.Errorf("making the folder of logs: %w", err)
	}
	log, err := os.OpenFile(s.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	defer log.Close()
	cmd := &exec.Cmd{
		Path: s.Argv[0], Args: s.Argv, Env: s.Env, Dir: s.Dir, Stdout: log, Stderr: log,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	start := cmd.Start
	if s.Within != nil {
		start = func() error { return s.Within(cmd.Start) }
	}
	if err := start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", filepath.Base(s.Argv[0]), err)
	}
	p := &Process{ID: Identify(cmd.Process.Pid), done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait()
		p.state = cmd.ProcessState.String()
	}()
	return p, nil
}

// Adopt takes over a process that another start of this program left running; false if it has ended.
func Adopt(id ID) (*Process, bool) {
	if !Alive(id) {
		return nil, false
	}
	p := &Process{ID: id, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		awaitEnd(id)
	}()
	return p, true
}

// Alive says whether the process still runs.
func Alive(id ID) bool {
	if id.PID <= 0 || syscall.Kill(id.PID, 0) == syscall.ESRCH {
		return false
	}
	now := Identify(id.PID)
	return now.Start == id.Start && now.Boot == id.Boot && !isZombie(id.PID)
}

// Stop asks the process to end and kills it when it has not within the grace period.
func (p *Process) Stop(ctx context.Context, grace time.Duration) error {
	if err := p.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

// Signal sends a signal to the process; none is sent to another process that got its id later.
func (p *Process) Signal(sig syscall.Signal) error {
	if !Alive(p.ID) {
		return nil
	}
	if err := syscall.Kill(p.PID, sig); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("signalling process %d: %w", p.PID, err)
	}
	return nil
}
