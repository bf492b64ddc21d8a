//go:build linux

package process

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// startReady starts a shell script that begins with setup, and returns once setup has run.
func startReady(t *testing.T, setup string) (*Process, string) {
	t.Helper()
	dir := t.TempDir()
	fifo, log := filepath.Join(dir, "ready"), filepath.Join(dir, "logs", "x.log")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := Start(Spec{Argv: []string{"/bin/sh", "-c", setup + "; echo >$0; while :; do sleep 1; done", fifo}, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(fifo); err != nil { // waits for the writer
		t.Fatal(err)
	}
	return p, log
}

func TestStartAdoptStop(t *testing.T) {
	p, log := startReady(t, "echo hello")
	again, ok := Adopt(p.ID)
	if !ok {
		t.Fatal("a running process was not adopted")
	}
	if err := p.Stop(t.Context(), 10*time.Second); err != nil {
		t.Fatal(err)
	}
	<-again.Done()
	if Alive(p.ID) {
		t.Error("alive after Stop")
	}
	if _, ok := Adopt(p.ID); ok {
		t.Error("an ended process was adopted")
	}
	if text, err := os.ReadFile(log); err != nil || string(text) != "hello\n" {
		t.Errorf("log %q, %v", text, err)
	}
	if p.Exit() != "signal: terminated" {
		t.Errorf("exit %q", p.Exit())
	}
}

func TestStop_Kills(t *testing.T) {
	p, _ := startReady(t, "trap '' TERM")
	if err := p.Stop(t.Context(), time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if p.Exit() != "signal: killed" {
		t.Errorf("exit %q", p.Exit())
	}
}

func TestAlive_AnotherProcessWithTheSameID(t *testing.T) {
	id := Identify(os.Getpid())
	if !Alive(id) {
		t.Error("this process is not alive")
	}
	id.Start--
	if Alive(id) {
		t.Error("a process with another start time counts as the same")
	}
}

func TestParseStat(t *testing.T) {
	if d := cmp.Diff([]string{"S", "1", "2"}, parseStat("12 (a ) b) S 1 2\n")); d != "" {
		t.Errorf("fields (-want +got):\n%s", d)
	}
	if got := parseStat("nonsense"); got != nil {
		t.Errorf("fields %q", got)
	}
}
